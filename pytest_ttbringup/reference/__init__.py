"""The reference side: Hugging Face models on the CPU in fp32, and what the ladder computes with them."""

from __future__ import annotations

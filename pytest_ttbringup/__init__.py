"""A pytest plugin that takes a Hugging Face model to a correct TT-NN model on Tenstorrent devices, step by step."""

from __future__ import annotations

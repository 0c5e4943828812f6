"""A question with one right answer, which a model that can chat must know."""

from __future__ import annotations

QUESTION = "What is the capital of France?"
ANSWER = "Paris"

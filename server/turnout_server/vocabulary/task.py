"""What a model is for."""

from __future__ import annotations

from enum import StrEnum


class Task(StrEnum):
    """What a model is for; decides which typed service may call it."""

    RECOMMENDATION = "recommendation"
    RANKING = "ranking"
    PRICE = "price"
    TENSORS = "tensors"

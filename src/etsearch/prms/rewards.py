"""What is made of the figures at a position: rewards in [0, 1]."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from etsearch.errors import RewardError
from etsearch.prms.families import Head

_LARGEST = 700.0
"""Exponents beyond this are 0 and infinity in double precision."""


def sigmoid(values: ArrayLike) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)), elementwise."""
    return np.asarray(1 / (1 + np.exp(-np.clip(np.asarray(values, dtype=np.float64), -_LARGEST, _LARGEST))))


def rewards_of(head: Head, figures: ArrayLike) -> tuple[float, ...]:
    """Rewards from what a model gave at some positions.

    Args:
        head: how they are read.
        figures: [positions, d]. Labels: the logits, or log probabilities, of the good and the bad one, d = 2. Classes:
            d = 2, the second one is good. Value: d = 1. Mean logit: d = 1, the mean already taken, or all of the
            vocabulary.

    Raises:
        RewardError: figures that are no numbers, or of another shape.
    """
    rows = np.asarray(figures, dtype=np.float64)
    wanted = {Head.LABELS: (2,), Head.CLASSES: (2,), Head.VALUE: (1,)}.get(head)
    if rows.ndim != 2 or (wanted and rows.shape[1] not in wanted):
        raise RewardError(f"the reward model gave figures of shape {rows.shape}; {head} needs [positions, {wanted}]")
    if not np.isfinite(rows).all():
        raise RewardError(f"the reward model gave figures that are no numbers: {rows.tolist()}")
    match head:
        case Head.LABELS:
            values = rows[:, 0] - rows[:, 1]
        case Head.CLASSES:
            values = rows[:, 1] - rows[:, 0]
        case Head.VALUE:
            values = rows[:, 0]
        case Head.MEAN_LOGIT:
            values = rows.mean(axis=1)
    return tuple(sigmoid(values).tolist())

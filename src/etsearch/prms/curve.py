"""Rewards as probabilities: a rising curve from what a reward model says to how often that was right.

A PRM's 0.9 may mean that nine of ten such steps lead to a right answer, or six. The curve is the isotonic regression of
rights on rewards (Zadrozny and Elkan, 2002): of all curves that never fall the one with the least squared error.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from etsearch.boundary.plain import load_made
from etsearch.errors import ConfigError
from etsearch.prms.around import Around
from etsearch.prms.base import RewardModel
from etsearch.types import Identity, Scores, Trajectory

_FORMAT: Final = 1
_LEAST: Final = 50
"""Rewards from which a curve is made at least."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve through points, straight between them and flat beyond.

    Attributes:
        rewards, probabilities: ``[points]`` each, in [0, 1]; rewards rise, probabilities never fall.
        about: of what it was made.
    """

    rewards: tuple[float, ...]
    probabilities: tuple[float, ...]
    about: dict[str, Any]

    @classmethod
    def fit(cls, rewards: Sequence[float], right: Sequence[bool], about: dict[str, Any]) -> "Curve":
        """The isotonic regression; of a flat piece its two ends are kept.

        Args:
            rewards: ``[n]`` in [0, 1], at least 50.
            right: ``[n]`` whether it came out right.
            about: kept with it.

        Raises:
            ConfigError: fewer than 50, or all of them right or all wrong.
        """
        from scipy.optimize import isotonic_regression  # noqa: PLC0415 - half a second that no other command needs

        if len(rewards) < _LEAST or len(set(right)) < 2:
            raise ConfigError(
                f"{len(rewards)} rewards, {sum(right)} of them of right answers, make no curve; "
                f"it takes {_LEAST}, and both right and wrong ones"
            )
        order = np.argsort(rewards, kind="stable")
        x, y = np.array(rewards, dtype=float)[order], np.array(right, dtype=float)[order]
        at, starts, counts = np.unique(x, return_index=True, return_counts=True)
        means = np.add.reduceat(y, starts) / counts
        fitted = isotonic_regression(means, weights=counts.astype(float)).x
        ends = [i for i in range(len(at)) if i in (0, len(at) - 1) or not fitted[i - 1] == fitted[i] == fitted[i + 1]]
        return cls(tuple(at[ends].tolist()), tuple(np.clip(fitted[ends], 0, 1).tolist()), about)

    def __call__(self, reward: float) -> float:
        return float(np.interp(reward, self.rewards, self.probabilities))

    @property
    def sha256(self) -> str:
        """Of its points."""
        return hashlib.sha256(json.dumps([self.rewards, self.probabilities]).encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Writes the file that ``read`` reads."""
        points = list(zip(self.rewards, self.probabilities, strict=True))
        values = {"format": _FORMAT, "about": self.about, "points": points}
        path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> "Curve":
        """The curve in a file. Raises ConfigError if it is none."""

        def build(values: dict[str, Any]) -> Curve:
            points = [(float(x), float(y)) for x, y in values["points"]]
            curve = cls(tuple(x for x, _ in points), tuple(y for _, y in points), dict(values["about"]))
            curve._check(str(path))
            return curve

        return load_made(path, "the curve of rewards", _FORMAT, "ets calibrate", build)

    def _check(self, where: str) -> None:
        values = (*self.rewards, *self.probabilities)
        if not values or not all(math.isfinite(value) and 0 <= value <= 1 for value in values):
            raise ConfigError(f"{where}: the points of a curve are pairs of numbers from 0 to 1")
        if list(self.rewards) != sorted(set(self.rewards)) or list(self.probabilities) != sorted(self.probabilities):
            raise ConfigError(f"{where}: rewards must rise from point to point, and probabilities must not fall")


@final
class CalibratedRewardModel(Around):
    """Another reward model's rewards as probabilities.

    Args:
        inner: the reward model.
        curve: from its rewards to probabilities.
    """

    def __init__(self, inner: RewardModel, curve: Curve) -> None:
        super().__init__(inner)
        self._curve = curve

    @property
    def identity(self) -> Identity:
        """The model's, and which curve."""
        inner = self._inner.identity
        return replace(inner, name=f"{inner.name}, calibrated by {self._curve.sha256[:12]}")

    async def score(self, trajectory: Trajectory, first: int) -> Scores:
        """Rewards of the steps ``first`` to last; see :class:`~etsearch.prms.base.RewardModel`."""
        scores = await self._inner.score(trajectory, first)
        return replace(scores, rewards=tuple(map(self._curve, scores.rewards)))

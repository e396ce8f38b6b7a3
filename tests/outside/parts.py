"""Parts of somebody else's, one of each kind, in one file. They import what a stranger would."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etsearch import Problem, minimath
from etsearch.errors import ConfigError, RewardError
from etsearch.generators.scripted import ScriptedGenerator
from etsearch.strategies import Frontier, Selection
from etsearch.types import Identity, Scores, Trajectory


@dataclass(frozen=True)
class Halving:
    """Keeps the better half of the frontier, at least ``keep`` nodes, and shares the width evenly.

    Attributes:
        keep: nodes kept at least, at least 1.
    """

    keep: int = 1

    needs_rewards = True
    needs_clusters = True
    completes_at_most_width = True

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ConfigError(f"keep is {self.keep}; it must be at least 1")

    def select(self, frontier: Frontier, width: int) -> Selection:
        order = np.argsort(-frontier.rewards, kind="stable")
        kept = order[: min(width, max(self.keep, math.ceil(len(order) / 2)))].tolist()
        widths = [0] * len(order)
        for place, node in enumerate(kept):
            widths[node] = width // len(kept) + (place < width % len(kept))
        return Selection(tuple(widths), {"kept": float(len(kept))})


def steady(delay_s: float = 0.0) -> ScriptedGenerator:
    """Solves minimath by the scripted program: a part may be made by a function."""
    return ScriptedGenerator(
        minimath.scripted.write_step, format=minimath.FORMAT, delay_s=delay_s, read_question=minimath.read_problem
    )


class Lengths:
    """A reward by the length of a step, for no good reason."""

    def __init__(self, scale: float = 100.0) -> None:
        self.scale = scale

    @property
    def identity(self) -> Identity:
        return Identity("lengths", engine="none")

    async def score(self, trajectory: Trajectory, first: int) -> Scores:
        if not 0 <= first < len(trajectory.steps):
            raise RewardError(f"first is {first}; the trajectory has {len(trajectory.steps)} steps")
        rewards = [1 / (1 + len(step.text) / self.scale) for step in trajectory.steps]
        return Scores(tuple(rewards[first:]), sum(len(step.text) for step in trajectory.steps))

    async def aclose(self) -> None:
        """Nothing to stop."""


class Hashes:
    """Places a text by its hash."""

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = [list(hashlib.sha256(text.encode()).digest()) for text in texts]
        return np.array(rows, dtype=np.float32) + 1

    async def aclose(self) -> None:
        """Nothing to stop."""


def few(split: str, count: int = 2) -> list[Problem]:
    """The first problems of a split of minimath."""
    problems = list(minimath.world.problems(split, 100))[:count]
    return [Problem(p.question, str(p.answer), f"few/{n}", str(p.level)) for n, p in enumerate(problems)]

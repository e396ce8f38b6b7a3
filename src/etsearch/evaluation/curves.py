"""How often a reward was right: the steps of a run's trajectories, each with whether its trajectory came to be."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import numpy as np

from etsearch.errors import RecordError
from etsearch.evaluation.grading import DEFAULT_GRADER, grade
from etsearch.evaluation.run.folder import Run, read_tree
from etsearch.loop.voting import answer_at
from etsearch.prms.curve import Curve

Steps = Literal["all", "last"]
_BINS = 10


class Labelled(NamedTuple):
    """Rewards ``[n]`` in [0, 1], and whether the trajectory of each came to a right answer."""

    rewards: tuple[float, ...]
    right: tuple[bool, ...]

    @property
    def brier(self) -> float:
        """Mean squared difference between reward and right."""
        return float(np.mean((np.array(self.rewards) - np.array(self.right)) ** 2))

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: in ten bins of as many rewards each, how far means of both are apart."""
        order = np.argsort(self.rewards, kind="stable")
        x, y = np.array(self.rewards)[order], np.array(self.right, dtype=float)[order]
        bins = [b for b in np.array_split(np.arange(len(x)), _BINS) if len(b)]
        return float(sum(len(b) * abs(x[b].mean() - y[b].mean()) for b in bins) / len(x))

    @property
    def auc(self) -> float:
        """The chance that a right one's reward exceeds a wrong one's, ties half; nan without both."""
        x, y = np.array(self.rewards), np.array(self.right)
        _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
        num_right = int(y.sum())
        pairs = num_right * (len(y) - num_right)
        return float((ranks[y].sum() - num_right * (num_right + 1) / 2) / pairs) if pairs else float("nan")

    def through(self, curve: Curve) -> "Labelled":
        """The same after a curve."""
        return Labelled(tuple(map(curve, self.rewards)), self.right)


def labelled_rewards(run: Run, steps: Steps = "all") -> dict[str, Labelled]:
    """The rewards of all searches of a run whose trees are here, problem by problem.

    A step that several trajectories go through counts once for each of them.

    Args:
        run: graded against reference answers.
        steps: ``all`` steps of a trajectory, or its ``last``.

    Raises:
        RecordError: no trees, or none with rewards.
    """
    found: dict[str, tuple[list[float], list[bool]]] = {}
    for record in run.with_trees():
        state, settings = read_tree(run.path, record.key).state, run.settings(record)
        rewards, right = found.setdefault(record.problem, ([], []))
        for node in state.ended:
            of_node = [reward for reward in state.tree.rewards_to(node) if np.isfinite(reward)]
            taken = of_node if steps == "all" else of_node[-1:]
            is_right = grade(answer_at(state, node, settings), record.gold, DEFAULT_GRADER)
            rewards += taken
            right += [is_right] * len(taken)
    if not any(rewards for rewards, _ in found.values()):
        raise RecordError(f"{run.path} holds no tree with rewards; run it where it was made, by a strategy with a PRM")
    return {problem: Labelled(tuple(rewards), tuple(right)) for problem, (rewards, right) in found.items()}


def together(parts: Collection[Labelled]) -> Labelled:
    """All of them as one."""
    rewards = tuple(reward for part in parts for reward in part.rewards)
    return Labelled(rewards, tuple(is_right for part in parts for is_right in part.right))


def fit_curve(run: Run, steps: Steps = "all", folds: int = 5) -> tuple[Curve, Labelled, Labelled]:
    """The curve of a run's rewards, the rewards, and what a curve makes of those of problems that it did not see.

    Raises:
        RecordError: see ``labelled_rewards``.
        ConfigError: too few, see ``Curve.fit``.
    """
    by_problem = labelled_rewards(run, steps)
    raw = together(by_problem.values())
    about = {
        "prm": run.recipe.prm,
        "data": run.recipe.data,
        "steps": steps,
        "problems": len(by_problem),
        "rewards": len(raw.rewards),
        "made": datetime.now(UTC).date().isoformat(),
    }
    unseen, parts = [], list(by_problem.values())
    for fold in range(folds):
        left_out = parts[fold::folds]
        seen = together([part for number, part in enumerate(parts) if number % folds != fold])
        if left_out and len(set(seen.right)) == 2:
            unseen.append(together(left_out).through(Curve.fit(seen.rewards, seen.right, {})))
    return Curve.fit(raw.rewards, raw.right, about), raw, together(unseen)

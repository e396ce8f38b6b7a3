"""Batches that a reward model reads: trajectories of real trees, each of them new to it."""

import asyncio
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Final

from etsearch.errors import ConfigError
from etsearch.loop.state import SearchState
from etsearch.planning.scorer import Reading, Score, SimulatedScorer
from etsearch.planning.timing.batches import MORE_ROUNDS, median, summed, timed, without_own
from etsearch.planning.trace import SearchTrace
from etsearch.prms import RewardModel
from etsearch.tree import NO_PARENT, ROOT
from etsearch.types import Scores, Step, Trajectory

_SOON_S: Final = 10.0
"""Seconds of a round that is timed more often."""
_TRIES: Final = 64
"""Ways of each kind in which something is sought that was not read."""
_MOST_MORE: Final = 8
"""Steps that take the place of a last one at most."""
_READ_AT_ONCE: Final = (1, 2, 4, 8, 16, 32, 64, 96, 192, 384)


class Unread:
    """Trajectories that no reward model has read: a reward that was given is kept, and costs nothing again.

    Each is that of a step of a tree with another last step of as many tokens, or nearly; where all of those were read,
    with other steps above it too, and in the end with more than one in the last one's place.
    """

    def __init__(self, states: Sequence[SearchState]) -> None:
        self._states = states
        places = self._places = [(s, node) for s, state in enumerate(states) for node in _originals(state)]
        last = {}
        for s, node in places:
            step = states[s].tree.trajectory(node).steps[-1]
            last[step.text] = (int(states[s].tree.tokens[node]), step)
        pool = sorted(last.values(), key=lambda pair: pair[0])
        self._tokens, self._pool = [tokens for tokens, _ in pool], [step for _, step in pool]
        self._prompt_tokens = {state.tree.question: int(state.tree.tokens[ROOT]) for state in states}
        self._given: set[tuple[str, ...]] = set()
        for s, node in places:
            trajectory = states[s].tree.trajectory(node)
            self._given.add((trajectory.question, *(step.text for step in trajectory.steps)))

    def any(self, count: int, chance: random.Random) -> list[tuple[int, int]]:
        """Places to ask for, as many as there are at most: each the number of a state and of its node."""
        return chance.sample(self._places, min(count, len(self._places)))

    def of_one_depth(self, count: int, chance: random.Random) -> list[tuple[int, int]]:
        """The same of one state, those that are nearest to one depth of its tree."""
        s = chance.randrange(len(self._states))
        depth, own = self._states[s].tree.depth, _originals(self._states[s])
        deep = chance.choice(sorted({int(depth[node]) for node in own}))
        return [(s, node) for node in sorted(own, key=lambda node: abs(int(depth[node]) - deep))[:count]]

    def give(self, asked: Sequence[tuple[int, int]], chance: random.Random) -> list[Trajectory]:
        """As many as these, each the number of its state and of its node."""
        return [self._one(*place, chance) for place in asked]

    def scores(self, given: Sequence[Trajectory]) -> list[Score]:
        """What the simulated reward model is asked for them: a tree for each question, which has every step once."""
        grown = {t.question: _Grown(self._prompt_tokens[t.question]) for t in given}
        steps = [grown[t.question].add(t) for t in given]
        traces = {question: one.trace() for question, one in grown.items()}
        return [Score(traces[t.question], step, None) for t, step in zip(given, steps, strict=True)]

    def _one(self, s: int, node: int, chance: random.Random) -> Trajectory:
        tree = self._states[s].tree
        question, path = tree.question, tree.path(node)
        steps = tree.trajectory(node).steps
        lengths = [int(tree.tokens[step]) for step in path]
        for number in range(_TRIES * (len(steps) + _MOST_MORE)):
            swapped, spread = min(len(steps), 1 + number // _TRIES), number % _TRIES
            new = [*steps[:-swapped], *(self._like(length, spread, chance) for length in lengths[-swapped:])]
            for _ in range(number // _TRIES - len(steps) + 1):
                more = self._like(0, spread, chance)
                new[-1] = replace(new[-1], text=new[-1].text + more.text, token_ids=new[-1].token_ids + more.token_ids)
            key = (question, *(step.text for step in new))
            if key not in self._given:
                self._given.add(key)
                return Trajectory(question, tuple(new))
        raise ConfigError(
            "the trees are too small to time the reward model on; give more problems, or ones that take more steps"
        )

    def _like(self, tokens: int, spread: int, chance: random.Random) -> Step:
        """Any step of so many tokens, or of a few that are next to them."""
        left, right = bisect_left(self._tokens, tokens), bisect_right(self._tokens, tokens)
        return chance.choice(self._pool[max(0, left - spread) : right + spread + (left == right)] or self._pool[-1:])


class _Grown:
    """A tree that grows by trajectories of one question."""

    def __init__(self, prompt_tokens: int) -> None:
        self._parent, self._tokens, self._prefix = [NO_PARENT], [prompt_tokens], [prompt_tokens]
        self._known: dict[tuple[int, str], int] = {}

    def add(self, trajectory: Trajectory) -> int:
        """The number of its last step."""
        node = ROOT
        for step in trajectory.steps:
            above, node = node, self._known.setdefault((node, step.text), len(self._parent))
            if node == len(self._parent):
                self._parent.append(above)
                self._tokens.append(len(step.token_ids))
                self._prefix.append(self._prefix[above] + len(step.token_ids))
        return node

    def trace(self) -> SearchTrace:
        """The tree as the simulated reward model sees it."""
        return SearchTrace("timed", tuple(self._parent), tuple(self._tokens), tuple(self._prefix), (), 0)


async def time_reading(
    prm: RewardModel,
    reading: Reading,
    unread: Unread,
    chance: random.Random,
    rounds: int,
    say: Callable[[str], None],
) -> list[dict[str, float]]:
    """The rows of all batches, see ``Timed``: steps of one depth of one tree, and any of all trees."""

    async def all_of_them() -> list[dict[str, float]]:
        rows = []
        for count, choose in product(_READ_AT_ONCE, (unread.of_one_depth, unread.any)):
            given = unread.give(choose(count, chance), chance)
            rows.append(await _time_one_reading(prm, reading, given, unread.scores(given)))
        return rows

    seconds = sum(row["seconds"] for row in await all_of_them())  # for what is prepared once
    each = [await all_of_them() for _ in range(rounds * (MORE_ROUNDS if seconds < _SOON_S else 1))]
    mean_s = sum(row["seconds"] for rows in each for row in rows) / len(each)
    say(f"reading: {len(each)} rounds of {len(each[0])} batches, {mean_s:.1f} s each")
    return [median(of_kind) for of_kind in zip(*each, strict=True)]


async def _time_one_reading(
    prm: RewardModel, reading: Reading, given: Sequence[Trajectory], scores: Sequence[Score]
) -> dict[str, float]:
    seconds, own_s, _ = await timed(read_all(prm, given))
    scorer = SimulatedScorer(reading)
    for score in scores:
        scorer.submit(score)
    return {**summed(scorer), **without_own(seconds, own_s)}


def _originals(state: SearchState) -> list[int]:
    return [node for node in range(1, len(state.tree)) if state.tree.original(node) == node]


async def read_all(prm: RewardModel, trajectories: Sequence[Trajectory]) -> list[Scores]:
    """What comes of trajectories that are put at once, of each the last step's."""
    jobs = (prm.score(trajectory, len(trajectory.steps) - 1) for trajectory in trajectories)
    return list(await asyncio.gather(*jobs))

"""The beam search and the DVTS of search-and-learn, written to the published algorithm (Beeching et al., 2024).

The package pins an old vLLM and cannot be installed here. As published: every path of a depth is a prompt of its own
in one batch, the batch is awaited, then scored as a whole; beam search takes one problem at a time, DVTS several, all
in lockstep. Without lookahead; the published default looks one step ahead, which doubles what is generated. A path is
scored by its last step; solutions vote with their scores as weights.
"""

import asyncio
from dataclasses import dataclass, field
from itertools import cycle, islice
from operator import attrgetter

from etsearch.answers import extract, vote

reward_of = attrgetter("reward")


async def solve_beam(parts, problem):
    """Beam search, copies taken out: the best ``keep`` open paths are spread over the whole width at every depth."""
    terms = parts.terms
    open_paths, completed = [()], []
    for _ in range(terms.max_steps):
        spread = islice(cycle(open_paths), terms.width)
        grown = await grow(parts.door, [(problem.question, path) for path in spread])
        completed += [candidate for candidate in grown if candidate.is_ended]
        rewards = {candidate.path: candidate.reward for candidate in grown if not candidate.is_ended}
        if not rewards:
            break
        open_paths = sorted(rewards, key=rewards.__getitem__, reverse=True)[: terms.keep]
    return winner(sorted(completed, key=reward_of, reverse=True)[: terms.width])


async def solve_dvts(parts, problems):
    """DVTS of several problems in lockstep: the best of each subtree's paths goes on, and all of its last ones vote."""
    terms = parts.terms
    samples = terms.width // terms.keep
    trees = [[Subtree(problem.question) for _ in range(terms.keep)] for problem in problems]
    for _ in range(terms.max_steps):
        active = [subtree for tree in trees for subtree in tree if not subtree.best.is_ended]
        if not active:
            break
        grown = await grow(parts.door, [(s.question, s.best.path) for s in active for _ in range(samples)])
        for number, subtree in enumerate(active):
            subtree.last = grown[number * samples : (number + 1) * samples]
    return [winner([candidate for subtree in tree for candidate in subtree.last]) for tree in trees]


@dataclass(frozen=True)
class Candidate:
    """A path, the reward of its last step, and whether the model has ended it."""

    path: tuple[str, ...] = ()
    reward: float = 0.0
    is_ended: bool = False


@dataclass
class Subtree:
    """One of a problem's greedy searches and what it wrote last."""

    question: str
    last: list[Candidate] = field(default_factory=lambda: [Candidate()])

    @property
    def best(self):
        return max(self.last, key=reward_of)


async def grow(door, asks):
    """Each path with a step more, all written and then all scored."""
    steps = await door.write_each(asks)
    grown = [(question, (*path, step.text)) for (question, path), step in zip(asks, steps, strict=True)]
    rewards = await asyncio.gather(*(door.reward(*ask) for ask in grown))
    return [Candidate(path, reward, s.is_last) for (_, path), reward, s in zip(grown, rewards, steps, strict=True)]


def winner(candidates):
    """The answer with the largest sum of rewards; None if no solution states one."""
    votes = vote([extract("\n".join(c.path)) for c in candidates], [c.reward for c in candidates])
    return votes[0].answer if votes else None

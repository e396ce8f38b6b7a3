"""The engine as a peer sees it: steps as text in, steps as text out."""

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass

from etsearch.errors import ContextLengthError, RewardError
from etsearch.types import FinishReason, GenerateRequest, Sampling, Step, Trajectory

ANSWER = "The answer is"
"""How a solution of minimath begins its last step."""


@dataclass(frozen=True)
class Terms:
    """What all methods are held to: the search's width, the steps kept of a depth, the limits, and how to sample."""

    width: int
    keep: int
    max_steps: int
    max_step_tokens: int
    sampling: Sampling
    seed: int


@dataclass(frozen=True)
class Written:
    """A step without its delimiter; ``is_last`` if the model ended the solution with it, or was cut."""

    text: str
    num_tokens: int
    is_last: bool


class Door:
    """One engine and one PRM for a peer.

    A path is a tuple of steps without delimiters; empty ones count for nothing. Token ids of what the engine itself
    wrote are remembered, so that no peer pays for tokenising. With ``folds``, equal paths that are asked for at once
    become one request for several continuations.
    """

    def __init__(self, generator, reward_model, terms, *, folds=True):
        self.terms = terms
        self._generator, self._reward_model, self._folds = generator, reward_model, folds
        self._delimiter = generator.format.step_delimiter
        self._ids = {}
        self._num_asked = Counter()

    async def write_each(self, asks):
        """A step after each of the paths; ``asks`` are pairs of a question and a path."""
        if not self._folds:
            return [step for (step,) in await asyncio.gather(*(self.write(*ask, 1) for ask in asks))]
        counts = Counter(asks)
        groups = await asyncio.gather(*(self.write(*ask, count) for ask, count in counts.items()))
        left = dict(zip(counts, map(iter, groups), strict=True))
        return [next(left[ask]) for ask in asks]

    async def write(self, question, path, count):
        """``count`` steps after one path; empty last ones where the context is full."""
        path = tuple(filter(None, path))
        prefix = await self._prefix(question, path)
        request = GenerateRequest(
            prefix=prefix,
            num_continuations=count,
            max_tokens=self.terms.max_step_tokens,
            stop=(self._delimiter,),
            seed=self._next_seed(question),
            sampling=self.terms.sampling,
            search=question,
        )
        try:
            continuations = await self._generator.generate(request)
        except ContextLengthError:
            return [Written("", 0, is_last=True)] * count
        return [self._taken(question, path, prefix, c) for c in continuations]

    async def reward(self, question, path):
        """The reward of a path's last step; 0 for an empty path."""
        return (await self.rewards(question, path, last_only=True))[-1]

    async def rewards(self, question, path, *, last_only=False):
        """The rewards of a path's steps, or of its last one alone; 0 for a path that the PRM cannot hold."""
        steps = tuple(Step(text) for text in path if text)
        if not steps:
            return (0.0,)
        first = len(steps) - 1 if last_only else 0
        try:
            return (await self._reward_model.score(Trajectory(question, steps), first)).rewards
        except RewardError:
            return (0.0,) * (len(steps) - first)

    async def _prefix(self, question, path):
        if (question, path) not in self._ids:
            if path:
                before = await self._prefix(question, path[:-1])
                own = await self._generator.encode(path[-1] + self._delimiter)
            else:
                before, own = (), await self._generator.encode_prompt(question)
            self._ids[question, path] = (*before, *own)
        return self._ids[question, path]

    def _taken(self, question, path, prefix, continuation):
        text = continuation.text.removesuffix(self._delimiter)
        if continuation.finish_reason is FinishReason.STEP and text:
            self._ids[question, (*path, text)] = prefix + continuation.token_ids
        return Written(text, len(continuation.token_ids), continuation.finish_reason is not FinishReason.STEP)

    def _next_seed(self, question):
        """The same for the same seed, problem and place among the problem's requests."""
        self._num_asked[question] += 1
        text = f"{self.terms.seed}/{question}/{self._num_asked[question]}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) >> 1


def steps_of(text):
    """The path of a solution written with one newline, or more, between its steps."""
    return tuple(step for step in text.split("\n") if step)

"""Room in the KV cache: which requests are taken in, and whether the next steps of those that run still fit.

OpenVINO GenAI preempts sequences when its cache is full. With one sequence a request that works; with several it was
seen to crash the process (2026.4), so it must never come to that. Two figures of each request see to it:

*Reserved* is what it is likely to need. A request is taken in when all that is reserved fits.

*Bound* is what it can hold two steps from now, whatever it writes: a token a step and sequence. When that may not fit
any more requests are taken out, and begin anew later with all that they can ever need reserved (:meth:`Need.whole`).
It must be two steps: what is taken out leaves the pipeline at the end of the next one, and holds its blocks until then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from etsearch.boundary.numbers import MOST_TOKENS

BLOCK_TOKENS: Final = 32
"""Tokens in a block of the paged KV cache on a CPU."""
LOOK_AHEAD: Final = 2
"""Steps that must fit; the last token that a sequence wrote is not in the cache yet."""


@dataclass(slots=True, eq=False)
class Need:
    """What a request needs: the full blocks of its prefix, and blocks of its own as its sequences grow.

    ``is_apart``: its sequences are requests of their own to the pipeline, need not be equally far, and each can have a
    prefix of its own. ``is_whole``: all up to its token limit is reserved, so that it cannot outgrow its room.

    ``num_steps`` is the number of tokens that each of its sequences has written at most, ``num_sure`` at least, if it
    goes on; of the prefix at least ``num_computed`` tokens are computed.
    """

    num_prefix_tokens: int
    num_sequences: int
    max_tokens: int
    is_apart: bool = False
    is_whole: bool = False
    likely_tokens: int = MOST_TOKENS
    num_steps: int = 0
    num_sure: int = 0
    num_computed: int = 0

    def again(self) -> "Need":
        """The same from the beginning."""
        return Need(self.num_prefix_tokens, self.num_sequences, self.max_tokens, self.is_apart, self.is_whole)

    def whole(self) -> "Need":
        """The same from the beginning, up to its token limit."""
        return replace(self.again(), is_whole=True)

    @property
    def is_read(self) -> bool:
        """Whether all of its prefix is computed for sure."""
        return self.num_computed == self.num_prefix_tokens

    def expect(self, num_tokens: int) -> None:
        """Reserves so many tokens a sequence, where not all are to be reserved."""
        if not self.is_whole:
            self.likely_tokens = num_tokens

    @property
    def limit(self) -> int:
        """Blocks that it can ever hold."""
        return self._blocks(self.max_tokens)

    @property
    def reserved(self) -> int:
        """Blocks that it is likely to hold at its end, or soon."""
        return self._blocks(max(self.likely_tokens, self.num_steps + LOOK_AHEAD - 1))

    @property
    def bound(self) -> int:
        """Blocks that it can hold ``LOOK_AHEAD`` steps from now."""
        return self._blocks(self.num_steps + LOOK_AHEAD - 1)

    @property
    def used(self) -> int:
        """Those that the pipeline counts for sure, if all its sequences go on."""
        if self.num_sure < 2:  # the sequences still share the block in which the prefix ends
            return -(-self.num_computed // BLOCK_TOKENS)
        return self._blocks(self.num_sure - 1)

    @property
    def freed(self) -> int:
        """Those that are free for sure once it has left: one sequence goes on, and nobody shares what it is writing."""
        return int(self.num_sure >= 2)

    def advance(self, num_free_tokens: int) -> int:
        """A step was taken that had so many tokens left for it; returns how many it took at most."""
        self.num_steps += 1
        if self.is_read:
            num_tokens = self.num_sequences
            self.num_sure += not self.is_apart and num_tokens <= num_free_tokens
        else:
            num_tokens = min(self.num_prefix_tokens - self.num_computed, num_free_tokens)
            self.num_computed += num_tokens
            self.num_sure += not self.is_apart and self.is_read
        return min(num_tokens, num_free_tokens)

    def _blocks(self, num_tokens: int) -> int:
        own = own_blocks(self.num_prefix_tokens, min(num_tokens, self.max_tokens))
        num_prefixes = self.num_sequences if self.is_apart else 1
        return num_prefixes * (self.num_prefix_tokens // BLOCK_TOKENS) + self.num_sequences * own


def own_blocks(num_prefix_tokens: int, num_tokens: int) -> int:
    """Blocks of one sequence of so many tokens that are its own: all but the prefix's full ones."""
    return -(-(num_prefix_tokens % BLOCK_TOKENS + num_tokens) // BLOCK_TOKENS)


def most_sequences(num_blocks: int, num_prefix_tokens: int, max_tokens: int) -> int:
    """How many sequences of one prefix the whole cache can hold."""
    return (num_blocks - num_prefix_tokens // BLOCK_TOKENS) // own_blocks(num_prefix_tokens, max_tokens)


class KvRoom:
    """The blocks that the running requests can come to hold.

    They are reckoned in two ways, and the smaller figure holds. The requests' own figures, summed up, know nothing of
    shared prefixes and of sequences that have ended. The blocks that the pipeline said it used in its last step, with
    those that can have come on top, still count what has left since. Which prefixes are shared is not reckoned: two
    requests that begin together each keep a copy of theirs, and the pipeline then finds one of them at most.

    Args:
        num_blocks: size of the cache.
        step_tokens: tokens that a step computes at most: first those of running sequences, then prefixes, each in the
            order of the requests.
    """

    def __init__(self, num_blocks: int, step_tokens: int) -> None:
        self.num_blocks, self._step_tokens = num_blocks, step_tokens
        self._needs: list[Need] = []
        self._leaving: list[Need] = []
        self._num_limit = self._num_used = 0
        self._sums: _Sums | None = None

    @property
    def is_safe(self) -> bool:
        """Whether all that stays fits, whatever it writes in the next steps."""
        if self._num_limit <= self.num_blocks:
            return True
        sums = self._summed()
        seen = self._num_used - sums.freed
        return min(sums.bound, seen + sums.bound - sums.used) <= self.num_blocks

    def has_room(self, need: Need) -> bool:
        """Whether what it is likely to need is free, and what it can need in the next steps."""
        if self._num_limit + need.limit <= self.num_blocks or not (self._needs or self._leaving):
            return True
        sums = self._summed()
        own, seen = sums.reserved + sums.leaving, self._num_used + sums.reserved - sums.used
        return min(own, seen) + need.reserved <= self.num_blocks

    def take(self, need: Need) -> None:
        self._needs.append(need)
        self._num_limit += need.limit
        if self._sums is not None:
            self._sums.take(need)

    def let_go(self, need: Need) -> None:
        """It leaves the pipeline at the end of the next step at the latest."""
        self._needs.remove(need)
        self._leaving.append(need)
        if self._sums is not None:
            self._sums.let_go(need)

    def count_step(self, num_used: int) -> None:
        """A step was taken, in which the pipeline used so many blocks."""
        num_free_tokens = self._step_tokens
        for need in sorted(self._needs, key=lambda need: not need.is_read):
            num_free_tokens -= need.advance(num_free_tokens)
        self.release(num_used)

    def release(self, num_used: int = 0) -> None:
        """What was let go has left; the pipeline uses so many blocks."""
        self._num_limit -= sum(need.limit for need in self._leaving)
        self._leaving, self._num_used, self._sums = [], num_used, None

    def _summed(self) -> "_Sums":
        if self._sums is None:
            self._sums = _Sums.of(self._needs, self._leaving)
        return self._sums


@dataclass(slots=True)
class _Sums:
    """Sums over the requests: of those that stay, and ``leaving`` and ``freed`` of the others."""

    reserved: int = 0
    bound: int = 0
    used: int = 0
    leaving: int = 0
    freed: int = 0

    @classmethod
    def of(cls, needs: Sequence[Need], leaving: Sequence[Need]) -> "_Sums":
        sums = cls()
        for need in (*needs, *leaving):
            sums.take(need)
        for need in leaving:
            sums.let_go(need)
        return sums

    def take(self, need: Need) -> None:
        self.reserved += need.reserved
        self.bound += need.bound
        self.used += need.used

    def let_go(self, need: Need) -> None:
        self.reserved -= need.reserved
        self.bound -= need.bound
        self.used -= need.used
        self.leaving += need.bound
        self.freed += need.freed

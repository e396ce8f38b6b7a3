"""Room in the KV cache: which requests are taken in, and whether the next steps of those that run still fit.

OpenVINO GenAI preempts sequences when its cache is full. With one sequence a request that works; with several it was
seen to crash the process (2026.4), so it must never come to that. Two figures of each request see to it:

*Reserved* is what it is likely to need. A request is taken in when all that is reserved fits.

*Bound* is what it can hold two steps from now, whatever it writes: a token a step and sequence. When that may not fit
any more requests are taken out, and begin anew later with all that they can ever need reserved (:meth:`Need.whole`).
It must be two steps: what is taken out leaves the pipeline at the end of the next one, and holds its blocks until then.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from etsearch.boundary.numbers import MOST_TOKENS

BLOCK_TOKENS: Final = 32
"""Tokens in a block of the paged KV cache on a CPU."""
LOOK_AHEAD: Final = 2
"""Steps that must fit."""


@dataclass(slots=True, eq=False)
class Need:
    """What a request needs: ``keys`` of its prefix's full blocks, and blocks of its own as its sequences grow.

    ``is_whole``: its token limit is reserved, and it is never taken out. ``is_apart``: its sequences are requests of
    their own to the pipeline and need not be equally far.

    ``num_steps`` is the number of tokens that each of its sequences has written at most, ``num_sure`` at least, if
    it goes on. ``is_fresh`` until its prefix is computed. ``num_private`` counts the prefix's blocks that it cannot
    share.
    """

    keys: tuple[int, ...]
    num_prefix_tokens: int
    num_sequences: int
    max_tokens: int
    is_whole: bool = False
    is_apart: bool = False
    likely_tokens: int = MOST_TOKENS
    num_steps: int = 0
    num_sure: int = 0
    is_fresh: bool = True
    shared: list[int] = field(default_factory=list)
    num_private: int = 0

    @classmethod
    def of(cls, prefix: Sequence[int], num_sequences: int, max_tokens: int) -> "Need":
        keys, key = [], 0
        for start in range(0, len(prefix) - len(prefix) % BLOCK_TOKENS, BLOCK_TOKENS):
            key = hash((key, tuple(prefix[start : start + BLOCK_TOKENS])))
            keys.append(key)
        return cls(tuple(keys), len(prefix), num_sequences, max_tokens)

    def whole(self) -> "Need":
        """The same from the beginning, at its token limit."""
        return Need(self.keys, self.num_prefix_tokens, self.num_sequences, self.max_tokens, is_whole=True)

    def expect(self, num_tokens: int) -> None:
        """Reserves so many tokens a sequence, where not all are to be reserved."""
        if not self.is_whole:
            self.likely_tokens = num_tokens

    def growth(self, num_tokens: int) -> int:
        """Blocks of its own with so many tokens a sequence."""
        return self.num_sequences * own_blocks(self.num_prefix_tokens, min(num_tokens, self.max_tokens))

    @property
    def limit(self) -> int:
        """Blocks that it can ever hold."""
        return len(self.keys) + self.growth(self.max_tokens)

    @property
    def reserved(self) -> int:
        """Blocks of its own that it is likely to need."""
        return self.growth(self.likely_tokens)

    @property
    def bound(self) -> int:
        """Blocks that it can hold ``LOOK_AHEAD`` steps from now."""
        return len(self.keys) + self.growth(self.num_steps + LOOK_AHEAD)

    @property
    def unseen(self) -> int:
        """Those of them that the pipeline need not use yet."""
        if not self.num_sure:
            return self.bound
        if self.num_sure == 1:  # its sequences still share the block in which the prefix ends
            return self.growth(self.num_steps + LOOK_AHEAD)
        return self.growth(self.num_steps + LOOK_AHEAD) - self.growth(self.num_sure - 1)

    @property
    def freed(self) -> int:
        """Blocks that it uses for sure and gives back when it leaves: those of a single sequence."""
        return own_blocks(self.num_prefix_tokens, self.num_sure - 1) if self.num_sure else 0


def own_blocks(num_prefix_tokens: int, num_tokens: int) -> int:
    """Blocks of one sequence of so many tokens that are its own: all but the prefix's full ones."""
    return -(-(num_prefix_tokens % BLOCK_TOKENS + num_tokens) // BLOCK_TOKENS)


def most_sequences(num_blocks: int, num_prefix_tokens: int, max_tokens: int) -> int:
    """How many sequences of one prefix the whole cache can hold."""
    return (num_blocks - num_prefix_tokens // BLOCK_TOKENS) // own_blocks(num_prefix_tokens, max_tokens)


class KvRoom:
    """The blocks that the running requests hold, and can come to hold.

    A prefix is shared with those that come after it has been computed. Prefixes taken in at the same time are
    computed for each by itself, and each keeps its copy; after so many steps as surely compute them one copy of each
    can be shared. That is what is likely: where there are several copies the pipeline may forget which it still has.

    So bounds do not count on it. The blocks that can be held two steps from now are bounded in two ways, and the
    smaller one holds: by the requests' own bounds, which know nothing of shared prefixes and of sequences that have
    ended, and by the blocks that the pipeline said it used, with all that can come on top.

    Args:
        num_blocks: size of the cache.
        step_tokens: tokens that a step computes at most; those of running sequences come first.
    """

    def __init__(self, num_blocks: int, step_tokens: int) -> None:
        self.num_blocks, self._step_tokens = num_blocks, step_tokens
        self._needs: list[Need] = []
        self._leaving: list[Need] = []
        self._shared: Counter[int] = Counter()
        self._fresh: list[Need] = []
        self._backlog_tokens = self._num_sequences = 0
        self._num_own = self._num_limit = self._num_used = 0
        self._bounds: _Bounds | None = None

    @property
    def num_reserved(self) -> int:
        return len(self._shared) + self._num_own

    @property
    def is_safe(self) -> bool:
        """Whether all that stays fits, whatever it writes in the next steps."""
        if self._num_limit <= self.num_blocks:
            return True
        bounds = self._bounded()
        return min(bounds.own, self._num_used + bounds.unseen - bounds.freed) <= self.num_blocks

    def has_room(self, need: Need) -> bool:
        """Whether what it is likely to need is free, and what it can need in the next steps."""
        if self._num_limit + need.limit <= self.num_blocks:
            return True
        prefix = sum(key not in self._shared for key in need.keys)
        if self.num_reserved + prefix + need.reserved > self.num_blocks:
            return False
        bounds = self._bounded()
        own = bounds.own + bounds.leaving + need.bound
        return min(own, self._num_used + bounds.unseen + need.unseen) <= self.num_blocks

    def _bounded(self) -> "_Bounds":
        if self._bounds is None:
            self._bounds = _Bounds.of(self._needs, self._leaving)
        return self._bounds

    def take(self, need: Need) -> None:
        need.shared = [key for key in need.keys if key in self._shared]
        need.num_private = len(need.keys) - len(need.shared)
        self._shared.update(need.shared)
        self._needs.append(need)
        self._fresh.append(need)
        self._backlog_tokens += need.num_prefix_tokens
        self._num_sequences += need.num_sequences
        self._num_own += need.num_private + need.reserved
        self._num_limit += need.limit
        if self._bounds is not None:
            self._bounds.take(need)

    def let_go(self, need: Need) -> None:
        """It leaves the pipeline at the end of the next step."""
        self._needs.remove(need)
        self._leaving.append(need)
        if self._bounds is not None:
            self._bounds.let_go(need)

    def count_step(self, num_used: int) -> None:
        """A step was taken, in which the pipeline used so many blocks."""
        self._count_computed(self._step_tokens - self._num_sequences)
        is_even = self._num_sequences <= self._step_tokens
        for need in self._needs:
            need.num_steps += 1
            need.num_sure += is_even and not need.is_apart and not need.is_fresh
        self.release(num_used)

    def release(self, num_used: int = 0) -> None:
        """What was let go has left; the pipeline used so many blocks."""
        for need in self._leaving:
            self._give_back(need)
        self._leaving, self._num_used, self._bounds = [], num_used, None

    def _count_computed(self, num_tokens: int) -> None:
        self._backlog_tokens -= min(max(num_tokens, 0), self._backlog_tokens)
        if self._backlog_tokens:
            return
        for need in self._fresh:
            first = [key for key in need.keys if key not in self._shared]
            self._shared.update(first)
            need.shared += first
            need.is_fresh = False
            need.num_private -= len(first)
            self._num_own -= len(first)
        self._fresh = []

    def _give_back(self, need: Need) -> None:
        for key in need.shared:
            self._shared[key] -= 1
            if not self._shared[key]:
                del self._shared[key]
        self._num_sequences -= need.num_sequences
        self._num_own -= need.num_private + need.reserved
        self._num_limit -= need.limit
        if need in self._fresh:
            self._fresh.remove(need)


@dataclass(slots=True)
class _Bounds:
    """Sums over the requests: ``own`` and ``unseen`` of those that stay, ``leaving`` and ``freed`` of the others."""

    own: int = 0
    unseen: int = 0
    leaving: int = 0
    freed: int = 0

    @classmethod
    def of(cls, needs: Sequence[Need], leaving: Sequence[Need]) -> "_Bounds":
        bounds = cls()
        for need in (*needs, *leaving):
            bounds.take(need)
        for need in leaving:
            bounds.let_go(need)
        return bounds

    def take(self, need: Need) -> None:
        self.own += need.bound
        self.unseen += need.unseen

    def let_go(self, need: Need) -> None:
        self.own -= need.bound
        self.unseen -= need.unseen
        self.leaving += need.bound
        self.freed += need.freed

"""Room in the KV cache, so that requests are taken in only when the cache can hold them to their end.

OpenVINO GenAI preempts sequences when its cache is full. With one sequence a request that works; with several it was
seen to crash the process (2026.4). A request is therefore counted at the size it can reach.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

BLOCK_TOKENS: Final = 32
"""Tokens in a block of the paged KV cache on a CPU."""


@dataclass(slots=True, eq=False)
class Need:
    """Blocks that a request can come to hold: ``keys`` of its prefix's full blocks, ``growth`` blocks of its own."""

    keys: tuple[int, ...]
    growth: int
    num_prefix_tokens: int
    shared: list[int] = field(default_factory=list)
    num_private: int = 0

    @classmethod
    def of(cls, prefix: Sequence[int], num_sequences: int, max_tokens: int) -> "Need":
        keys, key = [], 0
        for start in range(0, len(prefix) - len(prefix) % BLOCK_TOKENS, BLOCK_TOKENS):
            key = hash((key, tuple(prefix[start : start + BLOCK_TOKENS])))
            keys.append(key)
        return cls(tuple(keys), num_sequences * own_blocks(len(prefix), max_tokens), len(prefix))


def own_blocks(num_prefix_tokens: int, max_tokens: int) -> int:
    """Blocks of one sequence that are its own at the token limit: all but the prefix's full ones."""
    return -(-(num_prefix_tokens % BLOCK_TOKENS + max_tokens) // BLOCK_TOKENS)


def most_sequences(num_blocks: int, num_prefix_tokens: int, max_tokens: int) -> int:
    """How many sequences of one prefix the whole cache can hold."""
    return (num_blocks - num_prefix_tokens // BLOCK_TOKENS) // own_blocks(num_prefix_tokens, max_tokens)


class KvRoom:
    """The blocks that the running requests can come to hold.

    A prefix is shared with those that come after it has been computed. Prefixes taken in at the same time are
    computed for each by itself, and each keeps its copy; ``count_computed`` says how many tokens a step computed at
    least, so that after some steps one copy of each can be shared.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._shared: Counter[int] = Counter()
        self._fresh: list[Need] = []
        self._num_own = 0
        self._backlog_tokens = 0

    @property
    def num_held(self) -> int:
        return len(self._shared) + self._num_own

    def has_room(self, need: Need) -> bool:
        return self.num_held + sum(key not in self._shared for key in need.keys) + need.growth <= self.num_blocks

    def take(self, need: Need) -> None:
        need.shared = [key for key in need.keys if key in self._shared]
        need.num_private = len(need.keys) - len(need.shared)
        self._shared.update(need.shared)
        self._num_own += need.num_private + need.growth
        self._fresh.append(need)
        self._backlog_tokens += need.num_prefix_tokens

    def count_computed(self, num_tokens: int) -> None:
        self._backlog_tokens = max(0, self._backlog_tokens - num_tokens)
        if self._backlog_tokens:
            return
        for need in self._fresh:
            first = [key for key in need.keys if key not in self._shared]
            self._shared.update(first)
            need.shared += first
            need.num_private -= len(first)
            self._num_own -= len(first)
        self._fresh = []

    def give_back(self, need: Need) -> None:
        for key in need.shared:
            self._shared[key] -= 1
            if not self._shared[key]:
                del self._shared[key]
        self._num_own -= need.num_private + need.growth
        if need in self._fresh:
            self._fresh.remove(need)

"""Sequences that share prefixes, packed into rows in which each shared token stands once.

The trajectories of a frontier share most of their tokens. As a batch of whole sequences a network reads those again for
each of them; packed as a tree, with a mask that lets a token see its ancestors only, it reads them once a row. The
result is the same, for a network whose positions and mask are inputs (tree attention: Miao et al., SpecInfer, 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NO_PARENT = -1


@dataclass(slots=True)
class Row:
    """Tokens in the order of a depth-first walk.

    Attributes:
        ids: of the tokens.
        positions: of the tokens, each in its sequence.
        chains: runs of tokens that follow each other: the slot of a run's first token, and the slot that this one
            follows, ``NO_PARENT`` at the beginning of a sequence.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    chains: list[tuple[int, int]] = field(default_factory=list)

    def mask(self, size: int) -> NDArray[np.float32]:
        """What is added to attention logits ``[size, size]``: 0 where a token sees another, minus infinity elsewhere.

        A token sees its ancestors and itself; padding beyond the row sees itself, so that nothing is divided by zero.
        The tokens of a chain see what its parent sees, and of the chain what lies before them.
        """
        mask = np.full((size, size), -np.inf, dtype=np.float32)
        triangle = _triangle(size)
        ends = [*(start for start, _ in self.chains[1:]), len(self.ids)]
        for (start, parent), end in zip(self.chains, ends, strict=True):
            if parent != NO_PARENT:
                mask[start:end, : parent + 1] = mask[parent, : parent + 1]
            mask[start:end, start:end] = triangle[: end - start, : end - start]
        np.fill_diagonal(mask[len(self.ids) :, len(self.ids) :], 0)
        return mask


@lru_cache(maxsize=4)
def _triangle(size: int) -> NDArray[np.float32]:
    """The mask of one sequence."""
    return np.triu(np.full((size, size), -np.inf, dtype=np.float32), 1)


@dataclass(frozen=True, slots=True)
class Packed:
    """The rows, and for each sequence the row it lies in and the slot of each of its tokens."""

    rows: tuple[Row, ...]
    places: tuple[tuple[int, tuple[int, ...]], ...]


def pack(sequences: Sequence[tuple[int, ...]], max_tokens: int) -> Packed:
    """Packs sequences of ids into rows of at most ``max_tokens``, or of one sequence that is longer.

    In lexicographic order each sequence shares its longest prefix with the one before it, if with any.
    """
    rows: list[Row] = []
    places: dict[tuple[int, ...], tuple[int, tuple[int, ...]]] = {}
    before: tuple[int, ...] = ()
    path: list[int] = []
    for sequence in sorted(set(sequences)):
        shared = _common_length(before, sequence)
        if not rows or len(rows[-1].ids) + len(sequence) - shared > max_tokens:
            rows.append(Row())
            shared = 0
        row = rows[-1]
        row.chains.append((len(row.ids), path[shared - 1] if shared else NO_PARENT))
        path[shared:] = range(len(row.ids), len(row.ids) + len(sequence) - shared)
        row.ids += sequence[shared:]
        row.positions += range(shared, len(sequence))
        before = sequence
        places[sequence] = len(rows) - 1, tuple(path)
    return Packed(tuple(rows), tuple(places[sequence] for sequence in sequences))


def _common_length(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length

"""Sequences that share prefixes, packed into rows in which each shared token stands once.

The trajectories of a frontier share most of their tokens. As a batch of whole sequences a network reads those again for
each of them; packed as a tree, with a mask that lets a token see its ancestors only, it reads them once a row. The
result is the same, for a network whose positions and mask are inputs (tree attention: Miao et al., SpecInfer, 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NO_PARENT = -1


@dataclass(slots=True)
class Row:
    """Tokens in the order of a depth-first walk: ids, positions in their sequences, and the slot each one follows."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)

    def mask(self, size: int) -> NDArray[np.float32]:
        """What is added to attention logits ``[size, size]``: 0 where a token sees another, minus infinity elsewhere.

        A token sees its ancestors and itself; padding beyond the row sees itself, so that nothing is divided by zero.
        In the order of a depth-first walk those that see a token lie between it and where its subtree ends.
        """
        ends = list(range(1, size + 1))
        for slot in range(len(self.parents) - 1, -1, -1):
            if (parent := self.parents[slot]) != NO_PARENT:
                ends[parent] = max(ends[parent], ends[slot])
        slots = np.arange(size)
        sees = slots <= slots[:, None]
        sees &= slots[:, None] < np.array(ends)
        return np.where(sees, np.float32(0), np.float32(-np.inf))


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
    path: tuple[int, ...] = ()
    for sequence in sorted(set(sequences)):
        shared = _common_length(before, sequence)
        if not rows or len(rows[-1].ids) + len(sequence) - shared > max_tokens:
            rows.append(Row())
            shared = 0
        row, path = rows[-1], path[:shared]
        for position in range(shared, len(sequence)):
            row.parents.append(path[-1] if path else NO_PARENT)
            path = (*path, len(row.ids))
            row.ids.append(sequence[position])
            row.positions.append(position)
        before = sequence
        places[sequence] = len(rows) - 1, path
    return Packed(tuple(rows), tuple(places[sequence] for sequence in sequences))


def _common_length(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length

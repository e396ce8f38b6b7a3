"""Which blocks of the pipeline's prefix cache a request may find.

OpenVINO GenAI (2026.4) looks for a prefix in its cache block by block, and, where the next block is not there, for one
that is filled with a beginning of it. Such a half-filled block it gives to every request that asks, and each then
writes the rest of its own prefix there: of two siblings that are read in the same step, one continues the other's text.
Neither can that be turned off, nor does the pipeline say what it found.

So each request writes in a space of its own. The first token of its first block that is not known to be in the cache
carries a number of the request's in the upper half of its 64 bits. The pipeline's hashes, which name a block by its
tokens and all before them, tell such blocks from everyone else's; the model computes with the lower half, and sees
nothing of it (the generator makes sure, when it is opened). What a request wrote is found by those after it only
through this book, which knows it by its tokens and gives its number; and the book knows

- only whole blocks, and only of requests that are done, or whose prefix is read;
- not both of two blocks that begin alike, where one of the request's sequences ended within what they share: if the
  pipeline has dropped them meanwhile, it would find that end in their place, and give it to both.
"""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from etsearch.generators._kv_room import BLOCK_TOKENS

NUMBER_SHIFT: Final = 32
"""A token's number is in the bits from here on."""
_MOST_NUMBERS: Final = 2**31
_ROOT: Final = 0


_Key = tuple[int, tuple[int, ...]]
"""The block above by its name, and a block's tokens."""


class _Block(NamedTuple):
    name: int
    """By which the blocks after it know it."""
    number: int
    """What its first token carries."""
    space: int
    """The number of the request that wrote it."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a request's prefix stands in the cache.

    Attributes:
        ids: ``[tokens]`` the prefix as the pipeline is to be given it.
        num_known: its first blocks, which the cache should hold.
    """

    prefix: tuple[int, ...]
    ids: npt.NDArray[np.int64]
    num_known: int
    above: int
    number: int


class PrefixBook:
    """The blocks that requests may find, the most lately used ``num_blocks`` of them."""

    def __init__(self, num_blocks: int) -> None:
        self._num_blocks = num_blocks
        self._blocks: OrderedDict[_Key, _Block] = OrderedDict()
        self._names = itertools.count(_ROOT + 1)
        self._numbers = itertools.cycle(range(1, _MOST_NUMBERS))

    def __len__(self) -> int:
        return len(self._blocks)

    def place(self, prefix: Sequence[int]) -> Place:
        """A place for a request. Its last token is always in a block of its own: that is computed whatever is found."""
        prefix = tuple(prefix)
        ids = np.array(prefix, dtype=np.int64)
        above, num_known = _ROOT, 0
        for key, block in self._path(prefix):
            self._blocks.move_to_end(key)
            ids[num_known * BLOCK_TOKENS] |= block.number << NUMBER_SHIFT
            above, num_known = block.name, num_known + 1
        number = next(self._numbers)
        ids[num_known * BLOCK_TOKENS] |= number << NUMBER_SHIFT
        return Place(prefix, ids, num_known, above, number)

    def keep(self, place: Place, written: Iterable[Sequence[int]] = ((),)) -> None:
        """What a request's sequences wrote may be found: all but the last token of each is in the cache.

        Without ``written``, its prefix: once the pipeline has read it.
        """
        tail = place.prefix[place.num_known * BLOCK_TOKENS :]
        whole = [(*tail, *ids) for ids in written]
        cached = [text[:-1] if len(text) > len(tail) else text for text in whole]
        self._keep(place, place.above, place.number, list(dict.fromkeys(cached)), {*cached, *whole})

    def drop(self, place: Place) -> None:
        """What this request found, or was writing anew because the pipeline had dropped it, is not to be found."""
        for key, _ in list(self._path(place.prefix)):
            del self._blocks[key]

    def _path(self, prefix: tuple[int, ...]) -> Iterable[tuple[_Key, _Block]]:
        above = _ROOT
        for start in range(0, len(prefix) - BLOCK_TOKENS, BLOCK_TOKENS):
            key = above, prefix[start : start + BLOCK_TOKENS]
            block = self._blocks.get(key)
            if block is None:
                return
            yield key, block
            above = block.name

    def _keep(
        self, place: Place, above: int, number: int, texts: list[tuple[int, ...]], ends: set[tuple[int, ...]]
    ) -> None:
        """``texts`` and ``ends`` of sequences, from the block ``above`` on; a first token carries ``number``.

        Where another request has written the same block the book stays with that one, and these go no further: what
        comes after stands in this request's space.
        """
        continued: set[tuple[int, ...]] = set()
        for tokens in dict.fromkeys(text[:BLOCK_TOKENS] for text in texts if len(text) >= BLOCK_TOKENS):
            found_instead = {tokens[:length] for length in range(1, BLOCK_TOKENS)} & ends
            if found_instead & continued:
                continue
            continued |= found_instead
            block = self._enter((above, tokens), number, place.number)
            if block.space != place.number:
                continue
            after = [text[BLOCK_TOKENS:] for text in texts if text[:BLOCK_TOKENS] == tokens]
            ends_after = {end[BLOCK_TOKENS:] for end in ends if end[:BLOCK_TOKENS] == tokens}
            self._keep(place, block.name, 0, after, ends_after)

    def _enter(self, key: _Key, number: int, space: int) -> _Block:
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = _Block(next(self._names), number, space)
            if len(self._blocks) > self._num_blocks:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(key)
        return block

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
MOST_NUMBERS: Final = 2**31
"""Numbers that fit there: 0 to one less."""
_ROOT: Final = 0

_Tokens = tuple[int, ...]
_Key = tuple[int, _Tokens]
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

    prefix: _Tokens
    ids: npt.NDArray[np.int64]
    num_known: int
    above: int
    number: int


class PrefixBook:
    """The blocks that requests may find, the most lately used ``num_blocks`` of them."""

    def __init__(self, num_blocks: int) -> None:
        self._num_blocks = num_blocks
        self._blocks: OrderedDict[_Key, _Block] = OrderedDict()
        self._names, self._numbers = itertools.count(_ROOT + 1), itertools.count()

    def __len__(self) -> int:
        return len(self._blocks)

    def place(self, prefix: Sequence[int]) -> Place:
        """A place for a request. Its last token is always in a block of its own: that is computed whatever is found."""
        prefix = tuple(prefix)
        ids = np.array(prefix, dtype=np.int64)
        path = list(self._path(prefix))
        for start, (_, block) in enumerate(path):
            ids[start * BLOCK_TOKENS] |= block.number << NUMBER_SHIFT
        self._touch(key for key, _ in path)
        number = next(self._numbers) % (MOST_NUMBERS - 3) + 1
        ids[len(path) * BLOCK_TOKENS] |= number << NUMBER_SHIFT
        return Place(prefix, ids, len(path), path[-1][1].name if path else _ROOT, number)

    def keep(self, place: Place, written: Iterable[Sequence[int]] = ()) -> None:
        """What a request's sequences wrote may be found: all but the last token of each is in the cache.

        Without ``written``, its prefix: once the pipeline has read it. Where another request has written the same block
        the book stays with that one, and goes no further: what comes after stands in this request's space.
        """
        entered: list[_Key] = []
        above, number = place.above, place.number
        starts = range(0, len(place.prefix) - BLOCK_TOKENS + 1, BLOCK_TOKENS)
        for start in starts[place.num_known :]:
            key = above, place.prefix[start : start + BLOCK_TOKENS]
            block = self._enter(key, number, place.number)
            entered.append(key)
            if block.space != place.number:
                break
            above, number = block.name, 0
        else:
            rest = place.prefix[len(starts) * BLOCK_TOKENS :]
            texts = list(dict.fromkeys((*rest, *ids) for ids in written))
            entered += self._keep_written(place.number, above, number, texts)
        self._touch(entered)
        self._touch(key for key, _ in self._path(place.prefix))
        while len(self._blocks) > self._num_blocks:
            self._blocks.popitem(last=False)

    def drop(self, place: Place) -> None:
        """What this request found, or was writing anew because the pipeline had dropped it, is not to be found."""
        for key, _ in list(self._path(place.prefix)):
            del self._blocks[key]

    def _keep_written(self, space: int, above: int, number: int, texts: list[_Tokens]) -> list[_Key]:
        """Blocks of the texts that sequences have behind the block ``above``, the first token of which has a number."""
        entered: list[_Key] = []
        left = [(above, number, 0, texts)]
        while left:
            above, number, start, texts = left.pop()
            # The last token is not in the cache, they say; should it be, that end is none to be found either.
            tails = [text[start : start + BLOCK_TOKENS] for text in texts if len(text) <= start + BLOCK_TOKENS]
            ends = {
                tail[:length] for tail in tails for length in (len(tail) - 1, len(tail)) if 0 < length < BLOCK_TOKENS
            }
            whole: dict[_Tokens, list[_Tokens]] = {}
            for text in texts:
                if len(text) > start + BLOCK_TOKENS:
                    whole.setdefault(text[start : start + BLOCK_TOKENS], []).append(text)
            continued: set[_Tokens] = set()
            for tokens, with_it in whole.items():
                found_instead = {tokens[:length] for length in range(1, BLOCK_TOKENS)} & ends
                if found_instead & continued:
                    continue
                continued |= found_instead
                block = self._enter((above, tokens), number, space)
                entered.append((above, tokens))
                if block.space == space:
                    left.append((block.name, 0, start + BLOCK_TOKENS, with_it))
        return entered

    def _path(self, prefix: _Tokens) -> Iterable[tuple[_Key, _Block]]:
        above = _ROOT
        for start in range(0, len(prefix) - BLOCK_TOKENS, BLOCK_TOKENS):
            key = above, prefix[start : start + BLOCK_TOKENS]
            block = self._blocks.get(key)
            if block is None:
                return
            yield key, block
            above = block.name

    def _enter(self, key: _Key, number: int, space: int) -> _Block:
        return self._blocks.setdefault(key, _Block(next(self._names), number, space))

    def _touch(self, path: Iterable[_Key]) -> None:
        """They were used: the deepest is forgotten first, for nothing below a block is found without it."""
        for key in reversed(list(path)):
            self._blocks.move_to_end(key)

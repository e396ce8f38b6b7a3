"""The prices that a market knows: 0, and from 2^-24 to 2^14 in steps of a quarter of an octave.

A price is what a KV token costs, where all the reward of a search is worth 1. At the least of them a cache of sixteen
million tokens costs as much as all reward of one search is worth; at the most, one token costs ten thousand times that,
so that every search has given back what it can. Known prices make sums of demand exact, and the work of finding one
bounded.
"""

from collections.abc import Callable
from typing import Final

FREE: Final = 0
"""The place of price 0."""
_LOWEST, _HIGHEST, _PER_OCTAVE = -24, 14, 4
DEAREST: Final = 1 + (_HIGHEST - _LOWEST) * _PER_OCTAVE
"""The place of the highest price."""


def price_at(place: int) -> float:
    """The price at a place, 0 to ``DEAREST``."""
    return 0.0 if place == FREE else 2.0 ** (_LOWEST + (place - 1) / _PER_OCTAVE)


def least_place(fits: Callable[[int], bool], start: int = FREE) -> int | None:
    """The lowest place that fits, where all above one that does fit too; None if none does.

    It is looked for from ``start`` on, in growing strides, then by halving: at most 16 places are tried, three or four
    where the guess is good.
    """
    if fits(FREE):
        return FREE
    if not fits(DEAREST):
        return None
    low, high, place, stride = FREE, DEAREST, start, 1
    while high - low > 1:
        if not low < place < high:
            place = (low + high) // 2
        if fits(place):
            high, place = place, place - stride
        else:
            low, place = place, place + stride
        stride *= 2
    return high

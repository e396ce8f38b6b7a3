"""Clearing: the price at which all demand fits into the cache."""

import math
from collections.abc import Collection

from etsearch.sharing.demand import Demand
from etsearch.sharing.grid import DEAREST, FREE, least_place


def clearing_place(
    demands: Collection[Demand], capacity: float, asking: Demand | None = None, start: int = FREE
) -> int:
    """The place of the lowest price at which all demand together is no more than the cache holds.

    It never falls as demand is added or the cache shrinks, since each curve falls with the price; and the order of the
    demands does not matter, since their sum is exact (``math.fsum``). Where no price makes room, it is the lowest at
    which nobody would give back more.

    Args:
        demands: of all searches, those that wait among them; counted by what is known of them.
        capacity: in tokens.
        asking: one of them whose curve may be worked out.
        start: where to look first.
    """

    def total(place: int) -> float:
        if asking is not None:
            asking.at(place)
        return math.fsum(demand.known_at(place) for demand in demands)

    room = capacity if total(FREE) <= capacity else max(capacity, total(DEAREST))
    place = least_place(lambda place: total(place) <= room, start)
    assert place is not None
    return place

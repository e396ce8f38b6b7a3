"""Who is next, of the searches that wait."""

import itertools
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar, get_args

from etsearch.boundary.numbers import MOST_WEIGHT, check_number, check_whole
from etsearch.errors import ConfigError

Order = Literal["fair", "short_first"]

LEAST_WEIGHT: Final = 1e-6
"""The smallest weight of a key."""
MOST_OVERTAKEN: Final = 64
"""How many later ones may be let in before one that waits, by default."""
T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Waiting(Generic[T]):
    """One that waits.

    Attributes:
        item: what waits.
        key: whose it is.
        weight: of the key, against others.
        work: what it is expected to take, in any unit that all use.
        is_under_way: whether it has begun, and waits between two depths.
        arrival: its number, in the order of coming.
        num_overtaken: how many that came later were let in before it.
    """

    item: T
    key: str
    weight: float
    work: float
    is_under_way: bool
    arrival: int = 0
    num_overtaken: int = 0


@dataclass(eq=False)
class AdmissionQueue(Generic[T]):
    """Searches under way first, for they end and make room; then new ones, by key and weight.

    Of the new ones, that of the key comes next which was given least for its weight (start-time fair queueing: a key
    that comes back after a pause gets no credit for it). Of a key's own the first come comes first, or with
    ``short_first`` the one with the least work before it. Whatever the order, nobody is overtaken by more than
    ``most_overtaken`` that came later: one that was is next.

    Attributes:
        order: ``fair`` or ``short_first``, which looks at the work alone, of all keys.
        most_overtaken: how many later ones may be let in before one that waits, 0 to 1e9; at 0 the first come comes
            first.
    """

    order: Order = "fair"
    most_overtaken: int = MOST_OVERTAKEN
    _waiting: list[Waiting[T]] = field(default_factory=list)
    _given: dict[str, float] = field(default_factory=dict)
    """By key, what it was given so far over its weight: its virtual time."""
    _now: float = 0.0
    """The virtual time of the one that was let in last."""
    _arrivals: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        check_whole("most_overtaken", self.most_overtaken, 0, int(MOST_WEIGHT))
        if self.order not in get_args(Order):
            raise ConfigError(f"the order is {self.order!r}; choose {' or '.join(get_args(Order))}")

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> "itertools.chain[Waiting[T]]":
        return itertools.chain(self._waiting)

    def add(self, waiting: Waiting[T]) -> None:
        """One comes to wait. Raises ConfigError for a weight out of its range."""
        check_number("the weight", waiting.weight, LEAST_WEIGHT, MOST_WEIGHT)
        waiting.arrival = next(self._arrivals)
        self._waiting.append(waiting)

    def discard(self, waiting: Waiting[T]) -> None:
        """One waits no longer; nothing happens if it did not."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def first(self) -> Waiting[T] | None:
        """Who is next; None if nobody waits."""
        under_way = [one for one in self._waiting if one.is_under_way]
        passed = [one for one in self._waiting if one.num_overtaken >= self.most_overtaken]
        for some in (passed, under_way, self._waiting):
            if some:
                by_arrival = some is passed
                return min(some, key=lambda one: (0.0 if by_arrival else self._rank(one), one.arrival))
        return None

    def let_in(self, waiting: Waiting[T]) -> None:
        """The one that was next is let in."""
        self._waiting.remove(waiting)
        for other in self._waiting:
            other.num_overtaken += other.arrival < waiting.arrival
        if not waiting.is_under_way:
            start = max(self._given.get(waiting.key, 0.0), self._now)
            self._now, self._given[waiting.key] = start, start + waiting.work / waiting.weight
            self._given = {key: given for key, given in self._given.items() if given > self._now or key == waiting.key}

    def _rank(self, one: Waiting[T]) -> float:
        if self.order == "short_first" or one.is_under_way:
            return one.work
        return max(self._given.get(one.key, 0.0), self._now)

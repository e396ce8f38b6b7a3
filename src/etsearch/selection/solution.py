"""What a solver answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from etsearch.errors import SolverError
from etsearch.selection.programme import Programme


class Status(StrEnum):
    """How far a solver came. ``message`` says it to a person."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"

    @property
    def message(self) -> str:
        return {
            Status.OPTIMAL: "No other set of leaves is worth more.",
            Status.FEASIBLE: "The best set found within the time limit; a better one may exist. Try a longer limit.",
        }[self]


_DEFECT: Final = "a defect in it or in how it is called; please report it, and try another solver meanwhile"


@dataclass(frozen=True, slots=True)
class Solution:
    """The leaves to keep.

    ``kept`` is one bool per leaf, in the programme's order, at least one of them true. ``objective`` is
    ``programme.objective(kept)``, never the solver's own figure.
    """

    kept: tuple[bool, ...]
    objective: float
    status: Status


def evaluate(programme: Programme, leaves: Sequence[int], status: Status) -> Solution:
    """The solution that keeps these leaves, given by their places in ``Programme.leaves``.

    Raises:
        SolverError: there is none among them, or they cost more than the budget.
    """
    kept = programme.mask(leaves)
    if not kept.any():
        raise SolverError(f"the solver kept none of {programme.num_leaves} leaves, though it must keep one: {_DEFECT}")
    if programme.kept_cost(kept) > programme.most_cost:
        raise SolverError(
            f"the solver kept leaves that cost {programme.kept_cost(kept):g}, above the budget of {programme.budget}: "
            f"{_DEFECT}"
        )
    return Solution(tuple(kept.tolist()), programme.objective(kept), status)

"""What a contract is tried with."""

from dataclasses import dataclass, field
from typing import Final

from etsearch import minimath
from etsearch.types import Problem


@dataclass(frozen=True)
class Case:
    """A problem that the part can read, and a solution of it.

    Attributes:
        problem: put to generators and searches.
        steps: ``[n]`` of a solution, as a generator writes them, delimiters included; at least two.
    """

    problem: Problem = field(default_factory=lambda: minimath.example(3))
    steps: tuple[str, ...] = ("The cups number 1 more than the pens: 2 + 1 = 3 cups.\n", "The answer is 3.")


CASE: Final = Case()
"""A problem of the miniature world."""

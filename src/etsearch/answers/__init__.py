"""What a solution answers: extraction, equivalence, and the vote."""

from etsearch.answers.equivalence import equivalent
from etsearch.answers.extract import DEFAULT_PATTERNS, Pattern, Reading, extract, find_pattern
from etsearch.answers.vote import Aggregation, Tally, Vote, vote, weight

__all__ = [
    "DEFAULT_PATTERNS",
    "Aggregation",
    "Pattern",
    "Reading",
    "Tally",
    "Vote",
    "equivalent",
    "extract",
    "find_pattern",
    "vote",
    "weight",
]

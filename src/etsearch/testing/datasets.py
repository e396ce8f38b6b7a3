"""What every data set must give; see ``etsearch.evaluation.datasets``."""

from collections.abc import Callable, Iterable

from etsearch.evaluation.datasets import Dataset
from etsearch.types import Problem

Made = Dataset | Iterable[Problem]


def _dataset(made: Made) -> Dataset:
    return made if isinstance(made, Dataset) else Dataset.of(made, "problems")


def has_problems_with_answers(make: Callable[[], Made]) -> None:
    """At least one problem, each with a question, a reference answer and an id of its own."""
    problems = _dataset(make()).problems
    assert problems
    assert all(problem.question.strip() and (problem.answer or "").strip() for problem in problems)
    assert len({problem.id for problem in problems}) == len(problems)


def is_the_same_each_time(make: Callable[[], Made]) -> None:
    """The same problems in the same order with the same hash, by which a resumed run knows them."""
    first, second = _dataset(make()), _dataset(make())
    assert first.sha256
    assert first == second


DATASET_CHECKS = (has_problems_with_answers, is_the_same_each_time)

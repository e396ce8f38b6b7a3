"""Grading the answers of a run again, such as after a grader was mended."""

from pathlib import Path

from etsearch.evaluation.grading import GRADERS, grade, grade_all
from etsearch.evaluation.run.folder import revise
from etsearch.evaluation.run.record import SearchRecord


def regrade(path: Path) -> int:
    """Grades every answer of a run again; says how many verdicts on voted answers changed."""
    pairs = revise(path, _grade)
    return sum(before.right.get(name) != after.right[name] for before, after in pairs for name in GRADERS)


def _grade(record: SearchRecord) -> SearchRecord:
    right = {name: grade(record.answer, record.gold, name) for name in GRADERS}
    return record.model_copy(update={"right": right, "right_answers": grade_all(record.answers, record.gold)})

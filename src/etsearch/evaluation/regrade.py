"""Grading the answers of a run again, such as after a grader was mended."""

from pathlib import Path

from etsearch.evaluation.grading import GRADERS, grade, grade_all
from etsearch.evaluation.record import SearchRecord, read_run, rewrite


def regrade(path: Path) -> int:
    """Grades every answer of a run again; says how many verdicts on voted answers changed."""
    before = read_run(path).records
    after = tuple(_graded(record) for record in before)
    if after != before:
        rewrite(path, after)
    pairs = zip(before, after, strict=True)
    return sum(old.right.get(g) != new.right[g] for old, new in pairs for g in GRADERS)


def _graded(record: SearchRecord) -> SearchRecord:
    right = {name: grade(record.answer, record.gold, name) for name in GRADERS}
    return record.model_copy(update={"right": right, "right_answers": grade_all(record.answers, record.gold)})

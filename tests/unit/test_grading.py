"""The two graders, on answers and on whole solutions."""

import pytest
from tests.data import data_rows

from etsearch.errors import ConfigError
from etsearch.evaluation.grading import GRADERS, grade, grade_all

BOTH_RIGHT = [
    ("5", "5"),
    ("The answer is 5.", "5"),
    (r"So we get \boxed{\frac{1}{2}}.", r"\dfrac{1}{2}"),
    ("1,000", "1000"),
    ("1000", "1,000"),
    (r"10,\!080", "10080"),
    ("18 dollars", "18"),
    ("2.0", "2"),
    ("First 3. The answer is 4.\nNo, the answer is 5.", "5"),
    ("x+1", "1+x"),
]
BOTH_WRONG = [("6", "5"), ("", "5"), ("no idea", "5"), (None, "5"), ("The answer is 4.", "5"), ("0.3", r"\frac{1}{3}")]
ONLY_CORRECTED = [
    ("(3, 4)", "(3, 4)"),
    (r"(-\infty, 0]", r"(-\infty, 0]"),
    ("1,-2", "1,-2"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"\left( 3, \frac{\pi}{2} \right)"),
    ("2/4", "1/2"),
    ("1+1", "2"),
]


@pytest.mark.parametrize("grader", GRADERS)
@pytest.mark.parametrize(("prediction", "gold"), BOTH_RIGHT)
def test_right_to_both(prediction, gold, grader):
    assert grade(prediction, gold, grader)


@pytest.mark.parametrize("grader", GRADERS)
@pytest.mark.parametrize(("prediction", "gold"), BOTH_WRONG)
def test_wrong_to_both(prediction, gold, grader):
    assert not grade(prediction, gold, grader)


@pytest.mark.parametrize(("prediction", "gold"), ONLY_CORRECTED)
def test_the_released_grader_has_its_faults(prediction, gold):
    assert grade(prediction, gold)
    assert not grade(prediction, gold, "released")


def test_grade_all_gives_the_places_of_the_right_ones():
    assert grade_all(["4", "(1,2)", "5"], "(1,2)") == {"corrected": (1,), "released": ()}


def test_what_cannot_be_graded_is_an_error():
    with pytest.raises(ConfigError, match="corrected, released"):
        grade("5", "5", "strict")
    with pytest.raises(ConfigError, match="empty"):
        grade("5", " ")


@pytest.mark.parametrize(("grader", "right"), [("corrected", 500), ("released", 475)])
def test_math500_against_itself(grader, right):
    rows = data_rows("math500.jsonl")
    assert sum(grade(row["answer"], row["answer"], grader) for row in rows) == right
    assert sum(grade(row["solution"], row["answer"], grader) for row in rows) == right

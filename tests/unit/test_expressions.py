"""The world of expressions: what it says, and what its checker says of it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etsearch import expressions
from etsearch.errors import ConfigError, QuestionError
from etsearch.evaluation.datasets import expressions_problems
from etsearch.expressions import checker, language, world

NUMBERS = st.integers(0, language.MAX_NUMBER)
EXPRESSIONS = st.recursive(
    NUMBERS,
    lambda inner: st.builds(world.Operation, inner, st.sampled_from(language.OPERATORS), inner),
    max_leaves=12,
)
BY_HAND = world.parse("Work out ((3 + 4) * 2) - (9 - 4).")


@given(EXPRESSIONS)
def test_an_expression_is_read_as_it_is_written(expression):
    assert world.parse_expression(world.text_of(expression)) == expression


@given(st.integers(0, 10**6), st.integers(world.LOWEST_LEVEL, world.HIGHEST_LEVEL))
def test_a_problem_has_a_right_solution(seed, level):
    rng = random.Random(seed)
    problem = world.generate(rng, level)
    steps = world.solution(problem, rng)
    assert problem.level == level
    assert len(steps) == level + 1
    assert all(checker.right_steps(problem, steps))
    assert steps[-1] == f"The answer is {problem.answer}."
    assert world.parse(problem.question) == problem
    assert expressions.read_question(problem.question) == problem.question


def test_splits_never_overlap():
    digests = {split: {p.digest for p in world.problems(split, 200)} for split in world.SPLITS}
    assert all(len(found) == 200 for found in digests.values())
    assert len(set.union(*digests.values())) == 600
    assert [p.level for p in world.problems("test", 7)] == [*world.LEVELS, world.LEVELS[0]]


def test_a_case_by_hand():
    assert (BY_HAND.level, BY_HAND.answer) == (4, 9)
    ways = {world.text_of(one) for one in world.reductions(BY_HAND.expression)}
    assert ways == {"(7 * 2) - (9 - 4)", "((3 + 4) * 2) - 5"}


@pytest.mark.parametrize(
    ("steps", "verdicts", "mistake"),
    [
        (["= (7 * 2) - (9 - 4)", "= (7 * 2) - 5", "= 14 - 5", "= 9", "The answer is 9."], [True] * 5, None),
        (["= (7 * 2) - (9 - 4)", "= (7 * 2) - 6"], [True, False], "arithmetic"),
        (["= (7 * 2) - 5"], [False], "another expression"),
        (["= (7 * 2 - (9 - 4)", "= 14 - (9 - 4)"], [False, False], "no step of this world"),
        (["= ((3 + 4) * 2) - 5", "The answer is 9."], [True, False], "wrong answer"),
        (["= (8 * 2) - (9 - 4)", "= 16 - (9 - 4)", "= 16 - 5", "= 11", "The answer is 11."], [False] * 5, "arithmetic"),
    ],
)
def test_what_the_checker_says(steps, verdicts, mistake):
    assert checker.right_steps(BY_HAND, steps) == verdicts
    assert checker.first_mistake(BY_HAND, steps) == mistake


@pytest.mark.parametrize("text", ["3 +", "(3)", "3 4", "(3 + 4", "3 + 4 + 5", "3 / 4", "", "3 + x"])
def test_what_is_no_expression(text):
    assert world.parse_expression(text) is None
    with pytest.raises(QuestionError, match="not a question of the world of expressions"):
        world.parse(f"Work out {text}.")


def test_what_the_models_cannot_read_is_named():
    with pytest.raises(ConfigError, match=r"does not know '60', 'apples'"):
        expressions.read_question("Work out 3 + 60 apples.")
    with pytest.raises(QuestionError, match="no whole number from 0 to 50"):
        _ = world.parse("Work out 3 - 4.").answer


def test_the_data_set_takes_levels():
    standard, hard = expressions_problems("test"), expressions_problems("test", 9, 10)
    assert len(standard.problems) == len(hard.problems) == 600
    assert {p.level for p in standard.problems} == {"3", "4", "5", "6", "7", "8"}
    assert {p.level for p in hard.problems} == {"9", "10"}
    assert hard.problems[0].id == "expressions/test-9-10/0"
    assert len(expressions_problems("validation", world.LOWEST_LEVEL, world.LOWEST_LEVEL).problems) == 600
    for levels, told in (((9, 13), "hardest is 13"), ((1, 4), "easiest is 1"), ((6, 5), "hardest is 5")):
        with pytest.raises(ConfigError, match=told):
            expressions_problems("test", *levels)

"""The miniature world: its language, its problems and its checker."""

import hashlib
import random

import pytest

from etsearch import minimath
from etsearch.errors import ConfigError
from etsearch.minimath import language, world
from etsearch.minimath.checker import read_step, right_steps
from etsearch.minimath.world import Fact, WordProblem

QUESTION = (
    "The pens number 3 more than the cups. There are 7 cups. The count of hats is half the pens. "
    "Of keys there are as many as the hats and the cups. We have 4 dogs. How many keys are there?"
)


@pytest.fixture(scope="module")
def fixed_problems() -> list[WordProblem]:
    return list(world.problems("test", 500))


def test_the_test_set_never_changes(fixed_problems):
    digest = hashlib.sha256("\n".join(p.question for p in fixed_problems).encode()).hexdigest()
    assert digest == "e7925789c00b4162775dce246852e04b358e1f5d2943e1651fc219e3f722874f"


def test_levels_come_in_turn(fixed_problems):
    assert [p.level for p in fixed_problems] == [i % 6 + 1 for i in range(500)]
    assert len({p.digest for p in fixed_problems}) == 500


def test_splits_are_disjoint_by_construction(fixed_problems):
    for split in world.SPLITS:
        assert {p.split for p in world.problems(split, 30, seed=3)} == {split}
    assert {p.split for p in fixed_problems} == {"test"}
    # A problem told in other words, in another order, belongs to the same split.
    problem = world.parse(QUESTION)
    retold = WordProblem("", problem.facts[::-1], problem.target)
    assert retold.digest == problem.digest


def test_parse_reads_what_the_text_says():
    problem = world.parse(QUESTION)
    assert problem.values == {"cups": 7, "pens": 10, "hats": 5, "keys": 12, "dogs": 4}
    assert (problem.answer, problem.level) == (12, 3)
    assert {f.name for f in problem.needed} == {"pens", "hats", "keys"}


def test_every_problem_is_read_back_and_solved(fixed_problems):
    rng = random.Random(0)
    for problem in fixed_problems:
        assert world.parse(problem.question).facts == problem.facts
        steps = world.solution(problem, rng)
        assert len(steps) == problem.level + 1
        assert steps[-1] == f"The answer is {problem.answer}."
        assert all(right_steps(problem, steps))
        assert not language.unknown_words(problem.question)


def test_solutions_vary_in_order_and_wording():
    rng = random.Random(0)
    num_orders = []
    for problem in world.problems("validation", 60):
        solutions = [world.solution(problem, rng) for _ in range(50)]
        num_orders.append(len({tuple(read_step(s).fact.name for s in steps[:-1]) for steps in solutions}))
        if problem.level > 3:
            assert len({tuple(steps) for steps in solutions}) > 40
    assert max(num_orders) > 1


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (["The pens number 3 more than the cups: 7 + 3 = 10 pens."], [True]),
        (["Of pens there are 3 more than the cups, so 7 + 3 = 10 pens."], [True]),
        (["The pens number 3 more than the cups: 7 + 3 = 11 pens."], [False]),
        (["The pens number 4 more than the cups: 7 + 4 = 11 pens."], [False]),
        (["The pens number 3 fewer than the cups: 7 - 3 = 4 pens."], [False]),
        (["The pens number 3 more than the dogs: 4 + 3 = 7 pens."], [False]),
        (["The pens number 3 more than the cups: 3 + 7 = 10 pens."], [False]),
        (["The count of hats is half the pens: 10 / 2 = 5 hats."], [False]),  # the pens are not known yet
        (["The answer is 12."], [False]),  # nothing has been computed
        (["no step at all"], [False]),
        (
            [
                "The pens number 3 more than the cups: 7 + 3 = 10 pens.",
                "The hats number half the pens, so 10 / 2 = 5 hats.",
                "Of keys there are as many as the cups and the hats: 7 + 5 = 12 keys.",
                "The answer is 12.",
            ],
            [True] * 4,
        ),
        (
            [
                "The pens number 3 more than the cups: 7 + 3 = 9 pens.",
                "The hats number half the pens: 10 / 2 = 5 hats.",
            ],
            [False, False],
        ),
    ],
)
def test_the_checker(steps, expected):
    assert right_steps(world.parse(QUESTION), steps) == expected


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("There are 7 cups.", "asks for no quantity"),
        ("Cups: 7. How many cups are there?", "not a sentence"),
        ("", "asks for no quantity"),
    ],
)
def test_parse_refuses_what_is_not_of_this_world(question, message):
    with pytest.raises(ValueError, match=message):
        world.parse(question)


def test_a_circle_of_facts_has_no_values():
    problem = WordProblem("", (Fact("more", "cups", ("pens",), 1), Fact("more", "pens", ("cups",), 1)), "cups")
    with pytest.raises(ValueError, match="do not determine cups, pens"):
        _ = problem.values


@pytest.mark.parametrize("level", [0, 11])
def test_levels_out_of_range_are_refused(level):
    with pytest.raises(ValueError, match=f"level is {level}"):
        world.generate(random.Random(0), level)


def test_unknown_words_are_named_once_and_whole():
    text = "There are 3 zebras. The zebras number 2 more than the purple cups. How many cups are there?"
    assert language.unknown_words(text) == ["zebras", "purple"]
    with pytest.raises(ConfigError, match="does not know 'zebras', 'purple'"):
        minimath.read_question(text)


def test_white_space_between_words_does_not_matter():
    assert minimath.read_question("  There are 7 cups.\nHow many  cups are there?\n") == (
        "There are 7 cups. How many cups are there?"
    )


def test_numbers_are_read_whole():
    assert language.unknown_words("There are 123 cups. How many cups are there?") == ["123"]
    assert language.unknown_words(f"There are {language.MAX_NUMBER} cups. How many cups are there?") == []
    assert language.unknown_words(f"There are {language.MAX_NUMBER + 1} cups. How many cups are there?") == ["51"]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("There are 7 cups.", "asks for no quantity"),
        ("How many cups are there?", "nothing says how many cups"),
        ("There are 7 pens. How many cups are there?", "nothing says how many cups"),
        (
            "The cups number 2 times the pens. The pens number half the cups. How many cups are there?",
            "do not determine",
        ),
        (
            "There are 7 pens. The cups number half the pens. How many cups are there?",
            "value of cups is no whole number",
        ),
    ],
)
def test_a_problem_without_an_answer_is_refused(question, message):
    with pytest.raises(ConfigError, match=message):
        minimath.read_problem(question)
    assert minimath.read_question(question) == question  # the words are known


def test_examples_are_fixed_and_numbered():
    assert [minimath.example(n).id for n in (1, 10)] == ["minimath/example/1", "minimath/example/10"]
    assert world.parse(minimath.example(1).question).answer == int(minimath.example(1).answer)
    with pytest.raises(ConfigError, match="no example 0"):
        minimath.example(0)


def test_vocabulary_covers_the_language_without_repeats():
    tokens = language.vocabulary()
    assert len(tokens) == len(set(tokens))
    assert tokens[:3] == [language.PAD, language.UNKNOWN, language.END]

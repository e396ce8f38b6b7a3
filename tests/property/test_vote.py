"""What holds for every vote."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etsearch.answers import Aggregation, equivalent, extract, vote, weight

FORMS = ("{}", "{}.0", "${}$", r"\frac{{{}}}{{1}}", "0{}")
ANSWERS = st.builds(lambda form, n: form.format(n), st.sampled_from(FORMS), st.integers(1, 5))
BALLOTS = st.lists(st.tuples(st.none() | ANSWERS, st.floats(0, 1)), max_size=30)
TEXT = st.text(alphabet="0123456789abx+-*/^_=(){}[],.:;'%$\\ \n", max_size=12)


@given(BALLOTS, st.randoms(use_true_random=False))
def test_the_order_of_the_voters_does_not_matter(ballots, random):
    shuffled = random.sample(ballots, len(ballots))
    first, second = (vote([a for a, _ in b], [w for _, w in b]) for b in (ballots, shuffled))
    assert sorted((v.weight, v.count) for v in first) == sorted((v.weight, v.count) for v in second)
    if first:
        assert (first[0].weight, first[0].count) == (second[0].weight, second[0].count)


@given(BALLOTS)
def test_weights_and_voters_are_kept(ballots):
    votes = vote([a for a, _ in ballots], [w for _, w in ballots])
    assert math.fsum(v.weight for v in votes) == pytest.approx(math.fsum(w for a, w in ballots if a is not None))
    assert sorted(i for v in votes for i in v.voters) == [i for i, (a, _) in enumerate(ballots) if a is not None]
    assert all(v.count == len(v.voters) for v in votes)
    assert [v.weight for v in votes] == sorted((v.weight for v in votes), reverse=True)


@given(BALLOTS)
def test_no_two_groups_hold_the_same_answer(ballots):
    heads = [v.answer for v in vote([a for a, _ in ballots], [w for _, w in ballots])]
    assert not any(equivalent(a, b) for i, a in enumerate(heads) for b in heads[:i])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_aggregations_are_ordered(rewards):
    prod, least, mean = (weight(rewards, Aggregation(name)) for name in ("prod", "min", "mean"))
    assert prod <= least <= mean + 1e-12
    assert least <= weight(rewards, Aggregation.LAST) <= 1


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12), st.integers(0, 6))
def test_numbers_are_equivalent_if_and_only_if_they_are_equal(a, b, places):
    decimal = f"{'-' if a < 0 else ''}{abs(a) // 10**places}.{abs(a) % 10**places:0{places}d}" if places else str(a)
    assert equivalent(decimal, rf"\frac{{{a}}}{{{10**places}}}")
    assert equivalent(f"{a:,}", str(a))
    assert equivalent(str(a), str(b)) == (a == b)


@given(TEXT, st.sampled_from(["The answer is ", "\\boxed{", "#### ", "Final Answer: $", ""]), TEXT)
def test_extract_takes_any_text(before, cue, after):
    answer = extract(before + cue + after)
    assert answer is None or (answer and answer == answer.strip() and answer in before + cue + after)

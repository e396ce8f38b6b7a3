"""What a step takes, worked out by hand."""

from dataclasses import replace

import pytest

from etsearch.planning.cost import LINK_LATENCY_S, Batch, CardCost, StepTime, TimedCost
from etsearch.planning.hardware import cards, find_card
from etsearch.planning.shapes import ModelShape, Precision
from etsearch.planning.table import CardConstants, blended, constants_of

SHAPE = ModelShape("toy", 2, 8, 100, 4, 2, 2, layer_parameters=1000, head_parameters=200)
ROUND = CardConstants(1e3, 1e6, 1.0, 0.5, 0.25, 100.0, 1000.0)  # a blend of 1 is the sum


def cost(num_cards=1, **more):
    return CardCost(SHAPE.split(num_cards), ROUND, Precision.BF16, Precision.BF16, 0.125, **more)


def test_a_step_by_hand():
    batch = Batch(rows=7, decoding=3, distinct=40, logical=60, pairs=10.0, context=5, prefixes=1)
    found = cost().step(batch)
    size = 2 * 2 * 2 * 2 * 2  # bytes of a token: keys and values, layers, heads, their numbers, bytes
    assert found.weights == pytest.approx(1200 * 2 / 1e3)
    assert found.kv == pytest.approx(2 * 0.25 + 5 * size / 1e3 + 40 * size / 100 + 60 * size / 1000)
    operations = 2 * (7 * 1000 + (3 + 1) * 200)
    assert found.arithmetic == pytest.approx(operations / 1e6 + 4 * 2 * 4 * 2 * 10 / 1e6)
    assert found.overhead == pytest.approx(2 * 0.5 + 0.125)
    assert found.total == pytest.approx(sum(found))


def test_a_step_of_nothing_takes_no_time():
    assert cost().step(Batch()) == StepTime(0, 0, 0, 0)
    assert TimedCost({"step": 1.0, "rows": 1.0}).step(Batch()).total == 0


def test_two_cards_halve_the_weights_and_sum_over_their_link():
    batch = Batch(rows=3, decoding=3)
    alone, two = cost().step(batch), cost(2, link_bandwidth=1e3).step(batch)
    assert two.weights == pytest.approx(alone.weights / 2)
    sums = 2 * 2 * LINK_LATENCY_S + 2 * (1 / 2) * 3 * (2 * 2 * 8) * 2 / 1e3
    assert two.overhead - alone.overhead == pytest.approx(sums)


def test_a_kernel_that_reads_shared_pages_once_does_not_see_how_many_read_them():
    batch = Batch(rows=3, decoding=3, distinct=40, logical=40)
    once = cost(reads_shared_once=True)
    assert once.step(batch) == once.step(batch._replace(logical=4000))
    assert cost().step(batch).kv < cost().step(batch._replace(logical=4000)).kv


@pytest.mark.parametrize("card", sorted(cards()))
@pytest.mark.parametrize("readers", [1, 1.01, 2, 100])
def test_a_kernel_that_reads_shared_pages_once_is_on_no_card_slower(card, readers):
    paged = CardCost(SHAPE.split(1), constants_of(find_card(card)), Precision.BF16, Precision.BF16, 0.001)
    batch = Batch(rows=3, decoding=3, distinct=1000, logical=int(readers * 1000))
    assert replace(paged, reads_shared_once=True).step(batch).kv <= paged.step(batch).kv


def test_a_constant_that_is_replaced_is_taken():
    batch = Batch(rows=3, decoding=3, distinct=40, logical=40)
    first = cost()
    before = first.step(batch)
    faster = replace(first, constants=replace(ROUND, weight_bandwidth=2e3))
    assert faster.step(batch).weights == pytest.approx(before.weights / 2)


@pytest.mark.parametrize(
    ("blend", "seconds"), [(1.0, 7), (2.0, 5), (1e300, 4), (1e-300, 4 * (1 + 0.75**0.1) ** 10), (100.0, 4)]
)
def test_the_blend_of_two_times_is_a_number_whatever_the_power(blend, seconds):
    assert blended(3.0, 4.0, blend) == blended(4.0, 3.0, blend) == pytest.approx(seconds)
    assert blended(0.0, 4.0, blend) == 4.0
    assert blended(3e-9, 4e-9, blend) == pytest.approx(seconds * 1e-9)

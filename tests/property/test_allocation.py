import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from etsearch.allocation import share

rewards = st.lists(st.floats(0, 1), min_size=1, max_size=40)
widths = st.integers(0, 300)
temperatures = st.floats(0.01, 10)


@given(rewards, widths, temperatures)
def test_sequential_sums_to_the_width(values, width, temperature):
    assert sum(share(values, width, temperature)) == width


@given(rewards, widths, st.floats(1e-9, 10))
def test_released_sums_to_the_width_or_one_more(values, width, temperature):
    total = sum(share(values, width, temperature, "released"))
    assert width <= total <= width + (width > 0)


@given(rewards, widths, temperatures)
def test_ceil_hands_out_the_width_and_less_than_one_more_each(values, width, temperature):
    total = sum(share(values, width, temperature, "ceil"))
    assert width <= total < width + len(values)


@given(rewards, widths, temperatures, st.sampled_from(["sequential", "ceil", "round"]))
def test_within_one_of_the_exact_share_or_more(values, width, temperature, rounding):
    mass = np.exp((np.array(values) - max(values)) / temperature)
    exact = width * mass / mass.sum()
    given_out = np.array(share(values, width, temperature, rounding))
    if rounding == "sequential":
        best = int(np.argmax(values))
        assert given_out[best] >= math.floor(exact[best])
    else:
        assert np.all(np.abs(given_out - exact) < 1 + 1e-6)


@given(rewards, widths, temperatures, st.sampled_from(["sequential", "ceil", "round"]))
def test_a_better_reward_never_gets_less(values, width, temperature, rounding):
    given_out = share(values, width, temperature, rounding)
    ranked = sorted(zip(values, given_out, strict=True), key=lambda pair: -pair[0])
    for (better, more), (worse, less) in pairwise(ranked):
        assert more >= less or better == worse


@given(rewards, widths, temperatures, st.randoms(use_true_random=False))
def test_order_does_not_matter(values, width, temperature, rng):
    values = list(dict.fromkeys(values))
    shuffled = values[:]
    rng.shuffle(shuffled)
    first = dict(zip(values, share(values, width, temperature), strict=True))
    second = dict(zip(shuffled, share(shuffled, width, temperature), strict=True))
    masses = [math.exp((v - max(values)) / temperature) for v in values]
    if len(set(masses)) == len(masses):  # rewards that only differ below the resolution of exp are ties
        assert first == second

"""Shares of the width, by hand."""

import math

import pytest

from etsearch.allocation import share
from etsearch.errors import ConfigError

# exp(0), exp(-ln 2), exp(-2 ln 2) at T_R = 1: shares 4/7, 2/7, 1/7.
LN2 = math.log(2)
HALVING = [2 * LN2 / 2, LN2 / 2, 0.0]


@pytest.mark.parametrize(
    ("rewards", "width", "temperature", "rounding", "expected"),
    [
        # At T_R = 0.5 the masses are 4 : 2 : 1. Sequential: ceil(7·4/7) = 4, ceil(3·2/3) = 2, ceil(1·1) = 1.
        (HALVING, 7, 0.5, "sequential", [4, 2, 1]),
        # 16·4/7 = 9.14 → 10; the remaining 6·2/3 = 4; the remaining 2.
        (HALVING, 16, 0.5, "sequential", [10, 4, 2]),
        # 16·(4, 2, 1)/7 = 9.14, 4.57, 2.29.
        (HALVING, 16, 0.5, "ceil", [10, 5, 3]),
        (HALVING, 16, 0.5, "round", [9, 5, 2]),
        ([0.5, 0.5, 0.5, 0.5], 16, 0.2, "sequential", [4, 4, 4, 4]),
        ([0.5, 0.5, 0.5, 0.5], 16, 0.2, "ceil", [4, 4, 4, 4]),
        ([0.5, 0.5, 0.5], 4, 0.2, "sequential", [2, 1, 1]),
        ([0.0, 1.0], 4, 0.001, "sequential", [0, 4]),
        ([0.0, 1.0], 4, math.inf, "sequential", [2, 2]),
        ([0.3], 256, 0.2, "round", [256]),
        ([0.3, 0.4], 0, 0.2, "sequential", [0, 0]),
        # Half of one each: halves are rounded up, as the paper's Round reads.
        ([0.5, 0.5], 1, 1.0, "round", [1, 1]),
    ],
)
def test_hand_worked(rewards, width, temperature, rounding, expected):
    assert share(rewards, width, temperature, rounding) == expected


@pytest.mark.parametrize(
    ("rewards", "width", "temperature", "rounding", "message"),
    [
        ([0.5, math.nan], 4, 0.2, "sequential", "reward of node 1 is nan"),
        ([1.5, 0.5], 4, 0.2, "sequential", "reward of node 0 is 1.5"),
        ([0.5, -0.1], 4, 0.2, "ceil", r"node 1 is -0.1; rewards must lie in \[0, 1\]"),
        ([], 4, 0.2, "sequential", "at least one"),
        ([0.5], -1, 0.2, "sequential", "width is -1"),
        ([0.5], 4, 0.0, "sequential", "balance temperature T_R is 0.0"),
        ([0.5], 4, math.nan, "sequential", "balance temperature T_R is nan"),
        ([0.5], 4, 0.2, "floor", "'floor'; choose one of sequential, ceil, round"),
    ],
)
def test_bad_input_is_named(rewards, width, temperature, rounding, message):
    with pytest.raises(ConfigError, match=message):
        share(rewards, width, temperature, rounding)


@pytest.mark.parametrize("rounding", ["sequential", "released"])
def test_small_temperature_does_not_overflow(rounding):
    assert share([1.0, 0.999], 8, 1e-6, rounding) == [8, 0]
    assert share([0.5, 0.5], 8, 1e-6, rounding, [1e300, 1]) == [8, 0]


def test_released_rounds_in_single_precision():
    # Masses 1.2214028 and 1, their sum 2.2214026: ceil(4·0.55) = 3, and of the 1 that is left ceil(1/0.9999999) = 2.
    assert share([0.0, 0.2], 4, 1.0, "sequential") == [1, 3]
    assert share([0.0, 0.2], 4, 1.0, "released") == [2, 3]
    # Equal ones in the reverse of the order given.
    assert share([0.3, 0.3, 0.3, 0.9], 3, math.inf, "released") == [0, 1, 1, 1]


def test_a_node_that_stands_for_several_counts_so_often():
    # Masses 4 : 2 : 1; the last stands for six: 4, 2, 6 of 12.
    assert share(HALVING, 12, 0.5, "ceil", [1, 1, 6]) == [4, 2, 6]
    assert share([0.5, 0.5], 8, 0.2, multiplicity=[3, 1]) == [6, 2]
    assert share(HALVING, 7, 0.5, multiplicity=[1, 1, 1]) == share(HALVING, 7, 0.5)


@pytest.mark.parametrize("multiplicity", [[1, 1], [1, 0, 1], [1, -1, 1], [1, math.inf, 1], [1, math.nan, 1]])
def test_a_bad_multiplicity_is_an_error(multiplicity):
    with pytest.raises(ConfigError, match="3 finite numbers above 0"):
        share(HALVING, 7, 0.5, multiplicity=multiplicity)

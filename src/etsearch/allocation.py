"""How a width is shared among trajectories by their rewards. Written once; every strategy calls it."""

import math
from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from etsearch.boundary.numbers import MOST_WEIGHT, check_number
from etsearch.errors import ConfigError

Rounding = Literal["sequential", "ceil", "round", "released"]


def share(
    rewards: Sequence[float],
    width: int,
    temperature: float,
    rounding: Rounding = "sequential",
    multiplicity: Sequence[float] | None = None,
) -> list[int]:
    """Expansion widths ``W_i`` in proportion to ``softmax(R / T_R)`` (REBASE; ETS, equation for W).

    Args:
        rewards: ``[n]`` rewards, each in [0, 1], at least one.
        width: continuations to hand out, at least 0.
        temperature: balance temperature ``T_R``, above 0; small exploits, large explores; ``inf`` shares evenly.
        rounding: ``sequential`` goes through the rewards in falling order (equal ones in the order given) and
            takes the ceiling of the *remaining* width times the share of the *remaining* mass, so that the sum
            is exactly ``width`` (released code of REBASE and ETS; default). ``ceil`` rounds each share up
            (paper of ETS; may hand out up to ``n - 1`` more). ``round`` rounds each to the nearest, halves up
            (paper of REBASE; may hand out more or less). ``released`` is ``sequential`` as the released code of ETS
            re-allocates: equal rewards in the reverse of the order given, and all in single precision, the
            remaining mass by subtraction, so that the last one may get one more than there is.
        multiplicity: ``[n]`` how many nodes each one stands for, above 0; 1 by default. Its mass counts so often.

    Returns:
        ``[n]`` expansion widths, in the order of the rewards.

    Raises:
        ConfigError: a reward outside [0, 1] or NaN, named by its index; a bad width, temperature, rounding or
            multiplicity.
    """
    values = check_rewards(rewards)
    if width < 0:
        raise ConfigError(f"width is {width}; it must be at least 0")
    check_number("the balance temperature T_R", temperature, LEAST_TEMPERATURE, MOST_WEIGHT, or_inf=True)
    count = np.ones(len(values)) if multiplicity is None else _check_multiplicity(multiplicity, len(values))
    if rounding == "released":
        mass_32 = single_mass(values / temperature + np.log(count))
        return released_widths(np.argsort(values, kind="stable")[::-1], mass_32, width)
    mass = np.exp((values - values.max()) / temperature) * count
    if rounding == "sequential":
        return _sequential(np.argsort(-values, kind="stable"), mass, width)
    exact = width * mass / mass.sum()
    if rounding == "ceil":
        return [max(1, _ceil(x)) if x > 0 else 0 for x in exact.tolist()]
    if rounding == "round":
        return np.floor(exact + 0.5 + _SLACK).astype(int).tolist()  # type: ignore[no-any-return]
    raise ConfigError(f"rounding is {rounding!r}; choose one of {', '.join(get_args(Rounding))}")


def hands_out_width(rounding: Rounding) -> bool:
    """Whether shares so rounded sum up to the width, whatever the rewards are."""
    return rounding == "sequential"


def check_rewards(rewards: Sequence[float], nodes: Sequence[int] | None = None) -> NDArray[np.float64]:
    """The rewards as an array; a ConfigError names the first that is NaN or outside [0, 1], or their absence.

    ``nodes`` are the ids of their nodes, for the message; by default their positions.
    """
    values = np.asarray(rewards, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ConfigError(f"rewards have shape {values.shape}; give one reward for each node, at least one")
    bad = np.flatnonzero(~((values >= 0.0) & (values <= 1.0)))
    if bad.size:
        node = bad[0] if nodes is None else nodes[bad[0]]
        raise ConfigError(f"the reward of node {node} is {values[bad[0]]}; rewards must lie in [0, 1]")
    return values


def _check_multiplicity(multiplicity: Sequence[float], count: int) -> NDArray[np.float64]:
    values = np.asarray(multiplicity, dtype=np.float64)
    if values.shape != (count,) or not np.all((values > 0) & np.isfinite(values)):
        raise ConfigError(f"multiplicity is {list(multiplicity)}; give {count} finite numbers above 0")
    return values


LEAST_TEMPERATURE = 1e-9
"""The smallest balance temperature; below it one reward takes all in any case."""
_SLACK = 1e-9
"""What a share may exceed a whole number by and still count as that number: equal rewards must share evenly."""


def _ceil(x: float) -> int:
    return math.ceil(x - _SLACK)


def _sequential(order: NDArray[np.int64], mass: NDArray[np.float64], width: int) -> list[int]:
    """``order`` is that of falling rewards, which may differ where their masses do not."""
    falling = mass[order]
    remaining_mass = np.cumsum(falling[::-1])[::-1].tolist()
    widths = np.zeros(len(mass), dtype=np.int64)
    remaining = width
    for position, node in enumerate(order.tolist()):
        if remaining == 0:
            break
        fraction = falling[position] / remaining_mass[position] if remaining_mass[position] > 0 else 1.0
        widths[node] = min(remaining, _ceil(remaining * fraction))
        remaining -= int(widths[node])
    return widths.tolist()


_MOST_EXPONENT: Final = 64.0
"""Masses up to its exponential can be summed in single precision, however many there are."""
_LANES: Final = (4, 8)


def single_mass(exponents: NDArray[np.float64]) -> NDArray[np.float32]:
    """Their exponentials in single precision, each rounded once. As in the released code the largest is not taken off.

    Where that code would come upon infinity, at ``T_R`` below 1/64, all are lowered alike.
    """
    lowered = exponents - max(0.0, float(exponents.max()) - _MOST_EXPONENT)
    return np.exp(lowered.astype(np.float32).astype(np.float64)).astype(np.float32)


def released_widths(order: NDArray[np.int64], mass: NDArray[np.float32], width: int) -> list[int]:
    """The released code of ETS, digit by digit: PyTorch in single precision.

    The sum is taken once, and each mass taken off it; what this rounds stays in the remaining mass, and where the last
    mass is larger than it, the ceiling of one is two. Their sum may exceed ``width`` therefore.
    """
    falling = mass[order]
    remaining_mass = _sum_in_lanes(falling)
    widths = np.zeros(len(mass), dtype=np.int64)
    remaining = width
    for node, own in zip(order.tolist(), falling, strict=True):
        if remaining <= 0 or remaining_mass <= 0:
            break
        widths[node] = math.ceil(np.float32(remaining) * own / remaining_mass)
        remaining -= int(widths[node])
        remaining_mass -= own
    return widths.tolist()


def _sum_in_lanes(values: NDArray[np.float32]) -> np.float32:
    """The sum in PyTorch's order on a CPU with AVX2, for up to 512 values: four vectors of eight lanes side by side."""
    vectors, lanes = _LANES
    rows = np.zeros((-(-len(values) // (vectors * lanes)), vectors * lanes), dtype=np.float32)
    rows.flat[: len(values)] = values
    return rows.cumsum(axis=0)[-1].reshape(_LANES).cumsum(axis=0)[-1].cumsum()[-1]  # type: ignore[no-any-return]

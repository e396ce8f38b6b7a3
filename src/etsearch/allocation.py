"""How a width is shared among trajectories by their rewards. Written once; every strategy calls it."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

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
            (paper of REBASE; may hand out more or less). ``released`` is ``sequential`` with equal rewards in the
            reverse of the order given, as the released code of ETS re-allocates.
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
    mass = np.exp((values - values.max()) / temperature)
    if multiplicity is not None:
        mass *= _check_multiplicity(multiplicity, len(values))
    if rounding == "sequential":
        return _sequential(np.argsort(-values, kind="stable"), mass, width)
    if rounding == "released":
        return _sequential(np.argsort(values, kind="stable")[::-1], mass, width)
    exact = width * mass / mass.sum()
    if rounding == "ceil":
        return [max(1, _ceil(x)) if x > 0 else 0 for x in exact.tolist()]
    if rounding == "round":
        return np.floor(exact + 0.5 + _SLACK).astype(int).tolist()  # type: ignore[no-any-return]
    raise ConfigError(f"rounding is {rounding!r}; choose one of {', '.join(get_args(Rounding))}")


def hands_out_width(rounding: Rounding) -> bool:
    """Whether shares so rounded sum up to the width, whatever the rewards are."""
    return rounding in ("sequential", "released")


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

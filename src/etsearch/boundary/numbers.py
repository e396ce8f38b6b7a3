"""Numbers that a user gives, in their stated range."""

import math
from numbers import Integral, Real
from typing import Final, cast

from etsearch.errors import ConfigError

LONGEST_S: Final = 31_536_000.0
"""The longest time that a setting may be, a year in seconds."""
MOST_WIDTH: Final = 65_536
"""The largest width, and the most of whatever there is one of a branch at most."""
MOST_TOKENS: Final = 1 << 30
"""The most tokens that a setting may be."""
MOST_WEIGHT: Final = 1e9
"""The largest weight that a setting may be."""
LARGEST_SEED: Final = (1 << 63) - 1
"""The largest seed, and with a minus the smallest."""
_SHOWN_LETTERS: Final = 60


def check_whole(name: str, value: object, least: int, most: int) -> None:
    """Raises ConfigError unless ``value`` is a whole number from ``least`` to ``most``, both included."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (is_whole and least <= cast("int", value) <= most):
        raise ConfigError(f"{name} is {shown(value)}; it must be a whole number from {least:,} to {most:,}")


def check_number(
    name: str, value: object, least: float, most: float, *, above: bool = False, or_inf: bool = False
) -> None:
    """Raises ConfigError unless ``value`` is a number from ``least`` to ``most``.

    Args:
        name: of the setting, for the message.
        value: what was given.
        least: the smallest that is allowed, or with ``above`` the largest that is not.
        most: the largest that is allowed.
        above: whether ``least`` itself is too small.
        or_inf: whether infinity is allowed too.
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        number = cast("float", value)
        if least < number <= most or (number == least and not above) or (or_inf and number == math.inf):
            return
    low = f"above {least:,.10g} and at most" if above else f"from {least:,.10g} to"
    raise ConfigError(f"{name} is {shown(value)}; it must be {low} {most:,.10g}{', or inf' if or_inf else ''}")


def shown(value: object) -> str:
    """A value as a message shows it, however long it is."""
    if isinstance(value, int) and value.bit_length() > 4 * _SHOWN_LETTERS:
        return f"a number of about {round(value.bit_length() * 0.30103):,} digits"
    try:
        text = repr(value) if isinstance(value, str) else str(value)
    except (ValueError, RecursionError):  # an integer somewhere within, too long to be written; or a nest too deep
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]}…"

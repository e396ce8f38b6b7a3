"""What a table of a report is, and how figures stand in one."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etsearch.evaluation.report.statistics import Interval

Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table with its title and what must be known to read it."""

    title: str
    header: Row
    rows: Sequence[Row]
    note: str = ""

    def markdown(self, heading: str = "##") -> str:
        """The table under a heading."""
        ruler = "|".join("---" if i == 0 else "--:" for i in range(len(self.header)))
        lines = [f"{heading} {self.title}", "", *([self.note, ""] if self.note else [])]
        lines += [_line(self.header), f"|{ruler}|", *map(_line, self.rows)]
        return "\n".join(lines)


def _line(cells: Row) -> str:
    """A row of a table; what stands in a cell must not end it."""
    return f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |"


def number(value: float, form: str, unit: str = "") -> str:
    """A figure in a format; ``–`` where there is none, which is NaN."""
    return "–" if math.isnan(value) else f"{value:{form}}{unit}"


def percent(interval: Interval) -> str:
    """A share in percent with its interval: ``93.2 (90.1 to 95.8)``."""
    value, low, high = (f"{share:.1f}" for share in _hundredths(interval))
    return f"{value} ({low} to {high})"


def points(interval: Interval) -> str:
    """A difference of shares in points with its interval, ``+0.3 (-1.2 to +1.8)``; none is ``+0.0``."""
    value, low, high = (f"{round(share, 1) + 0.0:+.1f}" for share in _hundredths(interval))
    return f"{value} ({low} to {high})"


def _hundredths(interval: Interval) -> Iterator[float]:
    """Without the last digits, in which machines differ: 80 problems give intervals that end at -1.25."""
    return (round(100 * share, 9) for share in (interval.value, interval.low, interval.high))


def times(interval: Interval) -> str:
    """A ratio with its interval: ``1.31× (1.27 to 1.35)``."""
    return f"{interval.value:.2f}× ({interval.low:.2f} to {interval.high:.2f})"


def code(label: str) -> str:
    return f"`{label}`"

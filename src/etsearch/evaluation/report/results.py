"""The searches of one or several runs, by strategy and width, and the figures that tables and plots share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from etsearch.errors import ConfigError, RecordError
from etsearch.evaluation.grading import DEFAULT_GRADER, GRADERS
from etsearch.evaluation.report.statistics import Interval, Values, by_problem, difference, mean, ratio
from etsearch.evaluation.run.folder import Run, read_run
from etsearch.evaluation.run.record import Key, SearchRecord
from etsearch.strategies import STRATEGIES

COSTS: Final[Mapping[str, str]] = {
    "kv_tokens": "KV tokens",
    "kv_tokens_paper": "KV tokens, as the paper counts",
    "generated_tokens": "generated tokens",
    "num_calls": "model calls",
    "prm_tokens": "PRM tokens",
}


class Cell(NamedTuple):
    """A strategy at a width, with so many problems in flight (0 where throughput was not measured)."""

    strategy: str
    width: int
    in_flight: int = 0


@dataclass(frozen=True)
class Results:
    """The searches of runs that belong together: one data set, the same models.

    Attributes:
        runs: where they come from.
        cells: the finished searches by cell, in the order of the recipes.
        failed: searches that failed.
        names: which registered strategy each label is.
        grader: whose verdicts count.
    """

    runs: tuple[Run, ...]
    cells: Mapping[Cell, Sequence[SearchRecord]]
    failed: Sequence[SearchRecord]
    names: Mapping[str, str]
    grader: str = DEFAULT_GRADER

    @classmethod
    def read(cls, paths: Iterable[Path], grader: str = DEFAULT_GRADER) -> "Results":
        """Reads run folders. Raises RecordError if they do not belong together, or hold the same search twice."""
        if grader not in GRADERS:
            raise ConfigError(f"there is no grader {grader!r}; choose one of {', '.join(GRADERS)}")
        runs = tuple(read_run(path) for path in paths)
        _check_together(runs)
        cells: dict[Cell, list[SearchRecord]] = {}
        failed: list[SearchRecord] = []
        seen: dict[Key, Path] = {}
        names: dict[str, str] = {}
        for run in runs:
            for cell in run.recipe.arms():
                for in_flight in run.recipe.flights:
                    cells.setdefault(Cell(cell.label, cell.width, in_flight), [])
            for (label, _), specification in run.manifest.specifications.items():
                names[label] = STRATEGIES.parse(specification).name
            for record in run.records:
                if record.key in seen:
                    raise RecordError(f"{run.path} and {seen[record.key]} both hold the search {tuple(record.key)}")
                seen[record.key] = run.path
                if record.status == "failed":
                    failed.append(record)
                else:
                    cells.setdefault(Cell(record.strategy, record.width, record.in_flight), []).append(record)
        return cls(runs, {k: v for k, v in cells.items() if v}, failed, names, grader)

    @property
    def problems(self) -> int:
        return len({record.problem for records in self.cells.values() for record in records})

    def timed_cells(self) -> list[Cell]:
        """The cells whose throughput was measured."""
        return [cell for cell in self.cells if cell.in_flight]

    def plain(self) -> list[Cell]:
        """The other cells, narrow ones first."""
        return sorted((cell for cell in self.cells if not cell.in_flight), key=lambda cell: cell.width)

    def at_flight(self, in_flight: int) -> "Results":
        """The searches that were timed with so many in flight, as if they were all that there is."""
        cells = {Cell(c.strategy, c.width): records for c, records in self.cells.items() if c.in_flight == in_flight}
        return replace(self, cells=cells)

    def widths(self) -> list[int]:
        return sorted({cell.width for cell in self.plain()})

    def strategies(self) -> list[str]:
        return list(dict.fromkeys(cell.strategy for cell in self.cells if not cell.in_flight))

    def label_of(self, name: str) -> str | None:
        """The label of a registered strategy: its own name if there is one of that label, else the first."""
        labels = [label for label in self.strategies() if self.names.get(label) == name]
        return name if name in labels else labels[0] if labels else None

    def right(self, cell: Cell, grader: str | None = None) -> Values:
        return self.values(cell, lambda record: float(record.right[grader or self.grader]))

    def cost(self, cell: Cell, name: str) -> Values:
        """A figure of the searches' usage; of those whose records tell it, for older ones lack some."""
        return by_problem([r for r in self.cells.get(cell, ()) if name in r.usage], lambda r: spent(r, name))

    def values(self, cell: Cell, figure: Callable[[SearchRecord], float]) -> Values:
        return by_problem(self.cells.get(cell, ()), figure)

    def accuracy(self, cell: Cell, grader: str | None = None) -> Interval:
        return mean(self.right(cell, grader))

    def gain(self, cell: Cell, other: Cell) -> Interval:
        """Accuracy of a cell less that of another, on the same problems and seeds."""
        mine, others = self._on_common_problems(cell, other)
        return difference(*(by_problem(records, lambda r: float(r.right[self.grader])) for records in (mine, others)))

    def reduction(self, cell: Cell, other: Cell, cost: str = "kv_tokens") -> Interval:
        """How many times less a cell costs than another, on the same problems and seeds; by default in KV tokens."""
        mine, others = self._on_common_problems(cell, other, lambda r: cost in r.usage)
        return ratio(*(by_problem(records, lambda r: spent(r, cost)) for records in (others, mine)))

    def _on_common_problems(
        self, cell: Cell, other: Cell, counts: Callable[[SearchRecord], bool] = lambda _: True
    ) -> tuple[list[SearchRecord], list[SearchRecord]]:
        """The searches of two cells on the problems and seeds that both have, of those that count."""
        both = [{(r.problem, r.seed) for r in self.cells.get(c, ()) if counts(r)} for c in (cell, other)]
        common = both[0] & both[1]
        mine, others = ([r for r in self.cells.get(c, ()) if (r.problem, r.seed) in common] for c in (cell, other))
        return mine, others

    def busy_seconds(self, cell: Cell) -> float:
        """Time during which at least one search of a cell was under way."""
        spans = sorted((r.finished_at - r.seconds["total"], r.finished_at) for r in self.cells[cell])
        total, until = 0.0, float("-inf")
        for start, end in spans:
            total += max(0.0, end - max(start, until))
            until = max(until, end)
        return total

    def problems_per_hour(self, cell: Cell) -> float:
        """Searches that came to their end in an hour; of a cell that ran with no other cell in between."""
        return 3600 * len(self.cells[cell]) / self.busy_seconds(cell)

    def speedup(self, cell: Cell, other: Cell) -> float:
        """How many times as many problems an hour a cell solves as another."""
        return self.problems_per_hour(cell) / self.problems_per_hour(other)

    def parameters(self, part: str) -> int | None:
        """Parameters of the ``generator`` or of the ``reward model``, where they are known."""
        identity = self.runs[0].manifest.identities.get(part)
        return None if identity is None else identity.num_parameters

    def flops(self, cell: Cell) -> Values:
        """``2 * parameters * tokens`` of generator and reward model; tokens alone where sizes are unknown."""
        generator, prm = self.parameters("generator"), self.parameters("reward model")
        return self.values(
            cell,
            lambda r: (
                2.0 * generator * spent(r, "generated_tokens") + 2.0 * (prm or 0) * spent(r, "prm_tokens")
                if generator
                else spent(r, "generated_tokens")
            ),
        )


def spent(record: SearchRecord, name: str) -> float:
    """A figure of a search's usage; what an early stop dropped was spent all the same."""
    dropped = {"generated_tokens": "dropped_tokens", "prm_tokens": "dropped_prm_tokens"}.get(name, "")
    return float(record.usage[name] + record.usage.get(dropped, 0))


def _check_together(runs: Sequence[Run]) -> None:
    for run in runs[1:]:
        if different := runs[0].manifest.differences(run.manifest, ignore=("measure",)):
            raise RecordError(f"{run.path} and {runs[0].path} do not belong together: {'; '.join(different)}")

"""A grid of settings on validation problems, and the choice among them by the paper's rule."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from etsearch.boundary.files import write_whole
from etsearch.errors import ConfigError, RecordError
from etsearch.evaluation.datasets import DATASETS
from etsearch.evaluation.report import plots
from etsearch.evaluation.report.results import Cell, Results
from etsearch.evaluation.report.statistics import Interval
from etsearch.evaluation.report.tables import Table, code, points, times
from etsearch.evaluation.run.recipe import Recipe, settings_keys
from etsearch.strategies import STRATEGIES

TOLERANCE: Final = 0.002
"""Accuracy that a setting may lose against REBASE: 0.2 points (ETS paper)."""
BASELINE: Final = "rebase"


def grid_recipe(recipe: Recipe, strategy: str, grid: Mapping[str, Sequence[str]]) -> Recipe:
    """A recipe of REBASE and of a strategy at every point of a grid.

    Raises:
        ConfigError: an empty grid, or test problems: settings are chosen on others.
    """
    if not grid or not all(grid.values()):
        raise ConfigError("the grid is empty; give it as 'lambda_b=1,1.25,1.5' with one value at least")
    check_validation(recipe.data)
    if recipe.measure != "accuracy":
        raise ConfigError(f"a sweep compares accuracy; leave 'measure: {recipe.measure}' out")
    base = STRATEGIES.parse(strategy)
    specifications = []
    for values in itertools.product(*grid.values()):
        settings = {**base.settings, **dict(zip(grid, values, strict=True))}
        specifications.append(str(replace(base, settings=settings)))
    return Recipe.of({**recipe.plain(), "strategies": [BASELINE, *specifications]}, "the sweep")


def check_validation(data: str) -> None:
    """Raises ConfigError if a data set's name says that it is a test set: its split, or the name of its file."""
    taken = DATASETS.parse(data)
    split = taken.settings.get("split", "test") if taken.name == "hub" else Path(taken.argument or "").stem
    if "test" in re.split(r"[^a-z0-9]+", split.lower()):
        raise ConfigError(f"{data} are test problems; choose settings on validation problems, never on test")


@dataclass(frozen=True)
class Point:
    """One setting at one width, against REBASE on the same problems."""

    cell: Cell
    specification: str
    lambda_b: float
    accuracy: Interval
    gain: Interval
    reduction: Interval

    @property
    def is_admissible(self) -> bool:
        """Whether it loses no more accuracy than the rule allows."""
        return self.gain.value >= -TOLERANCE - 1e-12


def sweep_points(results: Results) -> dict[int, list[Point]]:
    """The settings of a run by width. Raises RecordError if REBASE is not in it."""
    baseline = results.label_of(BASELINE)
    if baseline is None:
        raise RecordError("the run holds no search of REBASE, which the rule compares with; add it to the strategies")
    specifications = {key: text for run in results.runs for key, text in run.manifest.specifications.items()}
    found: dict[int, list[Point]] = {}
    for cell in results.plain():
        base, specification = Cell(baseline, cell.width), specifications[cell.strategy, cell.width]
        if cell == base or base not in results.cells or not _is_swept(specification):
            continue
        point = Point(
            cell,
            specification,
            float(STRATEGIES.parse(specification).settings.get("lambda_b", 1.0)),
            results.accuracy(cell),
            results.gain(cell, base),
            results.reduction(cell, base),
        )
        found.setdefault(cell.width, []).append(point)
    return found


def _is_swept(specification: str) -> bool:
    """Whether a strategy is one of a grid: ETS in any form, or another with settings."""
    taken = STRATEGIES.parse(specification)
    return taken.name in ("ets", "ets_kv") or bool(taken.settings)


def choose(points_of_width: Sequence[Point]) -> Point | None:
    """The setting by the paper's rule: the largest ``lambda_b`` within 0.2 points of REBASE's accuracy.

    Where other settings are swept too, each of their combinations has its largest ``lambda_b``, and among those the
    largest KV reduction decides. None if no setting is admissible.
    """
    best: dict[str, Point] = {}
    for point in points_of_width:
        known = best.get(_curve(point))
        if point.is_admissible and (known is None or point.lambda_b > known.lambda_b):
            best[_curve(point)] = point
    return max(best.values(), key=lambda p: p.reduction.value, default=None)


def table(found: Mapping[int, Sequence[Point]]) -> Table:
    """All settings, the chosen one of each strategy and width marked."""
    rows = []
    for width, of in found.items():
        chosen = {id(choose([p for p in of if _name(p) == name])) for name in {_name(p) for p in of}}
        for p in of:
            mark = "chosen" if id(p) in chosen else "" if p.is_admissible else "loses too much"
            accuracy = f"{100 * p.accuracy.value:.1f}"
            rows.append((str(width), code(p.cell.strategy), accuracy, points(p.gain), times(p.reduction), mark))
    header = ("width", "setting", "%", "less REBASE, points", "KV reduction", "")
    note = (
        f"The rule: the largest lambda_b whose accuracy is at most {100 * TOLERANCE:g} points below REBASE's on the "
        "same validation problems; where other settings differ too, of these the one with the largest KV reduction."
    )
    return Table("Sweep", header, rows, note)


def _curve(point: Point) -> str:
    """The setting but for its lambda_b."""
    taken = STRATEGIES.parse(point.specification)
    return str(replace(taken, settings={k: v for k, v in taken.settings.items() if k != "lambda_b"}))


def _name(point: Point) -> str:
    return STRATEGIES.parse(point.specification).name


def _of_a_search() -> set[str]:
    """The keys of a recipe that say what a search is."""
    return {"generator", "prm", "embedder", *settings_keys()}


def chosen_recipe(results: Results, found: Mapping[int, Sequence[Point]], data: str) -> dict[str, Any]:
    """A recipe with the chosen setting of each strategy at each width, beside REBASE and best-of-N."""
    recipe = results.runs[0].recipe
    entries: list[Any] = ["best_of_n", BASELINE]
    for name in sorted({_name(p) for of in found.values() for p in of}, key=lambda n: (n == "ets", n)):
        at: dict[int, dict[str, str]] = {}
        for width, of in found.items():
            point = choose([p for p in of if _name(p) == name])
            if point is not None:
                at[width] = dict(STRATEGIES.parse(point.specification).settings)
        if at:
            entries.append({"strategy": name, "at": at, "widths": list(at)})
    kept = {k: v for k, v in recipe.plain().items() if k in _of_a_search()}
    return {
        "name": f"{recipe.name}-chosen",
        "data": data,
        **kept,
        "strategies": entries,
        "widths": sorted(found),
        "seeds": list(recipe.seeds),
        "concurrency": list(recipe.concurrency),
    }


def write_sweep(results: Results, folder: Path, data: str) -> list[Path]:
    """Writes ``sweep.md``, ``sweep.png``, ``sweep.svg`` and ``chosen.yaml``; returns the files."""
    found = sweep_points(results)
    if not found:
        raise RecordError("the run holds no setting of a strategy beside REBASE; there is nothing to choose from")
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in ("sweep.md", "chosen.yaml", "sweep.png", "sweep.svg")]
    write_whole(files[0], (table(found).markdown("#") + "\n").encode())
    chosen = chosen_recipe(results, found, data)
    write_whole(files[1], yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True).encode())
    draw(results, *files[2:])
    return files


def draw(results: Results, *files: Path) -> None:
    """Draws what the settings lose against what they save, a panel a width and a curve over lambda_b, into files."""
    found = sweep_points(results)
    plt = plots.pyplot()
    figure, axes = plt.subplots(1, len(found), figsize=(6.5 * len(found), 4.6), squeeze=False)
    for ax, (width, of) in zip(axes[0], found.items(), strict=True):
        curves: dict[str, list[Point]] = {}
        for point in of:
            curves.setdefault(_curve(point), []).append(point)
        for name, on_it in curves.items():
            on_it.sort(key=lambda p: p.lambda_b)
            plots.trade(ax, name, [(f"{p.lambda_b:g}", p.reduction, p.gain) for p in on_it])
        ax.axhline(-100 * TOLERANCE, color="black", linewidth=0.8, linestyle=":")
        ax.set_title(f"width {width}; numbers are lambda_b, the dotted line is the rule's", loc="left", fontsize=10)
        ax.legend(frameon=False, fontsize=8, loc="lower left")
    figure.tight_layout()
    for file in files:
        figure.savefig(file, dpi=130, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)

"""The plots of a report. Needs matplotlib (extra ``report``)."""

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from etsearch.errors import MissingDependencyError
from etsearch.evaluation.report.results import Cell, Results
from etsearch.evaluation.report.statistics import Interval, mean, pass_at, sizes_to, vote_curve
from etsearch.evaluation.report.tables import relative_costs
from etsearch.evaluation.run.record import SearchRecord
from etsearch.loop.clock import PHASES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31", "#7F7F7F")
"""Told apart by readers who do not see all colours (Okabe and Ito, 2008)."""
MARKERS: Final = "osD^vPX*p"


def pyplot() -> Any:
    """Pyplot, drawing to files. Raises MissingDependencyError."""
    try:
        import matplotlib as mpl  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("a report", "report") from error
    mpl.use("agg")
    mpl.rcParams.update(
        {"svg.hashsalt": "etsearch", "axes.spines.top": False, "axes.spines.right": False, "font.size": 10}
    )
    from matplotlib import pyplot as plt  # noqa: PLC0415

    return plt


def _style(results: Results, strategy: str) -> dict[str, Any]:
    place = results.strategies().index(strategy)
    return {"color": COLORS[place % len(COLORS)], "marker": MARKERS[place % len(MARKERS)]}


def accuracy_against_kv(results: Results) -> "Figure | None":
    """Figure 3: accuracy against KV size, a curve for each strategy over the widths."""
    if not results.plain():
        return None
    figure, ax = pyplot().subplots(figsize=(8, 5))
    for strategy in results.strategies():
        cells = [c for c in results.plain() if c.strategy == strategy]
        accuracy = [results.accuracy(c) for c in cells]
        kv = [mean(results.cost(c, "kv_tokens")).value for c in cells]
        style = _style(results, strategy)
        ax.errorbar(kv, *_bars(accuracy), label=strategy, capsize=3, linewidth=1.4, markersize=6, **style)
    ax.set_xscale("log")
    ax.set_xlabel("KV tokens a problem, summed over depths (log scale)")
    ax.set_ylabel("accuracy, %")
    ax.grid(visible=True, alpha=0.25)
    widths = ", ".join(map(str, results.widths()))
    ax.set_title(f"Accuracy against KV size, widths {widths} (95 % intervals)", loc="left", fontsize=11)
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    return _done(figure)


def _bars(intervals: Sequence[Interval]) -> tuple[list[float], list[list[float]]]:
    """Heights in percent, and how far the intervals reach below and above."""
    heights = [100 * i.value for i in intervals]
    return heights, [[100 * (i.value - i.low) for i in intervals], [100 * (i.high - i.value) for i in intervals]]


def costs_against_beam(results: Results) -> "Figure | None":
    """Figure 2: FLOPs, model calls, KV size and runtime relative to beam search, at the largest width."""
    beam = results.label_of("beam")
    widths = [w for w in results.widths() if Cell(beam or "", w) in results.cells]
    if beam is None or not widths:
        return None
    cells = [c for c in results.plain() if c.width == widths[-1]]
    figure, axes = pyplot().subplots(1, 4, figsize=(12, 0.42 * len(cells) + 1.6), sharey=True)
    titles = ("FLOPs", "model calls", "KV size", "runtime")
    values = [relative_costs(results, cell) for cell in cells]
    for ax, title, column in zip(axes, titles, zip(*values, strict=True), strict=True):
        colors = [_style(results, c.strategy)["color"] for c in cells]
        bars = ax.barh([c.strategy for c in cells], column, color=colors)
        ax.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
        ax.axvline(1, color="black", linewidth=0.8)
        ax.margins(x=0.18)
        ax.set_title(title, fontsize=11)
    axes[0].invert_yaxis()
    figure.suptitle(f"Costs relative to {beam}, width {widths[-1]}", x=0.01, ha="left", fontsize=11)
    return _done(figure)


def votes_of_fewer(results: Results) -> "Figure | None":
    """Pass@k, majority and weighted vote of the trajectories of best-of-N, REBASE and ETS."""
    labels = [label for name in ("best_of_n", "rebase", "ets") if (label := results.label_of(name))]
    if not labels:
        return None
    figure, axes = pyplot().subplots(1, len(labels), figsize=(4 * len(labels), 3.6), sharey=True, squeeze=False)
    for ax, label in zip(axes[0], labels, strict=True):
        width = max(c.width for c in results.plain() if c.strategy == label)
        records, sizes = results.cells[Cell(label, width)], sizes_to(width)
        passed = [100 * float(np.mean([pass_at(r, k, results.grader) for r in records])) for k in sizes]
        ax.plot(sizes, passed, "k--", label="pass@k")
        for kind, color in (("weighted", COLORS[0]), ("majority", COLORS[1])):
            curve = np.mean([vote_curve(r, sizes, kind, results.grader) for r in records], axis=0)  # type: ignore[arg-type]
            ax.plot(sizes, 100 * curve, "o-", color=color, label=f"{kind} vote", markersize=4)
        ax.set_xscale("log", base=2)
        ax.set_xticks(sizes, [str(k) for k in sizes])
        ax.set_title(f"{label}, width {width}", loc="left", fontsize=11)
        ax.set_xlabel("trajectories that vote")
        ax.grid(visible=True, alpha=0.25)
    axes[0][0].set_ylabel("right, %")
    axes[0][0].legend(frameon=False, fontsize=9)
    return _done(figure)


def _is_told(record: SearchRecord) -> bool:
    """Whether the engine told what its cache held."""
    return "peak_cache_tokens" in record.engine


def cache_against_prediction(results: Results) -> "Figure | None":
    """Peak cache use as the engine measured it against the peak that the trees predict, a point a search."""
    cells = [c for c in (*results.plain(), *results.timed_cells()) if any(_is_told(r) for r in results.cells[c])]
    if not cells:
        return None
    figure, ax = pyplot().subplots(figsize=(6, 5))
    most = 0.0
    for strategy, of in itertools.groupby(sorted(cells), key=lambda c: c.strategy):
        records = [r for c in of for r in results.cells[c] if _is_told(r)]
        predicted = [r.engine["peak_predicted_tokens"] for r in records]
        measured = [r.engine["peak_cache_tokens"] for r in records]
        most = max([most, *predicted, *measured])
        color = _style(results, strategy)["color"] if strategy in results.strategies() else None
        ax.scatter(predicted, measured, s=8, alpha=0.4, label=strategy, color=color)
    ax.plot([0, most], [0, most], color="black", linewidth=0.8)
    ax.set_xlabel("predicted KV tokens, peak, all searches in flight")
    ax.set_ylabel("measured by the engine")
    ax.set_title("KV cache: measured against predicted", loc="left", fontsize=11)
    ax.legend(frameon=False, fontsize=9, markerscale=2)
    return _done(figure)


def seconds_by_phase(results: Results) -> "Figure | None":
    """Mean seconds by phase, at the largest width."""
    cells = [c for c in results.plain() if c.width == max(results.widths())] if results.plain() else []
    if not cells:
        return None
    figure, ax = pyplot().subplots(figsize=(8, 0.42 * len(cells) + 1.4))
    phases = [p for p in PHASES if p != "total"]
    left = np.zeros(len(cells))
    for phase, color in zip(phases, COLORS, strict=False):
        means = np.array([np.mean([r.seconds.get(phase, 0.0) for r in results.cells[c]]) for c in cells])
        ax.barh([c.strategy for c in cells], means, left=left, color=color, label=phase)
        left = left + means
    ax.invert_yaxis()
    ax.set_xlabel("seconds a search (generating and scoring overlap)")
    ax.set_title(f"Seconds by phase, width {cells[0].width}", loc="left", fontsize=11)
    ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return _done(figure)


def by_depth(results: Results) -> "Figure | None":
    """Frontier, kept and clusters by depth, at the largest width."""
    labels = [label for name in ("rebase", "ets_kv", "ets") if (label := results.label_of(name))]
    width = max(results.widths(), default=0)
    cells = [c for c in (Cell(label, width) for label in labels) if c in results.cells]
    if not cells:
        return None
    figure, axes = pyplot().subplots(1, len(cells), figsize=(4 * len(cells), 3.4), sharey=True, squeeze=False)
    for ax, cell in zip(axes[0], cells, strict=True):
        columns = list(itertools.zip_longest(*(r.depths for r in results.cells[cell])))
        there = [[d for d in column if d is not None and d.num_open] for column in columns]
        there = [column for column in there if column]
        for name, style, key in (
            ("frontier", "o-", "num_open"),
            ("clusters", "s--", "num_clusters"),
            ("kept", "D-", "num_kept"),
        ):
            means = [[getattr(d, key) for d in column if getattr(d, key) is not None] for column in there]
            if any(means):
                ax.plot(range(1, len(means) + 1), [np.mean(m) if m else np.nan for m in means], style, label=name, ms=4)
        ax.set_title(f"{cell.strategy}, width {width}", loc="left", fontsize=11)
        ax.set_xlabel("depth")
        ax.grid(visible=True, alpha=0.25)
    axes[0][0].set_ylabel("nodes, mean over searches still open")
    axes[0][-1].legend(frameon=False, fontsize=9)
    return _done(figure)


def _done(figure: "Figure") -> "Figure":
    figure.tight_layout()
    return figure


def trade(ax: "Axes", label: str, points: Sequence[tuple[str, Interval, Interval]]) -> None:
    """A curve of accuracy against KV reduction, both against a baseline; each point with a text."""
    heights, reach = _bars([gain for _, _, gain in points])
    reductions = [reduction.value for _, reduction, _ in points]
    drawn = ax.errorbar(reductions, heights, reach, fmt="o-", capsize=2, markersize=4, linewidth=1.2, label=label)
    color = drawn.lines[0].get_color()
    for (text, _, _), x, y in zip(points, reductions, heights, strict=True):
        ax.annotate(text, (x, y), textcoords="offset points", xytext=(4, 4), fontsize=8, color=color)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xlabel("KV reduction against REBASE")
    ax.set_ylabel("accuracy less REBASE's, points (paired, 95 %)")


ALL: Final[dict[str, Callable[[Results], "Figure | None"]]] = {
    "figure-2": costs_against_beam,
    "figure-3": accuracy_against_kv,
    "votes": votes_of_fewer,
    "cache": cache_against_prediction,
    "seconds": seconds_by_phase,
    "depths": by_depth,
}
"""The plots of a report by file name; one for which there are no records is None."""

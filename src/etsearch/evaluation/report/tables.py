"""The tables of a report, every figure computed from the records."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from etsearch.evaluation.grading import GRADERS
from etsearch.evaluation.report.results import COSTS, Cell, Results
from etsearch.evaluation.report.statistics import (
    Interval,
    Values,
    VoteKind,
    by_problem,
    difference,
    mean,
    num_trajectories,
    pass_at,
    ratio,
    sizes_to,
    vote_curve,
)
from etsearch.evaluation.run.record import SearchRecord
from etsearch.loop.clock import PHASES

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


def percent(interval: Interval) -> str:
    """A share in percent with its interval: ``93.2 (90.1 to 95.8)``."""
    return f"{100 * interval.value:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def points(interval: Interval) -> str:
    """A difference of shares in points with its interval: ``+0.3 (-1.2 to +1.8)``."""
    return f"{100 * interval.value:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"


def times(interval: Interval) -> str:
    """A ratio with its interval: ``1.31× (1.27 to 1.35)``."""
    return f"{interval.value:.2f}× ({interval.low:.2f} to {interval.high:.2f})"


def code(label: str) -> str:
    return f"`{label}`"


def overview(results: Results) -> Table:
    """Accuracy by both graders, pass@N and costs of every cell."""
    rows = []
    for cell in results.plain():
        records = results.cells[cell]
        seeds = {r.seed for r in records}
        passed = mean(by_problem(records, lambda r: pass_at(r, num_trajectories(r), results.grader)))
        costs = [f"{np.mean([r.usage[name] for r in records]):,.0f}" for name in COSTS]
        graded = [f"{100 * results.accuracy(cell, g).value:.1f}" for g in GRADERS if g != results.grader]
        counts = (f"{len({r.problem for r in records})} × {len(seeds)}",)
        rows.append(
            (
                str(cell.width),
                code(cell.strategy),
                *counts,
                percent(results.accuracy(cell)),
                *graded,
                f"{100 * passed.value:.1f}",
                *costs,
            )
        )
    others = tuple(g for g in GRADERS if g != results.grader)
    header = ("width", "strategy", "problems × seeds", "accuracy, %", *others, "pass@N", *COSTS.values())
    return Table("Accuracy and cost", header, rows, "Costs are means a search. Intervals are 95 %, over problems.")


def table_1(results: Results) -> Table:
    """Accuracy, and KV reduction against REBASE, by width (Table 1 of the ETS paper)."""
    rebase = results.named("rebase")
    rows = []
    for strategy in results.strategies():
        row = [code(strategy)]
        for width in results.widths():
            cell = Cell(strategy, width)
            if cell not in results.cells:
                row += ["–", "–"]
                continue
            reduction = "–"
            if rebase and strategy != rebase and Cell(rebase, width) in results.cells:
                reduction = times(results.reduction(cell, Cell(rebase, width)))
            row += [f"{100 * results.accuracy(cell).value:.1f}", reduction]
        rows.append(tuple(row))
    header = ("strategy", *itertools.chain(*((f"N={w}", f"KV reduction, N={w}") for w in results.widths())))
    note = "Accuracy in %. KV reduction: REBASE's KV tokens over the strategy's, on the same problems and seeds."
    return Table("Table 1: accuracy and KV reduction against REBASE", header, rows, note)


def paired(results: Results) -> Table:
    """Differences of accuracy from REBASE's and from best-of-N's on the same problems."""
    baselines = [label for name in ("rebase", "best_of_n") if (label := results.named(name))]
    rows = []
    for cell in results.plain():
        gains = []
        for baseline in baselines:
            other = Cell(baseline, cell.width)
            is_there = other in results.cells and other != cell
            gains.append(points(results.gain(cell, other)) if is_there else "–")
        rows.append((str(cell.width), code(cell.strategy), *gains))
    header = ("width", "strategy", *(f"less {code(b)}" for b in baselines))
    return Table("Paired differences of accuracy, in points", header, rows)


def table_2(results: Results) -> Table:
    """Throughput by problems in flight, the best of each strategy (Table 2 of the ETS paper)."""
    timed = results.timed()
    flights = sorted({cell.in_flight for cell in timed})
    groups: dict[tuple[int, str], dict[int, Cell]] = {}
    for cell in timed:
        groups.setdefault((cell.width, cell.strategy), {})[cell.in_flight] = cell

    per_hour = results.problems_per_hour
    best = {key: max(of, key=lambda n: per_hour(of[n])) for key, of in groups.items()}
    rebase = next((s for _, s in groups if results.names.get(s) == "rebase"), None)
    rows = []
    for (width, strategy), of in groups.items():
        rates = [f"{per_hour(of[n]):,.0f}" if n in of else "–" for n in flights]
        top = of[best[width, strategy]]
        against, reduction = "–", "–"
        if rebase and (width, rebase) in groups:
            other = groups[width, rebase][best[width, rebase]]
            against = f"{results.speedup(top, other):.2f}×"
            reduction = f"{results.reduction(top, other).value:.2f}×"
        accuracy = f"{100 * results.accuracy(top).value:.1f}"
        rows.append((str(width), code(strategy), *rates, against, reduction, accuracy))
    header = ("width", "strategy", *(f"{n} in flight" for n in flights), "best against REBASE's", "KV reduction", "%")
    note = "Problems an hour. The last column is the accuracy at the best setting."
    return Table("Table 2: throughput by problems in flight", header, rows, note)


def table_3(results: Results) -> Table:
    """ETS-KV against ETS: what the diversity term does (Table 3 of the ETS paper)."""
    kv, full, rebase = (results.named(name) for name in ("ets_kv", "ets", "rebase"))
    rows = []
    for width in results.widths() if kv and full else ():
        cells = [Cell(label or "", width) for label in (kv, full)]
        if not all(cell in results.cells for cell in cells):
            continue
        base = Cell(rebase or "", width)
        reductions = [times(results.reduction(c, base)) if base in results.cells else "–" for c in cells]
        accuracies = [f"{100 * results.accuracy(c).value:.1f}" for c in cells]
        rows.append((str(width), *accuracies, points(results.gain(cells[1], cells[0])), *reductions))
    header = ("width", "ETS-KV, %", "ETS, %", "ETS less ETS-KV, points", "ETS-KV: KV reduction", "ETS: KV reduction")
    return Table("Table 3: ETS-KV against ETS", header, rows)


def figure_2(results: Results) -> Table:
    """FLOPs, model calls, KV size and runtime, each relative to beam search (Figure 2 of the ETS paper)."""
    rows = [
        (str(cell.width), code(cell.strategy), *(f"{value:.2f}" for value in relative_costs(results, cell)))
        for cell in results.plain()
        if Cell(results.named("beam") or "", cell.width) in results.cells
    ]
    both = results.parameters("generator"), results.parameters("reward model")
    known = "generator and PRM" if all(both) else "generator" if both[0] else "generated tokens; parameters unknown"
    note = (
        f"Relative to {code(results.named('beam') or 'beam')} at the same width. FLOPs: {known}. Runtime: mean seconds "
        "of a search while others of the run were in flight."
    )
    header = ("width", "strategy", "FLOPs", "model calls", "KV size", "runtime")
    return Table("Figure 2: costs relative to beam search", header, rows, note)


def relative_costs(results: Results, cell: Cell) -> tuple[float, float, float, float]:
    """FLOPs, model calls, KV size and runtime of a cell over those of beam search, at its width and on its problems."""
    base = Cell(results.named("beam") or "", cell.width)
    figures: list[Callable[[Cell], Values]] = [
        results.flops,
        lambda c: results.cost(c, "num_calls"),
        lambda c: results.cost(c, "kv_tokens"),
        lambda c: results.values(c, lambda r: r.seconds["total"]),
    ]
    first, second, third, fourth = (ratio(f(cell), f(base)).value for f in figures)
    return first, second, third, fourth


def votes(results: Results) -> Table:
    """Pass@k, majority and weighted vote of 1, 2, 4 … N trajectories, of each strategy at its largest width."""
    rows = []
    largest = {
        strategy: max(c.width for c in results.plain() if c.strategy == strategy) for strategy in results.strategies()
    }
    sizes = sizes_to(max(largest.values(), default=1))
    for strategy, width in largest.items():
        records = results.cells[Cell(strategy, width)]
        curves = _curves(records, sizes_to(width), results.grader)
        for kind, curve in curves.items():
            cells = [f"{100 * value:.1f}" for value in curve]
            rows.append((code(strategy), kind, *cells, *("–" for _ in sizes[len(cells) :])))
    note = (
        "Trajectories are drawn from those of the same searches. For a tree search these are not those of a narrower "
        "search: they grew together."
    )
    return Table("Votes of fewer trajectories, %", ("strategy", "vote", *map(str, sizes)), rows, note)


def _curves(records: Sequence[SearchRecord], sizes: Sequence[int], grader: str) -> dict[str, list[float]]:
    kinds: tuple[VoteKind, ...] = ("majority", "weighted")
    curves: dict[str, list[float]] = {
        kind: np.mean([vote_curve(r, sizes, kind, grader) for r in records], axis=0).tolist() for kind in kinds
    }
    return {"pass@k": [float(np.mean([pass_at(r, k, grader) for r in records])) for k in sizes], **curves}


def levels(results: Results) -> Table:
    """Accuracy by level."""
    found = sorted({r.level for records in results.cells.values() for r in records if r.level})
    rows = []
    for cell in results.plain():
        shares = []
        for level in found:
            of_level = [float(r.right[results.grader]) for r in results.cells[cell] if r.level == level]
            shares.append(f"{100 * np.mean(of_level):.1f}" if of_level else "–")
        rows.append((str(cell.width), code(cell.strategy), *shares))
    return Table("Accuracy by level, %", ("width", "strategy", *(f"level {level}" for level in found)), rows)


EQUAL_COSTS: Final = ("generated_tokens", "kv_tokens")


def equal_cost(results: Results) -> Table:
    """Every strategy against best-of-N at equal width, at equal tokens and at equal KV."""
    label = results.named("best_of_n")
    rows = []
    for cell in results.plain() if label else ():
        row = [str(cell.width), code(cell.strategy), f"{100 * results.accuracy(cell).value:.1f}"]
        other = Cell(label or "", cell.width)
        row.append(points(results.gain(cell, other)) if other in results.cells and other != cell else "–")
        for cost in EQUAL_COSTS:
            size, values = best_of_k(results, label or "", cell, cost)
            is_possible = values and cell.strategy != label
            row += [f"{size:.0f}", points(difference(results.right(cell), values))] if is_possible else ["–", "–"]
        rows.append(tuple(row))
    header = (
        "width",
        "strategy",
        "%",
        "less best-of-N",
        "k at equal tokens",
        "less best-of-k",
        "k at equal KV",
        "less best-of-k",
    )
    note = (
        "Best-of-k costs what the strategy costs, as interpolated between the recorded widths: k trajectories, drawn "
        "from those of the widest best-of-N, weighted vote. '–' where k would lie beyond. Paired, in points."
    )
    return Table("Search against best-of-N at equal cost", header, rows, note)


def best_of_k(results: Results, label: str, cell: Cell, cost: str) -> tuple[float, Values]:
    """How many independent trajectories cost as much as a cell's searches, and how often their vote is right.

    The cost of best-of-k is interpolated between the recorded widths, from nothing at 0; none beyond the widest.
    """
    shared = set(results.right(cell))
    known = {0: 0.0}
    for c in results.plain():
        if c.strategy == label:
            costs = [v for problem, v in results.cost(c, cost).items() if problem in shared]
            if costs:
                known[c.width] = float(np.mean(costs))
    both = {r.problem for c in results.plain() if c.strategy == label for r in results.cells[c]} & shared
    costs = [v for problem, v in results.cost(cell, cost).items() if problem in both]
    if not costs or np.mean(costs) > max(known.values()):
        return float("nan"), {}
    size = float(np.interp(np.mean(costs), list(known.values()), list(known)))
    if size < 1:
        return size, {}
    widest = results.cells[Cell(label, max(known))]
    low = int(size)
    share = size - low

    def right(record: SearchRecord) -> float:
        below, above = vote_curve(record, (low, low + 1), "weighted", results.grader)
        return (1 - share) * below + share * above

    return size, by_problem([r for r in widest if r.problem in shared], right)


def engine(results: Results) -> Table:
    """What the engine's cache held beside what the trees predict, and what was found in it."""
    rows, tells_hits = [], False
    for cell in (*results.plain(), *results.timed()):
        told = [r.engine for r in results.cells[cell] if r.engine]
        if not told:
            continue
        keys = ("mean_in_flight", "peak_predicted_tokens", "peak_cache_tokens", "mean_cache_tokens")
        means = [_mean_of(told, key) for key in keys]
        share = means[2] / means[1] if means[1] else float("nan")
        hits, asked = _mean_of(told, "prefix_hit_tokens"), _mean_of(told, "prefix_query_tokens")
        tells_hits = tells_hits or not math.isnan(hits)
        figures = [f"{means[0]:.1f}", *(f"{m:,.0f}" for m in means[1:]), f"{share:.2f}", f"{hits / (asked or 1):.0%}"]
        rows.append(
            (str(cell.width), code(cell.strategy), *(f.replace("nan%", "–").replace("nan", "–") for f in figures))
        )
    header: tuple[str, ...] = ("width", "strategy", "in flight", "predicted peak", "measured peak", "measured mean")
    header = (*header, "peak ÷ predicted")
    note = (
        "Tokens, while a search ran, all searches in flight together; means over searches. Predicted: the KV tokens of "
        "the last finished depth of each. Measured: the share of its cache that the engine reports, in blocks."
    )
    if tells_hits:
        header, note = (*header, "prefix found"), f"{note} Prefix found: tokens of prefixes that were in the cache."
    return Table("KV cache: measured and predicted", header, [row[: len(header)] for row in rows], note)


def _mean_of(told: Sequence[Mapping[str, float]], key: str) -> float:
    """The mean of a figure over the searches that have it; NaN where none has."""
    values = [engine[key] for engine in told if key in engine]
    return float(np.mean(values)) if values else math.nan


def seconds(results: Results) -> Table:
    """Where the time of a search went."""
    rows = []
    for cell in results.plain():
        records = results.cells[cell]
        means = [float(np.mean([r.seconds.get(phase, 0.0) for r in records])) for phase in PHASES]
        rows.append((str(cell.width), code(cell.strategy), *(f"{value:.3f}" for value in means)))
    note = (
        "Mean seconds a search during which the phase was under way; generating and scoring overlap, and searches too."
    )
    return Table("Seconds by phase", ("width", "strategy", *PHASES), rows, note)


def depths(results: Results) -> Table:
    """Frontier, kept and clusters by depth, at the largest width."""
    width = max(results.widths(), default=0)
    rows = []
    for cell in (c for c in results.plain() if c.width == width):
        by_depth = itertools.zip_longest(*(r.depths for r in results.cells[cell]))
        for number, column in enumerate(by_depth, start=1):
            there = [d for d in column if d is not None]
            clusters = [d.num_clusters for d in there if d.num_clusters is not None and d.num_open]
            figures = [np.mean([d[i] for d in there]) for i in (2, 3)]
            shown = f"{np.mean(clusters):.1f}" if clusters else "–"
            kv = f"{np.mean([d.kv_tokens for d in there]):,.0f}"
            rows.append((code(cell.strategy), str(number), str(len(there)), *(f"{f:.1f}" for f in figures), shown, kv))
    header = ("strategy", "depth", "searches", "frontier", "kept", "clusters", "KV tokens")
    return Table(f"By depth, at width {width}", header, rows, "Means over the searches that reached the depth.")


def disagreements(results: Results, most: int = 40) -> Table:
    """Voted answers on which the graders differ."""
    found: dict[Row, int] = {}
    for records in results.cells.values():
        for r in records:
            if len(set(r.right.values())) > 1:
                verdicts = ", ".join(f"{g}: {'right' if r.right[g] else 'wrong'}" for g in r.right)
                row = (r.problem, code(r.answer or ""), code(r.gold), verdicts)
                found[row] = found.get(row, 0) + 1
    rows = [(*row, str(count)) for row, count in sorted(found.items(), key=lambda item: -item[1])]
    left = f"; the first {most}" if len(rows) > most else ""
    title = f"Where the graders disagree: {len(rows)} answers{left}"
    return Table(title, ("problem", "answer", "reference", "verdicts", "searches"), rows[:most])


ALL: Final = (
    overview,
    table_1,
    paired,
    equal_cost,
    table_2,
    table_3,
    figure_2,
    votes,
    levels,
    engine,
    seconds,
    depths,
    disagreements,
)
"""The tables in the order of a report; one without rows is left out."""

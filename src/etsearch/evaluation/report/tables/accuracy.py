"""How often is each strategy right, and where do the graders differ?"""

import itertools

import numpy as np

from etsearch.evaluation.grading import GRADERS
from etsearch.evaluation.report.results import COSTS, Cell, Results
from etsearch.evaluation.report.statistics import by_problem, mean, num_trajectories, pass_at
from etsearch.evaluation.report.tables.base import Row, Table, code, percent, points, times


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
    rebase = results.label_of("rebase")
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


def differences_from_baselines(results: Results) -> Table:
    """Differences of accuracy from REBASE's and from best-of-N's on the same problems."""
    baselines = [label for name in ("rebase", "best_of_n") if (label := results.label_of(name))]
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


def table_3(results: Results) -> Table:
    """ETS-KV against ETS: what the diversity term does (Table 3 of the ETS paper)."""
    kv, full, rebase = (results.label_of(name) for name in ("ets_kv", "ets", "rebase"))
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

"""Makes docs/results.md and its plots again from the records in docs/results.

    python tools/make_results.py            # or: make results
    python tools/make_results.py --table    # the README's table of all methods
    python tools/make_results.py --pack     # takes the records over from runs/

The prose is that of results.template.md; each of its figures is computed from the records.
"""

import argparse
import gzip
import itertools
import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import beyond_the_paper

from etsearch.evaluation import sweep
from etsearch.evaluation.report import plots, tables
from etsearch.evaluation.report.pages import about
from etsearch.evaluation.report.results import Cell, Results
from etsearch.evaluation.report.statistics import difference
from etsearch.evaluation.report.tables import code, percent, points, times
from etsearch.evaluation.run.folder import read_run

DOCS = Path(__file__).parents[1] / "docs"
RECORDS = DOCS / "results"
PLOTS = RECORDS
SEEDS = ("minimath", "minimath-ets", "minimath-inherit")
"""Widths 16 and 64: 200 problems, 3 seeds."""
RUNS = (*SEEDS, "minimath-256", "minimath-throughput", "minimath-sweep", *beyond_the_paper.RUNS)
INHERITED = "ets, inherited"
ETS = ("ets", "ets_kv", INHERITED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--pack", action="store_true")
    options = parser.parse_args()
    if options.pack:
        pack(RUNS)
    if options.table:
        sys.stdout.write(readme_table(Results.read(RECORDS / name for name in SEEDS)) + "\n")
        return
    text = document()
    (DOCS / "results.md").write_text(text, encoding="utf-8")


def from_template(page: str, **parts: str) -> str:
    """A page of the docs from its template; all but the named parts stays as it is, formulas with their braces too."""
    made = (DOCS / f"{page}.template.md").read_text(encoding="utf-8")
    for name, part in parts.items():
        made = made.replace(f"{{{name}}}", part)
    return made.rstrip() + "\n"


def pack(names: Iterable[str]) -> None:
    """Copies the records of the finished runs that are there, without their trees, which are large."""
    for name in (name for name in names if Path(f"runs/{name}").is_dir()):
        (RECORDS / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(f"runs/{name}/run.json", RECORDS / name)
        lines = _whole(Path(f"runs/{name}"))
        (RECORDS / name / "searches.jsonl.gz").write_bytes(gzip.compress(lines, mtime=0))


def _whole(run: Path) -> bytes:
    """The lines of the cells that the run's recipe asks for; others were begun and not finished."""
    lines = (run / "searches.jsonl").read_bytes().splitlines(keepends=True)
    labels = {(cell.label, cell.width) for cell in read_run(run).recipe.arms()}
    if run.name == "minimath-sweep":
        return b"".join(lines)
    kept = [line for line in lines if (json.loads(line)["strategy"], json.loads(line)["width"]) in labels]
    sys.stderr.write(f"{run}: {len(kept)} of {len(lines)} searches\n")
    return b"".join(kept)


def readme_table(results: Results) -> str:
    lines = ["| width | strategy | accuracy, % | KV tokens | KV reduction |", "|--:|---|--:|--:|--:|"]
    for cell in results.plain():
        base = Cell("rebase", cell.width)
        cost = results.cost(cell, "kv_tokens")
        kv = f"{sum(cost.values()) / len(cost):,.0f}"
        reduction = "–" if cell == base else f"{results.reduction(cell, base).value:.2f}×"
        lines.append(
            f"| {cell.width} | {code(cell.strategy)} | {percent(results.accuracy(cell))} | {kv} | {reduction} |"
        )
    return "\n".join(lines)


def document() -> str:
    main_runs = Results.read(RECORDS / name for name in (*SEEDS, "minimath-256"))
    timed = Results.read([RECORDS / "minimath-throughput"])
    sweep_points = Results.read([RECORDS / "minimath-sweep"])
    beyond = {name: Results.read([RECORDS / name]) for name in beyond_the_paper.RUNS}
    draw(main_runs, timed, sweep_points)
    found = sweep.sweep_points(sweep_points)
    runs = (main_runs, timed, sweep_points, *beyond.values())
    head = (DOCS / "results.template.md").read_text(encoding="utf-8").rstrip()
    parts = [
        head.format_map({**figures(main_runs, timed, sweep_points), **beyond_the_paper.figures(beyond)}),
        *beyond_the_paper.tables(beyond),
        "## What was run",
        "\n".join(f"- {line}" for line in dict.fromkeys(itertools.chain(*map(about, runs)))),
        tables.table_1(main_runs).markdown(),
        "![Accuracy against KV size](results/figure-3.png)",
        tables.differences_from_baselines(main_runs).markdown(),
        tables.equal_cost(main_runs).markdown(),
        tables.table_2(timed).markdown(),
        tables.table_3(main_runs).markdown(),
        timed_costs(timed),
        sweep.table(found).markdown(),
        "![The sweep](results/sweep.png)",
        tables.overview(main_runs).markdown(),
        tables.votes(main_runs).markdown(),
        "![Votes of fewer trajectories](results/votes.png)",
        tables.levels(main_runs).markdown(),
        tables.engine(timed).markdown(),
        tables.seconds(main_runs).markdown(),
        tables.depths(main_runs).markdown(),
        "![By depth](results/depths.png)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def draw(main_runs: Results, timed: Results, sweep_points: Results) -> None:
    plt = plots.pyplot()
    figures = {
        "figure-3": plots.accuracy_against_kv(main_runs),
        "votes": plots.votes_of_fewer(main_runs),
        "depths": plots.by_depth(main_runs),
        "figure-2": plots.costs_against_beam(timed.at_flight(8)),
    }
    for name, figure in figures.items():
        if figure is not None:
            figure.savefig(PLOTS / f"{name}.png", dpi=110)
            plt.close(figure)
    sweep.draw(sweep_points, PLOTS / "sweep.png")


def timed_costs(timed: Results) -> str:
    table = tables.figure_2(timed.at_flight(8))
    return f"{table.markdown()}\n\n![Costs relative to beam search](results/figure-2.png)"


def figures(results: Results, timed: Results, sweep_points: Results) -> dict[str, str]:
    """The figures that stand in the prose of the template, by name."""
    found: dict[str, str] = {}
    for name, label in (("ets", "ets"), ("kv", "ets_kv"), ("inherited", INHERITED)):
        cells = [c for c in results.plain() if c.strategy == label]
        gains = {c.width: results.gain(c, Cell("rebase", c.width)) for c in cells}
        within = [str(width) for width, gain in gains.items() if gain.value >= -sweep.TOLERANCE]
        found[f"gain_{name}"] = ", ".join(f"{points(gain)} at width {width}" for width, gain in gains.items())
        found[f"within_{name}"] = f"within 0.2 points at {_and(within)}" if within else "at no width within 0.2 points"
        reductions = {c.width: results.reduction(c, Cell("rebase", c.width)) for c in cells}
        found[f"reduction_{name}"] = ", ".join(f"{times(r)} at {width}" for width, r in reductions.items())
    points_of = {(p.specification, width): p for width, of in sweep.sweep_points(sweep_points).items() for p in of}
    for name, lambda_b, width in (("sweep_64", "1.5", 64), ("sweep_16", "1.75", 16)):
        for suffix, rest in (("", ""), ("_inherited", ", inherit=true")):
            point = points_of[f"ets(lambda_b={lambda_b}{rest})", width]
            found[f"{name}{suffix}"] = f"{point.reduction.value:.2f}× for {points(point.gain)} points"
    found["diversity"] = "; ".join(
        f"{points(results.gain(Cell('ets', w), Cell('ets_kv', w)))} points at width {w}, with "
        f"{results.reduction(Cell('ets_kv', w), Cell('ets', w)).value:.2f} times the KV"
        for w in results.widths()
    )
    eight = timed.at_flight(8)
    found["relative"] = "; ".join(
        f"{code(c.strategy)} " + ", ".join(f"{value:.2f}" for value in tables.relative_costs(eight, c))
        for c in eight.plain()
        if c.strategy != "beam"
    )
    rows = {row[1]: row for row in tables.table_2(timed).rows}
    found["throughput"] = ", ".join(f"{name} {rows[name][-3]} at {rows[name][-2]} less KV" for name in map(code, ETS))
    for name in ("rebase", "ets", "beam"):
        found[f"against_best_of_n_{name}"] = _against_best_of_n(results, name)
    found["clusters"] = _clusters(results)
    return found


def _against_best_of_n(results: Results, label: str) -> str:
    parts = []
    for cell in (c for c in results.plain() if c.strategy == label):
        size, right = tables.best_of_k(results, "best_of_n", cell, "generated_tokens")
        if right:
            parts.append(f"{points(difference(results.right(cell), right))} at width {cell.width} (k = {size:.0f})")
    return ", ".join(parts)


def _clusters(results: Results) -> str:
    """Open nodes for each cluster of a frontier, by width."""
    parts = []
    for width in results.widths():
        depths = [d for r in results.cells[Cell("ets", width)] for d in r.depths if d.num_clusters and d.num_open > 1]
        share = sum(d.num_open for d in depths) / sum(d.num_clusters or 0 for d in depths)
        parts.append(f"{share:.1f} at width {width}")
    return ", ".join(parts)


def _and(texts: list[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


if __name__ == "__main__":
    main()

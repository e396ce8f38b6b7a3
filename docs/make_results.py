"""Makes docs/results.md and its plots again from the records in docs/results.

    python docs/make_results.py            # or: make results
    python docs/make_results.py --table    # the table of the README
    python docs/make_results.py --pack     # takes the records over from runs/

The prose is here, its figures are not: each is computed from the records.
"""

import argparse
import gzip
import shutil
import sys
from pathlib import Path

from etsearch.evaluation import plots, sweep, tables
from etsearch.evaluation.report import about
from etsearch.evaluation.results import Cell, Results
from etsearch.evaluation.tables import code, percent, points, times

HERE = Path(__file__).parent
RECORDS = HERE / "results"
PLOTS = RECORDS
SEEDS = ("minimath", "minimath-ets", "minimath-inherit")
"""Widths 16 and 64: 200 problems, 3 seeds."""
RUNS = (*SEEDS, "minimath-256", "minimath-throughput", "minimath-sweep")
INHERITED = "ets, inherited"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--pack", action="store_true")
    options = parser.parse_args()
    if options.pack:
        pack()
    if options.table:
        sys.stdout.write(readme_table(Results.read(RECORDS / name for name in SEEDS)) + "\n")
        return
    text = document()
    (HERE / "results.md").write_text(text, encoding="utf-8")


def pack() -> None:
    """Copies the records of finished runs without their trees, which are large."""
    for name in RUNS:
        (RECORDS / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(f"runs/{name}/run.json", RECORDS / name)
        lines = Path(f"runs/{name}/searches.jsonl").read_bytes()
        (RECORDS / name / "searches.jsonl.gz").write_bytes(gzip.compress(lines, mtime=0))


def readme_table(results: Results) -> str:
    lines = ["| width | strategy | accuracy, % | KV tokens | against REBASE |", "|--:|---|--:|--:|--:|"]
    for cell in results.plain():
        base = Cell("rebase", cell.width)
        cost = results.cost(cell, "kv_tokens")
        kv = f"{sum(cost.values()) / len(cost):,.0f}"
        reduction = "" if cell == base else f"{results.reduction(cell, base).value:.2f}× less"
        lines.append(
            f"| {cell.width} | {code(cell.strategy)} | {percent(results.accuracy(cell))} | {kv} | {reduction} |"
        )
    return "\n".join(lines)


def document() -> str:
    main_runs = Results.read(RECORDS / name for name in (*SEEDS, "minimath-256"))
    timed = Results.read([RECORDS / "minimath-throughput"])
    swept = Results.read([RECORDS / "minimath-sweep"])
    draw(main_runs, timed, swept)
    found = sweep.swept(swept)
    parts = [
        HEAD,
        "\n".join(f"- {line}" for line in [*about(main_runs), *about(timed)[:1], *about(swept)[:1]]),
        "## What holds of the paper's claims, and what does not",
        claims(main_runs, timed, swept),
        tables.table_1(main_runs).markdown(),
        "![Accuracy against KV size](results/figure-3.png)",
        tables.paired(main_runs).markdown(),
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


def draw(main_runs: Results, timed: Results, swept: Results) -> None:
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
    sweep.draw(swept, PLOTS / "sweep.png")


def timed_costs(timed: Results) -> str:
    table = tables.figure_2(timed.at_flight(8))
    return f"{table.markdown()}\n\n![Costs relative to beam search](results/figure-2.png)"


HEAD = """# Results in miniature

Every figure here is computed from the records in `docs/results` by `make results`. The miniature world has a policy and
a PRM of 0.87 M parameters each; what it shows is how the strategies behave, not what a large model gains. Widths 16 and
64: 200 test problems, 3 seeds. Width 256: 100 test problems, 1 seed. Settings were chosen on validation problems. The
commands:

    ets eval recipes/minimath.yaml             # widths 16 and 64: best-of-N, beam search, DVTS, REBASE
    ets eval recipes/minimath-ets.yaml         # ETS-KV and ETS
    ets eval recipes/minimath-inherit.yaml     # ETS with inherited shares
    ets eval recipes/minimath-256.yaml
    ets eval recipes/minimath-throughput.yaml  # with nothing else on the machine
    ets eval recipes/minimath-sweep.yaml       # validation problems
    python docs/make_results.py --pack && make results"""


def claims(results: Results, timed: Results, swept: Results) -> str:
    del timed, swept
    lines = []
    for width in results.widths():
        base = Cell("rebase", width)
        for label in ("ets", INHERITED):
            cell = Cell(label, width)
            if cell in results.cells:
                lines.append(
                    f"- width {width}, {code(label)}: {points(results.gain(cell, base))} points against REBASE, "
                    f"KV reduction {times(results.reduction(cell, base))}"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""How long does one selection take: the default solver, HiGHS, and the paper's PuLP + CBC on the same programmes.

    python benchmarks/selection.py --json benchmarks/records/selection.json
    python benchmarks/selection.py --record benchmarks/records/selection-programmes.npz   # records them anew

A selection is everything from arrays to the leaves kept: the programme built and checked, solved, read back. All
solvers get the same programme one after the other, and must agree on the objective to 1e-9. A time is the best of
three, but for selections that take over a second.

Two sets of programmes. *Recorded*: those that searches of minimath problems (validation split, embedded models) met
with `ets`, at widths 16, 64 and 256, lambda_b 1 to 2, uniform and token costs. *Synthetic*: trees as REBASE grows them
(`etsearch.selection.synthetic`), T_R 0.2 and 1.0, uniform and token costs, lambda_b 1, 1.5 and 2. lambda_d is 1. Rows
marked *budget* have token costs, no price, and a budget of 30, 50 and 70 % of the cost of all leaves in turn.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from facts import machine

from etsearch.api import search
from etsearch.evaluation.datasets import DATASETS
from etsearch.selection import Programme, solve
from etsearch.selection.synthetic import synthetic_programme
from etsearch.strategies.ets import ETS

RECORDED = Path(__file__).parent / "records" / "selection-programmes.npz"
TIME_LIMIT_S = 20.0
KINDS = list(itertools.product((0.2, 1.0), ("uniform", "tokens"), (1.0, 1.5, 2.0)))
KIND_STRIDE = 7
"""Prime to the number of kinds: a few programmes already mix all settings."""
WIDTHS = (16, 64, 256)
LARGE = (1024, 4096)
BUDGET_SHARES = (0.3, 0.5, 0.7)
FIELDS = ("parent", "leaves", "weight", "node_cost", "cluster")


@dataclass
class Row:
    """Times of one set of programmes at one width, in milliseconds; CBC solves the first ``cbc_programmes`` only."""

    programmes_of: str
    width: int
    programmes: int
    median_spanned_nodes: float
    median_ms: dict[str, float] = field(default_factory=dict)
    worst_ms: dict[str, float] = field(default_factory=dict)
    cbc_programmes: int = 0
    median_ratio: float | None = None
    worst_ratio: float | None = None
    largest_difference: float = 0.0
    not_optimal: int = 0


def main():
    options = parse_options()
    if options.record:
        asyncio.run(record(options.record))
        return
    print(f"{'programmes':18} {'width':>5} {'nodes':>6}   {'lagrange':>15} {'highs':>15} {'cbc':>17}   cbc / lagrange")
    print(f"{'':18} {'':5} {'':6}   {'median/worst ms':>15} {'median/worst ms':>15} {'median/worst ms':>17}   both")
    rows = []
    for name, width, programmes, cbc_programmes in cells(options.programmes, options.cbc_programmes):
        rows.append(measure(name, width, programmes, cbc_programmes))
        print(line(rows[-1]), flush=True)
    if options.json:
        settings = {"time_limit_s": TIME_LIMIT_S, "best_of": "3, 1 above a second"}
        facts = machine("numpy", "scipy", "highspy", "pulp")
        values = {"machine": facts, "settings": settings, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(values, indent=2) + "\n")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programmes", type=int, default=20, help="per row (default: %(default)s)")
    parser.add_argument("--cbc-programmes", type=int, default=10, help="those that CBC solves (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    parser.add_argument("--record", type=Path, metavar="FILE", help="record programmes of searches; measure nothing")
    return parser.parse_args()


# --- the programmes, as arguments


def cells(count, cbc_count):
    """(name, width, arguments of the programmes, how many CBC solves) of each row."""
    recorded = read_recorded()
    for width in WIDTHS:
        yield "recorded", width, recorded[width][:count], cbc_count
        yield "synthetic", width, synthetic(width, count), cbc_count
    for width in LARGE:
        yield "synthetic", width, synthetic(width, count * 3 // 5), 0
    for width in WIDTHS[1:]:
        yield "recorded, budget", width, with_budgets([a for a in recorded[width] if is_in_tokens(a)][: count // 2]), 0
        yield "synthetic, budget", width, with_budgets(synthetic(width, count, costs="tokens")[: count // 2]), 0


def synthetic(width, count, costs=None):
    programmes = []
    for number in range(count):
        balance_temperature, own_costs, lambda_b = KINDS[number * KIND_STRIDE % len(KINDS)]
        programme = synthetic_programme(
            width, number, balance_temperature=balance_temperature, costs=costs or own_costs, lambda_b=lambda_b
        )
        arrays = {name: getattr(programme, name) for name in FIELDS}
        programmes.append(arrays | {"lambda_b": lambda_b, "lambda_d": 1.0})
    return programmes


def is_in_tokens(arguments):
    return len(np.unique(arguments["node_cost"])) > 1


def with_budgets(programmes):
    limited = []
    for number, arguments in enumerate(programmes):
        unlimited = Programme(**arguments)
        budget = np.floor(BUDGET_SHARES[number % len(BUDGET_SHARES)] * unlimited.total_cost)
        limited.append(arguments | {"lambda_b": 0.0, "budget": max(budget, unlimited.cheapest_cost)})
    return limited


def read_recorded():
    """The recorded programmes by width."""
    with np.load(RECORDED) as stored:
        ends = {name: np.cumsum(stored[f"{name}_size"]) for name in FIELDS}
        parts = {name: np.split(stored[name], ends[name][:-1]) for name in FIELDS}
        lambda_b, widths = stored["lambda_b"].tolist(), stored["width"].tolist()
    recorded = {width: [] for width in WIDTHS}
    for number, (price, width) in enumerate(zip(lambda_b, widths, strict=True)):
        arrays = {name: parts[name][number] for name in FIELDS}
        recorded[width].append(arrays | {"lambda_b": price, "lambda_d": 1.0})
    return recorded


async def record(path, per_width=20, per_search=2):
    """Searches problems of the validation split, and keeps some of the programmes that each of them met."""

    class Recording(ETS):
        def select(self, frontier, width):
            met.append(self.programme(frontier, width))
            return super().select(frontier, width)

    problems = DATASETS.create("minimath:validation").problems
    prices = itertools.cycle(itertools.product((1.0, 1.25, 1.5, 2.0), ("uniform", "tokens")))
    kept = []
    for width in WIDTHS:
        of_width = []
        for number in itertools.count():
            met, (lambda_b, costs) = [], next(prices)
            strategy = Recording(lambda_b=lambda_b, node_cost=costs)
            await search(problems[(1 + 37 * number) % len(problems)], strategy=strategy, width=width, seed=number)
            of_width += [programme for programme in met[1:] if programme.num_leaves > 0.75 * width][-per_search:]
            if len(of_width) >= per_width:
                break
        kept += [(width, programme) for programme in of_width[:per_width]]
        print(f"width {width}: {number + 1} searches")
    arrays = {"width": np.array([width for width, _ in kept]), "lambda_b": np.array([p.lambda_b for _, p in kept])}
    for name in FIELDS:
        values = [getattr(programme, name) for _, programme in kept]
        arrays |= {name: np.concatenate(values).astype(np.int32), f"{name}_size": np.array([len(v) for v in values])}
    np.savez_compressed(path, **arrays)


# --- the measurement


def measure(name, width, programmes, cbc_programmes):
    row = Row(name, width, len(programmes), 0.0, cbc_programmes=min(cbc_programmes, len(programmes)))
    times = {"lagrange": [], "highs": []} | ({"cbc": []} if row.cbc_programmes else {})
    spanned = []
    for solver in times:
        best_time(programmes[0], solver)  # loads the library
    for number, arguments in enumerate(programmes):
        spanned.append(int(Programme(**arguments).spanned.sum()))
        solutions = []
        for solver in times:
            if solver != "cbc" or number < row.cbc_programmes:
                seconds, solution = best_time(arguments, solver)
                times[solver].append(1e3 * seconds)
                solutions.append(solution)
        optimal = [solution.objective for solution in solutions if solution.status == "optimal"]
        row.not_optimal += len(solutions) - len(optimal)
        if optimal:
            row.largest_difference = max(row.largest_difference, max(optimal) - min(optimal))
    if row.largest_difference > 1e-9:
        sys.exit(f"the solvers disagree by {row.largest_difference:.1e} on {name} programmes of width {width}")
    row.median_spanned_nodes = statistics.median(spanned)
    row.median_ms = {solver: statistics.median(of_solver) for solver, of_solver in times.items()}
    row.worst_ms = {solver: max(of_solver) for solver, of_solver in times.items()}
    if row.cbc_programmes:
        ours = times["lagrange"][: row.cbc_programmes]
        row.median_ratio = row.median_ms["cbc"] / statistics.median(ours)
        row.worst_ratio = row.worst_ms["cbc"] / max(ours)
    return row


def best_time(arguments, solver):
    """Seconds of the fastest of three, and the solution."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        solution = solve(Programme(**arguments), solver=solver, time_limit_s=TIME_LIMIT_S)
        best = min(best, time.perf_counter() - start)
        if best > 1.0:
            break
    return best, solution


def line(row):
    def times(solver, digits):
        if solver not in row.median_ms:
            return " " * (2 * digits + 3)
        return f"{row.median_ms[solver]:{digits}.2f} /{row.worst_ms[solver]:{digits}.1f} "

    ratios = f"{row.median_ratio:6.0f}x {row.worst_ratio:6.0f}x" if row.median_ratio else ""
    note = f"   {row.not_optimal} not optimal" if row.not_optimal else ""
    return (
        f"{row.programmes_of:18} {row.width:5d} {row.median_spanned_nodes:6.0f}   "
        f"{times('lagrange', 6)} {times('highs', 6)} {times('cbc', 7)}  {ratios}{note}"
    )


if __name__ == "__main__":
    main()

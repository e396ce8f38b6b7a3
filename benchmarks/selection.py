"""How long does one selection take, with HiGHS and with the paper's PuLP + CBC, on the same programmes?

    python benchmarks/selection.py --leaves 16 64 256 --programmes 20 --json selection.json

A selection is everything from plain lists to the leaves kept: the programme built and checked, solved, read back.
Programmes are synthetic trees as REBASE grows them (`etsearch.selection.synthetic`), in turn with T_R 0.2 and 1.0,
uniform and token costs, lambda_b 1, 1.5 and 2, lambda_d 1. Both solvers get the same programmes in the same run,
one after the other, and must agree on the objective.
"""

import argparse
import itertools
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from etsearch.selection import Programme, solve
from etsearch.selection.synthetic import synthetic_programme

TIME_LIMIT_S = 120.0
KINDS = list(itertools.product((0.2, 1.0), ("uniform", "tokens"), (1.0, 1.5, 2.0)))
KIND_STRIDE = 7
"""Prime to the number of kinds: a few programmes already mix all settings."""


@dataclass
class Row:
    leaves: int
    programmes: int
    median_spanned_nodes: float
    highs_median_ms: float
    highs_worst_ms: float
    cbc_median_ms: float | None = None
    cbc_worst_ms: float | None = None
    median_ratio: float | None = None
    worst_ratio: float | None = None
    not_optimal: int = 0


def main():
    options = parse_options()
    print(
        f"{'leaves':>6} {'nodes':>6}   {'HiGHS median':>13} {'worst':>9}   {'CBC median':>13} {'worst':>9}   "
        f"{'ratio of medians':>16} {'of worsts':>9}"
    )
    rows = []
    for leaves in options.leaves:
        rows.append(measure(leaves, options.programmes, options.seed, with_cbc=leaves <= options.cbc_max_leaves))
        print(line(rows[-1]), flush=True)
    if options.json:
        settings = {"programmes": options.programmes, "seed": options.seed, "time_limit_s": TIME_LIMIT_S}
        options.json.write_text(json.dumps({"settings": settings, "rows": [asdict(row) for row in rows]}, indent=2))


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leaves", type=positive, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--programmes", type=positive, default=20, help="per number of leaves (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cbc-max-leaves", type=int, default=1024, help="no CBC above this (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    return parser.parse_args()


def positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return int(text)


def measure(leaves, num_programmes, seed, *, with_cbc):
    select(arguments_of(leaves, seed, 0), "highs")  # loads the library
    times = {"highs": [], "cbc": []}
    spanned, not_optimal = [], 0
    for number in range(num_programmes):
        arguments = arguments_of(leaves, seed, number)
        spanned.append(int(Programme(**arguments).spanned.sum()))
        solutions = []
        for solver in ("highs", "cbc") if with_cbc else ("highs",):
            seconds, solution = select(arguments, solver)
            times[solver].append(1e3 * seconds)
            solutions.append(solution)
        optimal = [s.objective for s in solutions if s.status == "optimal"]
        not_optimal += len(solutions) - len(optimal)
        if optimal and max(optimal) - min(optimal) > 1e-9:
            sys.exit(f"the solvers disagree on programme {number} of {leaves} leaves: {optimal}")
    row = Row(leaves, num_programmes, statistics.median(spanned), *summary(times["highs"]), not_optimal=not_optimal)
    if with_cbc:
        row.cbc_median_ms, row.cbc_worst_ms = summary(times["cbc"])
        row.median_ratio = row.cbc_median_ms / row.highs_median_ms
        row.worst_ratio = row.cbc_worst_ms / row.highs_worst_ms
    return row


def arguments_of(leaves, seed, number):
    """The programme as plain lists, as a caller has it."""
    balance_temperature, costs, lambda_b = KINDS[number * KIND_STRIDE % len(KINDS)]
    programme = synthetic_programme(
        leaves,
        seed + number,
        balance_temperature=balance_temperature,
        costs=costs,
        lambda_b=lambda_b,
    )
    arrays = ("parent", "leaves", "weight", "node_cost", "cluster")
    lists = {name: getattr(programme, name).tolist() for name in arrays}
    return lists | {"lambda_b": programme.lambda_b, "lambda_d": programme.lambda_d}


def select(arguments, solver):
    start = time.perf_counter()
    solution = solve(Programme(**arguments), solver=solver, time_limit_s=TIME_LIMIT_S)
    return time.perf_counter() - start, solution


def summary(times):
    return statistics.median(times), max(times)


def line(row):
    highs = (
        f"{row.leaves:6d} {row.median_spanned_nodes:6.0f}   {row.highs_median_ms:10.1f} ms {row.highs_worst_ms:6.1f} ms"
    )
    note = f"   {row.not_optimal} not optimal" if row.not_optimal else ""
    if row.cbc_median_ms is None:
        return highs + note
    cbc = f"{row.cbc_median_ms:10.1f} ms {row.cbc_worst_ms:6.1f} ms   {row.median_ratio:15.1f}x {row.worst_ratio:8.1f}x"
    return f"{highs}   {cbc}{note}"


if __name__ == "__main__":
    main()

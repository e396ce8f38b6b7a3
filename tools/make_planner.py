"""Makes docs/planner.md from its template and the records of the planner's benchmarks: ``make planner`` does both."""

import json
from pathlib import Path

import numpy as np

from etsearch.evaluation.report.tables import Table
from etsearch.planning.table import shipped_table

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "records"


def main():
    paper = json.loads((RECORDS / "planner-paper.json").read_text(encoding="utf-8"))
    measured = json.loads((RECORDS / "planner.json").read_text(encoding="utf-8"))
    parts = {
        "cross_validation": cross_validation(),
        "validation": validation(measured),
        "speed": speed(measured["speed"]),
        "assumed": paper["assumed"],
        "paper": best_of(paper["paper"]),
        "paper_flights": flights(paper["paper"]),
        "paper_words": paper_words(paper["paper"]),
        "sensitivity": sensitivity(paper["sensitivity"]),
        "beyond": beyond(paper["beyond"]),
        "users": users(paper["users"]),
    }
    template = (ROOT / "docs" / "planner.template.md").read_text(encoding="utf-8")
    made = "\n\n".join(block.strip("\n") for block in template.format_map(parts).split("\n\n") if block.strip("\n"))
    (ROOT / "docs" / "planner.md").write_text(made + "\n", encoding="utf-8")


def bare(header, rows):
    """A table without a heading."""
    return Table("", header, rows).markdown().partition("\n\n")[2]


def cross_validation():
    """Errors of steps that a fit did not see."""
    rows = [
        (name, str(len(errors)), *(f"{100 * value:.0f} %" for value in quantiles(errors)))
        for name, errors in shipped_table().cross_validate().items()
    ]
    note = (
        "**The card.** Steps that were timed on an H100, predicted by constants fitted to the others: matrix products "
        "with each shape of a model left out in turn, attention in seven parts. Error without its sign."
    )
    return f"{note}\n\n{bare(('kernel', 'timed', 'median', '90 %', 'worst'), rows)}"


def quantiles(errors):
    return (float(np.quantile(np.abs(errors), share)) for share in (0.5, 0.9, 1.0))


def best_rows(rows, *keys):
    """Of every combination of these keys the row with most problems an hour."""
    best = {}
    for row in rows:
        key = tuple(row[name] for name in keys)
        if key not in best or row["per_hour"] > best[key]["per_hour"]:
            best[key] = row
    return best


def best_of(rows):
    best = best_rows(rows, "strategy")
    rebase = best["rebase",]
    made = []
    for row in best.values():
        total = row["step_s"] * row["num_steps"]
        made.append(
            (
                row["strategy"],
                f"{row['per_hour']:,.0f}",
                str(row["in_flight"]),
                f"{row['per_hour'] / rebase['per_hour']:.2f}×",
                f"{rebase['kv_tokens'] / row['kv_tokens']:.2f}×",
                f"{row['generated_tokens'] / rebase['generated_tokens']:.2f}",
                f"{1000 * row['step_s']:.1f}",
                *(f"{row[name] / total:.0%}" for name in ("weights_s", "kv_s", "arithmetic_s", "recompute_s")),
                f"{row['mean_waiting']:,.0f}",
                f"{row['num_preemptions'] / row['searches']:,.0f}",
            )
        )
    header = ("strategy", "problems/h", "in flight", "of REBASE's", "less KV", "tokens", "step ms", "weights", "KV")
    return bare((*header, "arithmetic", "again", "waiting", "preempted a search"), made)


def flights(rows):
    """Table 2's shape: problems an hour by searches in flight."""
    numbers = sorted({row["in_flight"] for row in rows})
    names = dict.fromkeys(row["strategy"] for row in rows)
    at = {(row["strategy"], row["in_flight"]): row["per_hour"] for row in rows}
    made = [(name, *(f"{at[name, number]:,.0f}" for number in numbers)) for name in names]
    return bare(("problems an hour, in flight", *map(str, numbers)), made)


def paper_words(rows):
    best = best_rows(rows, "strategy")
    rebase = best["rebase",]
    ets = [row for (name,), row in best.items() if name.startswith("ets")]
    told = [
        f"`{row['strategy']}`: {row['per_hour'] / rebase['per_hour']:.2f} times at "
        f"{rebase['kv_tokens'] / row['kv_tokens']:.2f} times less KV"
        for row in ets
    ]
    at = {(row["strategy"], row["in_flight"]): row for row in rows}
    slower = at["beam", 8]["per_hour"] / at["rebase", 8]["per_hour"]
    same = ", ".join(
        f"{at['ets, 2', number]['per_hour'] / at['rebase', number]['per_hour']:.2f} with {number}"
        for number in (4, 8, 16, 32)
    )
    return (
        f"{'; '.join(told)}, each at its best number in flight. At the same number, `lambda_b` 2 solves as many times "
        f"REBASE's problems: {same}. With 8 in flight REBASE takes {slower:.2f} times as long as beam search."
    )


def sensitivity(rows):
    made = []
    for name in dict.fromkeys(row["assumption"] for row in rows):
        best = best_rows([row for row in rows if row["assumption"] == name], "strategy")
        beam, rebase, ets = best["beam",], best["rebase",], best["ets, 2",]
        made.append(
            (
                name,
                f"{rebase['per_hour']:,.0f}",
                f"{ets['per_hour'] / rebase['per_hour']:.2f}×",
                f"{rebase['kv_tokens'] / ets['kv_tokens']:.2f}×",
                f"{beam['per_hour'] / rebase['per_hour']:.2f}×",
            )
        )
    header = ("trees", "REBASE, problems/h", "ETS of REBASE's", "less KV", "beam search of REBASE's")
    return bare(header, made)


def beyond(rows):
    best = best_rows(rows, "card", "kernel", "draws", "strategy")
    made = []
    for (card, kernel, draws, strategy), row in best.items():
        base = best[card, "paged", "as in the paper", "rebase"]
        cells = (f"{row['per_hour']:,.0f}", str(row["in_flight"]), f"{row['per_hour'] / base['per_hour']:.2f}×")
        made.append((card, kernel, draws, strategy, *cells))
    header = ("card", "attention", "draws", "strategy", "problems/h", "in flight", "of REBASE's there")
    note = (
        "`together` is `ets(lambda_b=1.75, leaves=steps, node_cost=tokens, inherit=true)`; `tree` attention reads a "
        "page that sequences share once for all of them."
    )
    return f"{note}\n\n{bare(header, made)}"


def users(rows):
    made = [
        (
            str(row["users"]),
            row["strategy"],
            f"{row['per_hour']:,.0f}",
            f"{row['latency_mean_s']:.0f}",
            f"{row['latency_p95_s']:.0f}",
            f"{row['mean_kv']:,.0f} of {row['cache_tokens']:,}",
        )
        for row in rows
    ]
    return bare(("users", "strategy", "problems/h", "mean s", "95 % s", "KV in use"), made)


def validation(record):
    """Whole runs that were measured here, beside what was predicted from single steps."""
    made = []
    for engine in record["engines"]:
        cells = engine["cells"]
        rows = [
            (
                cell["strategy"],
                str(cell["width"]),
                str(cell["in_flight"]),
                cell["cache"],
                str(len(cell["measured_s_of_repeats"])) if "measured_s_of_repeats" in cell else "1",
                f"{cell['predicted_s']:.2f}",
                f"{cell['measured_s']:.2f}",
                f"{100 * (cell['predicted_s'] / cell['measured_s'] - 1):+.0f} %",
                *ratio(cell),
            )
            for cell in cells
        ]
        errors = [cell["predicted_s"] / cell["measured_s"] - 1 for cell in cells]
        of_ratios = [c["predicted_ratio"] / c["measured_ratio"] - 1 for c in cells if c.get("measured_ratio")]
        median, high, worst = quantiles(errors)
        words = (
            f"**{engine['name']}.** {len(cells)} runs; times are off by {median:.0%} in the median, {high:.0%} for "
            f"nine of ten, {worst:.0%} at worst"
        )
        if of_ratios:
            median, high, worst = quantiles(of_ratios)
            words += f"; ratios to REBASE by {median:.0%}, {high:.0%}, {worst:.0%}"
        spreads = [spread for cell in cells if (spread := spread_of(cell))]
        if spreads:
            median, _, worst = quantiles(spreads)
            words += (
                f". Of the times that a row was run the slowest took {median:.0%} longer than the fastest in the "
                f"median, {worst:.0%} at worst, with what was predicted for each divided out"
            )
        header = (
            "strategy",
            "width",
            "in flight",
            "cache",
            "times run",
            "predicted s",
            "measured s",
            "error",
            "to REBASE",
            "measured",
            "error",
        )
        made += [f"{words}. {engine['note']}", bare(header, rows)]
    return "\n\n".join(made)


def spread_of(cell):
    """By how much the machine's pace moved between the times that a row was run; None if it was run once."""
    if len(cell.get("measured_s_of_repeats", ())) < 2:
        return None
    pairs = zip(cell["measured_s_of_repeats"], cell["predicted_s_of_repeats"], strict=True)
    paces = [measured / predicted for measured, predicted in pairs]
    return max(paces) / min(paces) - 1


def speed(rows):
    made = [
        (
            str(row["searches"]),
            f"{row['steps']:,}",
            f"{row['tokens']:,}",
            f"{row['cpu_s']:.1f}",
            f"{1e6 * row['cpu_s'] / row['steps']:.0f}",
        )
        for row in rows
    ]
    return bare(("searches", "steps of the engine", "tokens", "CPU seconds", "µs a step"), made)


def ratio(cell):
    if not cell.get("measured_ratio"):
        return "–", "–", "–"
    predicted, measured = cell["predicted_ratio"], cell["measured_ratio"]
    return f"{predicted:.2f}", f"{measured:.2f}", f"{100 * (predicted / measured - 1):+.0f} %"


if __name__ == "__main__":
    main()

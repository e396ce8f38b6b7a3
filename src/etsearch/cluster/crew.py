"""The workers of a run on a Ray cluster: brought up, looked after, handed searches."""

import asyncio
import importlib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from etsearch.cluster.introduction import Introduction, Place, code_sha256
from etsearch.cluster.settings import ClusterSettings
from etsearch.cluster.worker import Worker
from etsearch.errors import ClusterError, ConfigError, MissingDependencyError, UnavailableError
from etsearch.evaluation.run.crew import DepthDone, MovedError, NodeFigures, SearchDone, Task
from etsearch.evaluation.run.kept import OpenSearch
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.record import Key
from etsearch.evaluation.run.served import with_addresses
from etsearch.types import Identity

LOOK_S: Final = 1.0
"""Pause between two looks at what nodes there are."""
PATIENCE_S: Final = 15.0
"""How long no worker may be ready before it is said."""
MAX_FAILED_STARTS: Final = 10
"""Workers that may end one after the other before they were ready, with none that is."""
_REASON_LETTERS: Final = 300


@dataclass(eq=False)
class _Hired:
    """A worker as the driver knows it. One that was refused is kept, so that no other comes to its place."""

    name: str
    actor: Any
    place: Place | None = None
    state: str = "starting"
    searches: dict[Key, bool] = field(default_factory=dict)
    """Those in flight, and whether each is being handed on."""

    def __str__(self) -> str:
        return f"{self.name} on {_node_name(self.place)}" if self.place else self.name


def _node_name(place: Place) -> str:
    return f"{place.host} ({place.node[:6]})"


@asynccontextmanager
async def ray_crew(
    recipe: Recipe, settings: ClusterSettings, notify: Callable[[str], None] = lambda _: None
) -> AsyncIterator["RayCrew"]:
    """The workers of a run on a cluster; they end with the block.

    Args:
        recipe: what is run. Its ``concurrency`` is the number of searches in flight on each worker.
        settings: which cluster, and what each worker takes.
        notify: told what a person should know: workers that are refused, lost, missing.

    Raises:
        ConfigError: the recipe measures throughput.
        MissingDependencyError: Ray is not installed.
        ClusterError: the cluster cannot be reached, or none of its workers can be used.
    """
    if recipe.measure != "accuracy":
        raise ConfigError(
            f"measure is {recipe.measure!r}; throughput is measured on one engine, without --ray, and accuracy on a "
            "cluster"
        )
    with _connected(settings) as ray:
        crew = RayCrew(ray, recipe, settings, notify)
        try:
            await crew.begin()
            yield crew
        finally:
            await crew.end()


@contextmanager
def _connected(settings: ClusterSettings) -> Iterator[Any]:
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise MissingDependencyError("a cluster", "ray") from None
    own = {"include_dashboard": False} if settings.address == "local" else {}
    if own:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=settings.address, logging_level="warning", **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ClusterError(f"the cluster {settings.address!r} cannot be reached: {_brief(error)}") from error
    signal.signal(signal.SIGTERM, before)  # Ray puts one of its own in its place
    try:
        yield ray
    finally:
        ray.shutdown()


def _brief(error: object) -> str:
    """What is told of an error of Ray's, whose texts have many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("The actor is dead because")]
    telling = telling or [line for line in lines if line.startswith("The actor died because")] or lines[-1:]
    return " ".join(telling)[:_REASON_LETTERS]


@final
class RayCrew:
    """The workers of a run. Made by ``ray_crew``."""

    def __init__(self, ray: Any, recipe: Recipe, settings: ClusterSettings, notify: Callable[[str], None]) -> None:
        self._ray, self._recipe, self._settings, self._notify = ray, recipe, settings, notify
        self._workers: list[_Hired] = []
        self._first: Introduction | None = None
        self._trouble: Exception | None = None
        self._news = asyncio.Condition()
        self._num_waiting = 0
        self._num_hired = 0
        self._failed_starts = 0
        self._done: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def identities(self) -> Mapping[str, Identity]:
        assert self._first is not None, "a crew has begun once one worker is ready"
        return self._first.identities

    @property
    def nodes(self) -> tuple[NodeFigures, ...]:
        ready = [w for w in self._workers if w.state == "ready" and w.place]
        names = dict.fromkeys([*self._done, *(_node_name(w.place) for w in ready if w.place)])
        there = {name: [w for w in ready if w.place and _node_name(w.place) == name] for name in names}
        return tuple(
            NodeFigures(name, len(at), sum(len(w.searches) for w in at), self._done[name]) for name, at in there.items()
        )

    @property
    def pids(self) -> dict[int, str]:
        """The processes of the workers that are ready, and the ids of their nodes."""
        return {w.place.pid: w.place.node for w in self._workers if w.state == "ready" and w.place}

    async def begin(self) -> None:
        """Brings workers up; there is one that is ready when this returns. Raises ClusterError if none can be used."""
        self._start(self._look_after())
        async with self._news:
            await self._news.wait_for(lambda: self._trouble or self._first)
        if self._trouble:
            raise self._trouble

    async def end(self) -> None:
        """Lets go of all workers; they end with the connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self._workers:
            self._ray.kill(worker.actor)

    # --- who is there -------------------------------------------------------------------------------------------------

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._trouble = error if isinstance(error, Exception) else ClusterError(str(error))
            self._start(self._tell())

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _look_after(self) -> None:
        """Keeps as many workers as there are to be: those that are missing are hired again."""
        idle_since, has_said = time.monotonic(), False
        while True:
            nodes = [node for node in await asyncio.to_thread(self._ray.nodes) if node["Alive"]]
            alive = {node["NodeID"] for node in nodes}
            self._workers = [w for w in self._workers if w.place is None or w.place.node in alive or w.state == "ready"]
            wanted = self._settings.workers or sum(self._room(node["Resources"]) for node in nodes)
            if not wanted and self._settings.address == "local":
                raise ClusterError(f"this machine has no room for a worker, which takes {self._takes}")
            for _ in range(wanted - len(self._workers)):
                self._hire()
            if any(w.state == "ready" for w in self._workers):
                idle_since, has_said = time.monotonic(), False
            elif not has_said and time.monotonic() - idle_since > PATIENCE_S:
                has_said = True
                self._notify(
                    f"no worker is ready; waiting for a node with room for one, which takes {self._takes} "
                    f"({len(nodes)} nodes are there)"
                )
            await asyncio.sleep(LOOK_S)

    @property
    def _takes(self) -> str:
        return " and ".join(f"{amount:g} {name}" for name, amount in self._settings.needs.items())

    def _room(self, resources: Mapping[str, float]) -> int:
        return int(min(resources.get(name, 0) / amount for name, amount in self._settings.needs.items()))

    def _hire(self) -> None:
        self._num_hired += 1
        name = f"worker {self._num_hired}"
        options = {"num_cpus": self._settings.cpus, "num_gpus": self._settings.gpus, "scheduling_strategy": "SPREAD"}
        actor = self._ray.remote(Worker).options(**options, max_concurrency=100_000).remote(name)
        worker = _Hired(name, actor)
        self._workers.append(worker)
        self._start(self._attend(worker))

    async def _attend(self, worker: _Hired) -> None:
        """Brings a worker up, and stays until it goes away."""
        errors = self._ray.exceptions
        try:
            if await self._bring_up(worker):
                self._failed_starts = 0
                await self._tell()
                self._even_out()
            await worker.actor.attend.remote()
        except errors.RayActorError as error:
            self._workers.remove(worker)
            lost = worker.state
            worker.state = "gone"
            self._notify(f"{worker} went away: {_brief(error)}")
            if lost == "starting":
                self._failed_starts += 1
                if self._failed_starts >= MAX_FAILED_STARTS and not any(w.state == "ready" for w in self._workers):
                    raise ClusterError(
                        f"{self._failed_starts} workers ended before they were ready, the last: {_brief(error)}"
                    ) from error
        except errors.RayTaskError as error:
            raise ClusterError(f"{worker}: {error}") from error

    async def _bring_up(self, worker: _Hired) -> bool:
        """Whether a worker can be used; one that differs is refused by name."""
        worker.place = place = Place(**await worker.actor.introduce.remote())
        here = Place.of("")
        if (place.etsearch, place.code) != (here.etsearch, here.code):
            theirs, ours = f"{place.etsearch} ({place.code[:12]})", f"{here.etsearch} ({code_sha256()[:12]})"
            return self._refuse(worker, [f"its etsearch is {theirs}, and the driver's {ours}; install the same"])
        told = await worker.actor.open.remote(with_addresses(self._recipe).plain(), str(Path.cwd()))
        if isinstance(told, str):
            return self._refuse(worker, [told])
        self._first = self._first or told
        if different := self._first.differences(told):
            return self._refuse(worker, different)
        worker.state = "ready"
        return True

    def _refuse(self, worker: _Hired, reasons: list[str]) -> bool:
        worker.state = "refused"
        self._notify(f"{worker} is refused: {'; '.join(reasons)}")
        if all(w.state == "refused" for w in self._workers):
            raise ClusterError(f"no worker can be used; {worker} is refused: {'; '.join(reasons)}")
        return False

    # --- who does what ------------------------------------------------------------------------------------------------

    async def seat(self, concurrency: int) -> "_RaySeat":
        """Room at the worker with the fewest searches. Raises ClusterError where no worker can be used any more."""
        self._num_waiting += 1
        try:
            async with self._news:
                await self._news.wait_for(lambda: self._trouble or self._freest(concurrency))
        finally:
            self._num_waiting -= 1
        if self._trouble:
            raise self._trouble
        worker = self._freest(concurrency)
        assert worker is not None, "it was waited for"
        return _RaySeat(self, worker)

    def _freest(self, concurrency: int) -> _Hired | None:
        free = [w for w in self._workers if w.state == "ready" and len(w.searches) < concurrency]
        return min(free, key=lambda w: len(w.searches), default=None)

    def _even_out(self) -> None:
        """Where nothing waits and a worker has nothing to do, has the fullest hand one of its searches on."""
        ready = [w for w in self._workers if w.state == "ready"]
        moving = sum(sum(w.searches.values()) for w in ready)
        idle = sum(not w.searches for w in ready)
        if self._num_waiting or idle <= moving:
            return
        staying = {w: [key for key, is_moving in w.searches.items() if not is_moving] for w in ready}
        fullest = max(ready, key=lambda w: len(staying[w]))
        if len(staying[fullest]) > 1:
            key = staying[fullest][-1]
            fullest.searches[key] = True
            fullest.actor.hand_on.remote(key)

    async def run(
        self, worker: _Hired, task: Task, kept: OpenSearch | None, on_depth: Callable[[DepthDone], None]
    ) -> SearchDone:
        """Runs a search on a worker."""
        errors = self._ray.exceptions
        told = worker.actor.search.options(num_returns="streaming").remote(task, kept.pack() if kept else None)
        try:
            async for reference in told:
                one = await reference
                if isinstance(one, DepthDone):
                    on_depth(one)
                elif isinstance(one, SearchDone):
                    if worker.place:
                        self._done[_node_name(worker.place)] += 1
                    return one
                elif one is None:
                    raise MovedError(f"{worker} handed it on", was_lost=False)
                else:
                    raise UnavailableError(f"{worker}: {one}")
        except errors.RayTaskError as error:
            raise ClusterError(f"{worker}: {error}") from error
        except (errors.RayActorError, errors.ObjectLostError) as error:
            raise MovedError(f"{worker} went away: {_brief(error)}", was_lost=True) from error
        raise MovedError(f"{worker} ended it before its end", was_lost=True)

    def leave(self, worker: _Hired, key: Key) -> None:
        worker.searches.pop(key, None)
        self._start(self._leave())

    async def _leave(self) -> None:
        await self._tell()
        await asyncio.sleep(0)
        self._even_out()


@final
class _RaySeat:
    """Room for one search on a worker."""

    def __init__(self, crew: RayCrew, worker: _Hired) -> None:
        self._crew, self._worker = crew, worker
        self._key = Key("", "", 0, id(self))
        worker.searches[self._key] = True  # taken, and nothing to hand on yet

    async def search(self, task: Task, kept: OpenSearch | None, on_depth: Callable[[DepthDone], None]) -> SearchDone:
        """See ``Seat.search``."""
        del self._worker.searches[self._key]
        self._key = task.key
        self._worker.searches[self._key] = False
        return await self._crew.run(self._worker, task, kept, on_depth)

    def leave(self) -> None:
        self._crew.leave(self._worker, self._key)

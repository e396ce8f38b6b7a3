"""All searches of a gateway, from their coming to their end."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from etsearch.errors import EtsearchError, QuestionError, RecordError, UnavailableError
from etsearch.loop.events import Event, Selected
from etsearch.loop.prompt import encode
from etsearch.loop.result import SearchResult
from etsearch.loop.search import search
from etsearch.loop.state import SearchState
from etsearch.servers.presence import TellsPresence
from etsearch.serving import replies
from etsearch.serving.asked import Asked, read
from etsearch.serving.config import Config
from etsearch.serving.engines import Engine, Serving, open_all
from etsearch.serving.figures import Figures
from etsearch.serving.jobs import Job, Jobs
from etsearch.serving.keys import Key, Keys
from etsearch.serving.logs import Log
from etsearch.serving.running import Running, Status, answer_text
from etsearch.serving.trouble import ApiError, failure_of, not_found, shutting_down
from etsearch.types import StopReason

KEPT: Final = 32
"""Searches that are over and can still be looked at; those in the background longer."""
LOOK_S: Final = 0.5
"""Pause between two looks at the engines, for the figures."""
RETRY_S: Final = 0.5
"""Pause before a search goes on whose engine went away."""
LATELY_S: Final = 300.0
"""What the page counts searches an hour and latencies over."""
READY_S: Final = 2.0
"""How long an engine may take to say that it is there."""


class Gateway:
    """Takes searches in, runs them, keeps what has to be kept. Made by ``open_gateway``."""

    def __init__(
        self, config: Config, keys: Keys, serving: dict[str, Serving], jobs: Jobs, log: Log, figures: Figures
    ) -> None:
        self.config, self.keys, self.serving, self.jobs, self.log = config, keys, serving, jobs, log
        self.figures, self.started_at = figures, time.time()
        self.open: dict[str, Running] = {}
        """Searches under way or waiting, by id."""
        self.is_draining = False
        self._over: OrderedDict[str, Running] = OrderedDict()
        self._writes: set[asyncio.Task[None]] = set()

    @property
    def engines(self) -> list[Engine]:
        """Each once."""
        return list({id(s.engine): s.engine for s in self.serving.values()}.values())

    def read(self, body: Any) -> Asked:
        """What a body asks for. Raises ApiError."""
        return read(body, {name: serving.profile for name, serving in self.serving.items()})

    async def submit(self, asked: Asked, key: Key) -> Running:
        """Takes a search in. Raises ApiError if there is no room for it, or the gateway ends."""
        running = Running(asked, key)
        self._check_room(key)
        await self._check_readable(running)
        self._check_room(key)  # others may have come meanwhile
        self._begin(running, None)
        if asked.background:
            await self.jobs.add(self._job(running))
        return running

    def _check_room(self, key: Key) -> None:
        if self.is_draining:
            raise shutting_down()
        wait = self._expected_wait_s()
        key.check_room(wait)
        if len(self.open) >= self.config.most_open:
            message = f"{len(self.open)} searches are under way or waiting, as many as may be"
            raise ApiError(429, message, kind="rate_limit_error", code="too_many_searches", retry_after_s=wait)

    async def _check_readable(self, running: Running) -> None:
        """Raises ApiError for a question that the model cannot read, before anything else is answered."""
        try:
            await encode(self.serving[running.asked.model].parts.generator, running.asked.problem)
        except QuestionError as error:
            raise failure_of(error, running.id) from None
        except EtsearchError:
            return  # the search will say so, or wait for an engine that is away

    def _begin(self, running: Running, state: SearchState | None) -> None:
        running.key.num_open += 1
        self.open[running.id] = running
        running.task = asyncio.create_task(self._run(running, state), name=running.id)

    async def _run(self, running: Running, state: SearchState | None) -> None:
        """Runs a search to its end, whatever that is; afterwards its status says which."""
        error: Exception | None = None
        try:
            result = _check_found(await self._search(running, state))
            running.result, running.answer = result, answer_text(result, running.kept)
            self._end(running, Status.DONE)
        except asyncio.CancelledError:
            if not self.is_draining:
                self._end(running, Status.CANCELLED)
        except Exception as raised:  # noqa: BLE001 - whatever it is, the client hears of a failure and the log of it
            error = None if isinstance(raised, QuestionError) else raised
            running.result, running.failure = None, failure_of(raised, running.id)
            self._end(running, Status.FAILED)
        finally:
            running.key.num_open -= 1
            self.open.pop(running.id, None)
        if running.status.is_over:
            await self._settle(running, error)

    async def _search(self, running: Running, state: SearchState | None) -> SearchResult:
        """The search; an engine that goes away is waited for, and it goes on from its last depth."""
        asked, serving = running.asked, self.serving[running.asked.model]
        away_since: float | None = None
        while True:
            share = serving.engine.market.share(running.key.name, running.key.entry.weight)
            depth = len(state.depths) if state else 0
            try:
                return await search(
                    asked.problem,
                    serving.parts,
                    asked.settings,
                    on_event=lambda event: self._listen(running, event),
                    resume=state,
                    watch=serving.engine.watch,
                    share=share,
                )
            except UnavailableError as error:
                state = error.state or state
                now = time.monotonic()
                if away_since is None or (state and len(state.depths) > depth):
                    away_since = now
                if now - away_since >= self.config.patience_s:
                    raise
                self.log.tell("engine_away", logging.WARNING, search=running.id, engine=serving.engine.name)
                await asyncio.sleep(RETRY_S)

    def _listen(self, running: Running, event: Event) -> None:
        running.listen(event)
        if running.asked.background and isinstance(event, Selected) and event.state.expansions:
            self._write(self.jobs.keep(running.id, event.state.to_dict()))

    def _write(self, writing: Any) -> None:
        """Writes while the search goes on; the file's own thread keeps the order."""
        task = asyncio.ensure_future(writing)
        self._writes.add(task)
        task.add_done_callback(self._written)

    def _written(self, task: "asyncio.Task[None]") -> None:
        self._writes.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.log.tell("jobs_cannot_be_written", logging.ERROR, error)

    def _end(self, running: Running, status: Status) -> None:
        running.end(status)
        self._over[running.id] = running
        while len(self._over) > KEPT:
            self._over.popitem(last=False)

    async def _settle(self, running: Running, error: Exception | None) -> None:
        self.figures.note_end(running)
        self.log.end(running, error)
        if running.asked.background:
            answer = replies.search(running, with_tree=True)
            await self.jobs.finish(running.id, str(running.status), answer, running.finished_at or time.time())

    def _expected_wait_s(self) -> float:
        """When there may be room again: what searches take, over how many end side by side."""
        side_by_side = max(1, sum(engine.market.figures.num_running for engine in self.engines))
        return min(60.0, max(1.0, self.figures.mean_seconds / side_by_side))

    async def find(self, search_id: str, key: Key, *, with_tree: bool) -> dict[str, Any]:
        """A search of a key's own. Raises ApiError if there is none."""
        running = self.open.get(search_id) or self._over.get(search_id)
        if running is not None and running.key.name == key.name:
            return replies.search(running, with_tree=with_tree)
        job = None if running else await self.jobs.get(search_id)
        if job is None or job.key != key.name:
            raise not_found("search of this id")
        return self._of_job(job, with_tree=with_tree)

    @staticmethod
    def _of_job(job: Job, *, with_tree: bool) -> dict[str, Any]:
        answer = job.answer or {"id": job.id, "object": "search", "status": job.status, "model": job.model}
        return answer if with_tree else {name: value for name, value in answer.items() if name != "tree"}

    async def cancel(self, search_id: str, key: Key) -> dict[str, Any]:
        """Stops a search of a key's own, down to the engine; one that is over stays as it is. Raises ApiError."""
        running = self.open.get(search_id)
        if running is not None and running.key.name == key.name:
            await self.stop(running)
        return await self.find(search_id, key, with_tree=False)

    async def stop(self, running: Running) -> None:
        """Stops a search, and waits until it has left the engine."""
        if running.task is not None:
            running.task.cancel()
            await asyncio.wait([running.task])

    async def is_ready(self) -> bool:
        """Whether every engine is there, and searches are taken in."""
        if self.is_draining:
            return False
        parts: set[object] = {p for s in self.serving.values() for p in (s.parts.generator, s.parts.reward_model)}
        asked = [part for part in parts if isinstance(part, TellsPresence)]
        try:
            async with asyncio.timeout(READY_S):
                there = await asyncio.gather(*(part.is_there() for part in asked))
        except TimeoutError:
            return False
        return all(there)

    def live(self, key: Key, since: float) -> dict[str, Any]:
        """What the page shows: the market since a moment, and the searches of a key, those that are over first."""
        mine = [r for r in (*self._over.values(), *self.open.values()) if r.key.name == key.name]
        return {
            "now": time.time(),
            "started_at": self.started_at,
            "is_draining": self.is_draining,
            "num_open": len(self.open),
            "looks": self.figures.looks(since),
            "ended": [end for end in self.figures.ended if end[0] > time.time() - LATELY_S],
            "searches": [self._live_search(running) for running in mine],
        }

    def _live_search(self, running: Running) -> dict[str, Any]:
        depths = running.state.depths if running.state else []
        return {
            "id": running.id,
            "model": running.asked.model,
            "status": str(running.status),
            "created_at": running.created_at,
            "finished_at": running.finished_at,
            "width": running.asked.settings.width,
            "depth": len(depths),
            "price": running.price,
            "kv_tokens": depths[-1].kv_tokens if depths else 0,
            "answer": running.result.answer if running.result else None,
        }

    async def watch(self) -> None:
        """Looks at the engines now and then, for the figures, until it is cancelled."""
        while True:
            for engine in self.engines:
                try:
                    stats = await engine.generator.stats()
                except EtsearchError:
                    use = None
                else:
                    engine.market.observe(stats)
                    use = stats.cache_use
                self.figures.look(engine.name, engine.market.figures, use)
            await asyncio.sleep(LOOK_S)

    async def go_on(self) -> int:
        """Takes up the searches that were unfinished when a gateway ended; returns how many."""
        await self.jobs.forget(self.config.keep_days)
        unfinished = await self.jobs.unfinished()
        for job in unfinished:
            try:
                running, state = self._of_unfinished(job)
            except (ApiError, RecordError) as error:
                self.log.tell("job_cannot_go_on", logging.ERROR, error, search=job.id)
                gone = ApiError(500, "the model of this search has changed since; ask again", kind="server_error")
                answer = {**self._of_job(job, with_tree=False), "status": "failed", "error": gone.body["error"]}
                await self.jobs.finish(job.id, "failed", answer, time.time())
            else:
                self._begin(running, state)
        return len(unfinished)

    def _of_unfinished(self, job: Job) -> tuple[Running, SearchState | None]:
        asked = replace(self.read(job.request), background=True)
        if self.serving[asked.model].profile.plain() != job.profile:
            raise RecordError(f"the profile {asked.model!r} is another now")
        state = SearchState.from_dict(job.state) if job.state else None
        return Running(asked, self.keys.named(job.key), job.id, job.created_at), state

    def _job(self, running: Running) -> Job:
        state = running.snapshot
        return Job(
            id=running.id,
            key=running.key.name,
            model=running.asked.model,
            created_at=running.created_at,
            finished_at=None,
            status=str(running.status),
            request=running.asked.body,
            profile=self.serving[running.asked.model].profile.plain(),
            state=state.to_dict() if state is not None and state.expansions else None,
        )

    async def drain(self) -> None:
        """Takes no more in, waits for what is under way, and keeps what is still unfinished then."""
        if self.is_draining:
            return
        self.is_draining = True
        self.log.tell("draining", num_open=len(self.open))
        tasks = [running.task for running in self.open.values() if running.task]
        if tasks:
            await asyncio.wait(tasks, timeout=self.config.drain_s)
        unfinished = list(self.open.values())
        for running in unfinished:
            await self.stop(running)
            await self.jobs.add(self._job(running))
            running.failure = ApiError(
                503,
                f"the gateway is shutting down; the search goes on when it is back: GET /v1/searches/{running.id}",
                kind="server_error",
                code="shutting_down",
                retry_after_s=10,
            )
            running.end(running.status)
        if self._writes:
            await asyncio.wait(self._writes)
        self.log.tell("drained", num_kept=len(unfinished))


def _check_found(result: SearchResult) -> SearchResult:
    """Raises EtsearchError for a search all of whose trajectories were lost."""
    if result.stop_reason is StopReason.FAILED:
        raise EtsearchError(result.failures[0].reason if result.failures else "every trajectory was lost")
    return result


@asynccontextmanager
async def open_gateway(config: Config, log: Log) -> AsyncIterator[Gateway]:
    """A gateway with all its parts, which goes on with what is unfinished; drained and closed at the end.

    Raises:
        ConfigError, MissingDependencyError: something that it needs cannot be made or read.
    """
    async with AsyncExitStack() as stack:
        keys = Keys.load(config.keys)
        jobs = await stack.enter_async_context(Jobs(config.jobs))
        serving = await open_all(config.profiles, config.market, stack)
        gateway = Gateway(config, keys, serving, jobs, log, Figures())
        stack.push_async_callback(gateway.drain)
        watching = asyncio.create_task(gateway.watch())
        stack.callback(watching.cancel)
        num_taken_up = await gateway.go_on()
        log.tell("ready", profiles=list(serving), num_taken_up=num_taken_up)
        yield gateway

"""The thread that drives an OpenVINO GenAI pipeline, and the two ways a request is put to it."""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, Protocol

from etsearch.errors import EngineError, EngineOverloadedError
from etsearch.generators._kv_room import BLOCK_TOKENS, KvRoom, Need
from etsearch.generators._lengths import Lengths
from etsearch.generators._prefix_book import Place, PrefixBook
from etsearch.generators.in_process import CacheUses, Output, SpanWatch
from etsearch.models.threads import Job, ModelThread
from etsearch.types import EngineStats

_logger = logging.getLogger(__name__)

MAX_BATCHED_TOKENS: Final = 2048
"""Tokens of prefixes and of running sequences that one step computes at most."""


class Work(Protocol):
    """A request inside the pipeline."""

    place: Place

    def poll(self) -> list[Output] | None:
        """The outputs once all are there, else None. Raises EngineError if the pipeline gave the request up."""

    def cancel(self) -> None:
        """Takes it out of the pipeline at the next step."""


class _Job(Job[list[Output]]):
    """A request: ``start`` hands it to the pipeline in the worker's thread; ``stop`` can end its sequences."""

    def __init__(self, start: Callable[[], Work], need: Need, stop: tuple[str, ...]) -> None:
        super().__init__()
        self.start, self.need, self.stop = start, need, stop
        self.work: Work | None = None
        self.is_kept = False
        """Whether others may find its prefix."""

    @property
    def unread(self) -> tuple[Place, ...]:
        """Its place, while the pipeline reads its prefix."""
        return () if self.work is None or self.need.is_read else (self.work.place,)

    def poll(self) -> list[Output] | None:
        return self.work.poll() if self.work is not None else None

    def cancel(self) -> None:
        if self.work is not None:
            self.work.cancel()

    def fail(self, error: Exception) -> None:
        super().fail(error)
        try:
            self.cancel()
        except Exception:
            _logger.exception("a request that failed could not be taken out of the pipeline")


class Group:
    """All sequences of a request as one pipeline request, which forks them off one prefix."""

    def __init__(self, pipeline: "PipelineThread", place: Place, config: Any) -> None:
        self.place = place
        self._handle = pipeline.add(place, config)

    def poll(self) -> list[Output] | None:
        status = self._handle.get_status().name
        if status == "IGNORED":
            raise _no_room()
        if status != "FINISHED":
            return None
        return [Output(tuple(o.generated_ids), tuple(o.generated_log_probs)) for o in self._handle.read_all()]

    def cancel(self) -> None:
        self._handle.cancel()


class _Branch:
    """One sequence that is read token by token and stopped when its text holds a delimiter."""

    def __init__(self, handle: Any, texts: Sequence[str], stop: Sequence[str]) -> None:
        self.handle, self._watch = handle, SpanWatch(texts, stop)
        self.ids: list[int] = []
        self._log_probabilities: list[float] = []
        self.is_done = False

    def poll(self) -> None:
        status = self.handle.get_status().name
        while not self.is_done and self.handle.can_read():
            for output in self.handle.read().values():
                self._take(output)
        if not self.is_done and status == "IGNORED":
            raise _no_room()
        self.is_done = self.is_done or status == "FINISHED"

    def _take(self, output: Any) -> None:
        self._log_probabilities += output.generated_log_probs
        self.ids += output.generated_ids
        if self._watch.has_ended(output.generated_ids):
            self.is_done = True
            self.handle.stop()

    @property
    def output(self) -> Output:
        return Output(tuple(self.ids), tuple(self._log_probabilities))


class Watched:
    """The sequences of a request as pipeline requests of their own, read token by token.

    The pipeline streams a request only if it has one sequence. The first goes ahead by one token, so that the
    others find its prefix in the cache.
    """

    def __init__(
        self, place: Place, add: Callable[[int], Any], count: int, texts: Sequence[str], stop: Sequence[str]
    ) -> None:
        self.place = place
        self._add, self._count, self._texts, self._stop = add, count, texts, stop
        self._branches = [self._branch(0)]

    def _branch(self, index: int) -> _Branch:
        return _Branch(self._add(index), self._texts, self._stop)

    def poll(self) -> list[Output] | None:
        for branch in self._branches:
            branch.poll()
        if len(self._branches) < self._count and self._branches[0].ids:
            self._branches += [self._branch(i) for i in range(1, self._count)]
        if len(self._branches) < self._count or not all(b.is_done for b in self._branches):
            return None
        return [b.output for b in self._branches]

    def cancel(self) -> None:
        for branch in self._branches:
            branch.handle.cancel()


def _no_room() -> EngineError:
    return EngineOverloadedError(
        "the KV cache cannot hold this request even alone; give the engine a larger cache (cache_gb) or ask for fewer"
    )


class PipelineThread(ModelThread[_Job]):
    """The pipeline and the thread that drives it. Only that thread calls it once it runs."""

    def __init__(self, pipeline: Any, num_blocks: int, step_tokens: int = MAX_BATCHED_TOKENS) -> None:
        import openvino as ov  # noqa: PLC0415

        super().__init__("etsearch-openvino")
        self._tensor = ov.Tensor
        self._pipeline, self._room, self._lengths = pipeline, KvRoom(num_blocks, step_tokens), Lengths()
        self._book = PrefixBook(num_blocks)
        self._ids = itertools.count(1)
        self._waiting: deque[_Job] = deque()
        self._jobs: list[_Job] = []
        self._num_preemptions = 0
        self._metrics: Any = None
        self.uses = CacheUses()
        self.start()

    def place(self, prefix: Sequence[int]) -> Place:
        """Where a request's prefix stands in the cache; all its sequences are added there."""
        return self._book.place(prefix)

    def add(self, place: Place, config: Any) -> Any:
        return self._pipeline.add_request(next(self._ids), self._tensor(place.ids[None]), config)

    def submit(self, start: Callable[[], Work], need: Need, stop: tuple[str, ...] = ()) -> "Future[list[Output]]":
        """``start`` is called in the pipeline's thread, once the cache has room for what the request needs.

        It is called once more if the request had to be taken out, and must then lead to the same outputs.
        """
        job = _Job(start, need, stop)
        self.take(job)
        return job.future

    def closed_error(self) -> EngineError:
        return EngineError("the engine is closed; make a new one")

    def failure(self, error: Exception) -> EngineError:
        return EngineError(f"the embedded engine failed: {error}; make a new one")

    def _held_jobs(self) -> list[_Job]:
        return [*self._jobs, *self._waiting]

    def stats(self) -> EngineStats:
        """The figures of the last step, none of which outlast the work that they are of.

        Preemptions are the sequences that this thread took out to begin anew. The pipeline itself preempts none: it
        takes blocks from a sequence only when none is free for another, and it never comes to that (:class:`KvRoom`).
        What finds no room, or was taken out, waits here, and counts as waiting.
        """
        num_jobs, metrics = len(self._jobs), self._metrics
        waiting = self._inbox.qsize() + len(self._waiting)
        if not num_jobs or metrics is None:
            use, running, waiting = 0.0, 0, waiting + num_jobs
        else:
            use, running = metrics.cache_usage / 100, metrics.scheduled_requests
            waiting += max(metrics.requests - running, 0)
        return EngineStats(
            cache_use=use,
            cache_capacity_tokens=self._room.num_blocks * BLOCK_TOKENS,
            num_preemptions=self._num_preemptions,
            block_tokens=BLOCK_TOKENS,
            num_running=running,
            num_waiting=waiting,
        )

    def _serve(self) -> None:
        try:
            while self._take_in():
                if self._jobs:
                    self._step()
                    self._settle()
                self._let_go()
            self._fail_all(self.closed_error())
            for job in self._waiting:
                job.fail(self.closed_error())
            self._let_go()
        finally:
            self._pipeline = None

    def _let_go(self) -> None:
        """What was cancelled leaves the pipeline at a step only."""
        if not self._jobs and self._pipeline.has_non_finished_requests():
            self._step()

    def _step(self) -> None:
        try:
            self._make_room()
            self._pipeline.step()
            self._metrics = self._pipeline.get_metrics()
            use = self._metrics.cache_usage / 100
            self.uses.add(use)
            self._room.count_step(round(use * self._room.num_blocks))
        except Exception as error:  # noqa: BLE001 - whatever the pipeline throws belongs to the callers
            self._fail_all(EngineError(f"OpenVINO GenAI failed while generating: {error}"))

    def _make_room(self) -> None:
        """Takes out requests until what stays fits, whatever it writes.

        The youngest goes of those that can outgrow their room; what was taken out once cannot. Should only such be
        left, as when the pipeline has forgotten a prefix that was shared, the youngest of all goes, but one stays.
        """
        unread: list[Place] = []
        while len(self._jobs) > 1 and not self._room.is_safe:
            job = next((job for job in reversed(self._jobs) if not job.need.is_whole), self._jobs[-1])
            unread += job.unread
            self._num_preemptions += job.need.num_sequences
            self._take_out(job, job.need.whole())
        self._distrust(unread)

    def _take_out(self, job: _Job, need: Need) -> None:
        """It begins anew later, with other needs."""
        job.cancel()
        self._jobs.remove(job)
        self._room.let_go(job.need)
        job.work, job.need, job.is_kept = None, need, False
        self._waiting.appendleft(job)

    def _distrust(self, places: Sequence[Place]) -> None:
        """Nobody may find blocks of requests that left the pipeline before their prefix was read.

        The pipeline names a block when it is begun. Had it dropped a block that such a request was known to find, and
        was it writing it anew, those that are still being read may have found that one half written: they begin anew.
        """
        for place in places:
            self._book.drop(place)
        if any(place.num_known for place in places):
            for job in [job for job in reversed(self._jobs) if job.unread]:
                self._take_out(job, job.need.again())

    def _take_in(self) -> bool:
        """Starts what there is room for; waits for a request if there is none. False once the engine is closed."""
        self._waiting += self._take_arrivals(wait=not (self._jobs or self._waiting))
        if self._is_ending:
            return False
        if not self._jobs:
            self._room.release()
            self._metrics = None  # the pipeline keeps showing its last step, which is no step of what comes now
        while self._waiting and self._can_start(self._waiting[0]):
            self._start(self._waiting.popleft())
        return True

    def _can_start(self, job: _Job) -> bool:
        job.need.expect(self._lengths.likely(job.stop, job.need.max_tokens))
        return job.future.cancelled() or self._room.has_room(job.need)

    def _start(self, job: _Job) -> None:
        try:
            if not job.future.cancelled():
                job.work = job.start()
                self._jobs.append(job)
                self._room.take(job.need)
        except Exception as error:  # noqa: BLE001 - as above
            job.fail(EngineError(f"OpenVINO GenAI refused the request: {error}"))

    def _settle(self) -> None:
        """Answers the callers whose requests are done; by then the figures no longer count them."""
        settled = [(job, answer) for job in self._jobs if (answer := self._answer(job)) is not None]
        done = {id(job) for job, _ in settled}
        self._jobs = [job for job in self._jobs if id(job) not in done]
        for job, answer in settled:
            self._room.let_go(job.need)
            if isinstance(answer, Exception):
                job.fail(answer)
            else:
                job.answer(answer)
                self._keep(job, answer)
        self._distrust([place for job, answer in settled if isinstance(answer, Exception) for place in job.unread])
        for job in self._jobs:
            if job.work is not None and job.need.is_read and not job.is_kept:
                self._book.keep(job.work.place)
                job.is_kept = True

    def _keep(self, job: _Job, outputs: Sequence[Output]) -> None:
        for output in outputs:
            self._lengths.add(job.stop, len(output.ids))
        if job.work is not None:
            self._book.keep(job.work.place, [output.ids for output in outputs])

    @staticmethod
    def _answer(job: _Job) -> list[Output] | Exception | None:
        if job.future.cancelled():
            return EngineError("the caller cancelled the request")
        try:
            return job.poll()
        except EngineError as error:
            return error
        except Exception as error:  # noqa: BLE001 - as above
            return EngineError(f"OpenVINO GenAI failed: {error}")

    def _fail_all(self, error: EngineError) -> None:
        for job in self._jobs:
            job.fail(error)
            self._room.let_go(job.need)
        gone, self._jobs = self._jobs, []
        self._distrust([place for job in gone for place in job.unread])

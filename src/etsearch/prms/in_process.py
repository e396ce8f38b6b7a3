"""Reward models whose network runs in this process: one thread batches over all that wait."""

import asyncio
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from etsearch.errors import RewardError
from etsearch.models.gathering import Wakeups
from etsearch.models.threads import Job, ModelThread
from etsearch.prms.families import Head, PrmFamily
from etsearch.prms.reading import PrmReader, Reading
from etsearch.prms.rewards import rewards_of
from etsearch.types import Identity, Scores, Trajectory

PADDING_SHARE: Final = 0.25
"""Share of padding in a batch above which a longer sequence waits for the next one."""

Figures = list[NDArray[np.float64]]


class Network(Protocol):
    """Sequences of ids in, figures at every token out."""

    def figures(self, sequences: Sequence[tuple[int, ...]]) -> Iterator[tuple[list[int], Figures]]:
        """Batch by batch: which sequences were read, and of each its figures ``[length, d]``; see ``rewards_of``."""
        ...


class _Job(Job[tuple[float, ...]]):
    """A reading that is to be scored."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading


class Scorer(ModelThread[_Job]):
    """The thread that runs a network."""

    def __init__(self, network: Network, head: Head) -> None:
        super().__init__("etsearch-prm")
        self._network, self._head = network, head
        self._jobs: list[_Job] = []
        self.start()

    def submit(self, reading: Reading) -> "Future[tuple[float, ...]]":
        """The rewards at a reading's positions, once they are there."""
        job = _Job(reading)
        self.take(job)
        return job.future

    def closed_error(self) -> RewardError:
        return RewardError("the reward model is closed; make a new one")

    def failure(self, error: Exception) -> RewardError:
        return RewardError(f"the reward model failed: {error}; make a new one")

    def _held_jobs(self) -> list[_Job]:
        return self._jobs

    def _serve(self) -> None:
        while not self._is_ending:
            self._jobs = [job for job in self._take_arrivals(wait=True) if not job.future.cancelled()]
            self._score(self._jobs)

    def _score(self, jobs: list[_Job]) -> None:
        try:
            for batch, figures in self._network.figures([job.reading.ids for job in jobs]):
                if self._is_closed:
                    break
                for i, rows in zip(batch, figures, strict=True):
                    self._answer(jobs[i], rows[list(jobs[i].reading.positions)])
        except Exception as error:  # noqa: BLE001 - whatever the network throws belongs to the callers
            _fail_all(jobs, RewardError(f"the reward model failed: {error}"))
        _fail_all(jobs, RewardError("the reward model was closed"))

    def _answer(self, job: _Job, figures: NDArray[np.float64]) -> None:
        try:
            job.answer(rewards_of(self._head, figures))
        except RewardError as error:
            job.fail(error)


def _fail_all(jobs: list[_Job], error: RewardError) -> None:
    """Those that are answered stay so."""
    for job in jobs:
        job.fail(error)


def batches(lengths: Sequence[int], max_batch: int) -> Iterator[list[int]]:
    """Places of sequences of similar length together, so that little of a batch is padding."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        padding = sum(lengths[place] - lengths[other] for other in batch)
        if batch and (len(batch) == max_batch or padding > PADDING_SHARE * lengths[place] * (len(batch) + 1)):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def pad(sequences: Sequence[tuple[int, ...]], batch: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and attention mask ``[batch, length]`` of a batch of sequences, padded on the right."""
    shape = len(batch), max(len(sequences[i]) for i in batch)
    ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, i in enumerate(batch):
        ids[row, : len(sequences[i])], mask[row, : len(sequences[i])] = sequences[i], 1
    return ids, mask


class InProcessRewardModel(ABC):
    """A PRM of any family whose network runs here; see ``RewardModel`` for what it does."""

    def __init__(self, reader: PrmReader, network: Network, context_tokens: int | None) -> None:
        self._reader, self._context_tokens = reader, context_tokens
        self._scorer = Scorer(network, reader.family.head)
        self._wakeups: Wakeups[tuple[float, ...]] = Wakeups()
        self._stop = weakref.finalize(self, self._scorer.stop)

    @property
    def family(self) -> PrmFamily:
        """How the PRM is read."""
        return self._reader.family

    @property
    def source_folder(self) -> None:
        """The files are what runs here: there is nothing else to compare with."""
        return

    @property
    @abstractmethod
    def identity(self) -> Identity:
        """Which model this is and what runs it."""

    async def score(self, trajectory: Trajectory, first: int) -> Scores:
        """Rewards of the steps ``first`` to last; see :class:`~etsearch.prms.base.RewardModel`."""
        readings = await self._reader.read(trajectory, first)
        for reading in readings:
            self._check(reading)
        jobs = [self._wakeups.result(self._scorer.submit(reading)) for reading in readings]
        rewards = await asyncio.gather(*jobs)
        return Scores(tuple(r for part in rewards for r in part), sum(len(reading.ids) for reading in readings))

    async def room(self, question: str, num_steps: int) -> int | None:
        """See ``etsearch.prms.base.TellsRoom``."""
        known = self._context_tokens
        return None if known is None else await self._reader.room(question, num_steps, known)

    def _check(self, reading: Reading) -> None:
        if self._context_tokens is not None and len(reading.ids) > self._context_tokens:
            raise RewardError(
                f"a trajectory of {len(reading.ids)} tokens does not fit the reward model's {self._context_tokens}; "
                "limit the tokens of a trajectory",
                retryable=False,
            )

    async def aclose(self) -> None:
        """Stops the thread; what waits raises RewardError. A second call does nothing."""
        await asyncio.to_thread(self._stop)

"""A thread that owns a model: only it calls the model, and callers of any event loop wait for futures."""

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Generic, TypeVar

from etsearch.errors import EtsearchError

R = TypeVar("R")


class Job(Generic[R]):
    """What a caller waits for."""

    def __init__(self) -> None:
        self.future: Future[R] = Future()

    def answer(self, result: R) -> None:
        """Gives the caller its result, if the caller still waits."""
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        """Gives the caller an error, if the caller still waits."""
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


J = TypeVar("J", bound=Job)  # type: ignore[type-arg]


class ModelThread(ABC, Generic[J]):
    """Starts, takes work and stops; nobody waits for a thread that is gone.

    A subclass makes what it needs, then calls ``start``.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._inbox: queue.SimpleQueue[J | None] = queue.SimpleQueue()
        self._lock, self._is_closed, self._is_ending = threading.Lock(), False, False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def take(self, job: J) -> None:
        """Takes a job on. Raises ``closed_error`` if the thread was stopped, or is gone."""
        with self._lock:
            if self._is_closed:
                raise self.closed_error()
            self._inbox.put(job)

    def stop(self) -> None:
        """Ends the thread; what is in flight fails. May be called twice, from any thread, and at exit."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    @abstractmethod
    def closed_error(self) -> EtsearchError:
        """What a caller is told of a model that is closed."""

    @abstractmethod
    def failure(self, error: Exception) -> EtsearchError:
        """What callers are told where the thread itself failed."""

    @abstractmethod
    def _serve(self) -> None:
        """Works until ``_is_ending``; then all that was taken is answered."""

    @abstractmethod
    def _held_jobs(self) -> Iterable[J]:
        """Jobs that were taken out of the inbox and are not answered."""

    def _take_arrivals(self, *, wait: bool) -> list[J]:
        """The jobs that have come since; waits for one where told. Nothing comes after ``_is_ending``."""
        came: list[J] = []
        while not self._is_ending and (wait or not self._inbox.empty()):
            job = self._inbox.get()
            if job is None:
                self._is_ending = True
            else:
                came.append(job)
            wait = False
        return came

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001 - nobody must wait for a thread that is gone
            with self._lock:
                self._is_closed = True
            for job in [*self._held_jobs(), *self._take_arrivals(wait=False)]:
                Job.fail(job, self.failure(error))

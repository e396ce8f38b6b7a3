"""Between tasks and those who answer them: many calls go as one, many results come with one wake-up of the loop."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

A = TypeVar("A")
B = TypeVar("B")


class Gathered(Generic[A, B]):
    """A function of one value, for tasks, made of a function of many: what is asked for in one turn of the loop.

    A tokenizer takes hardly longer for a hundred texts than for one, and the tasks of a search wake up together.

    Args:
        call: from values to as many results, in their order. If it raises, each value is tried by itself.
    """

    def __init__(self, call: Callable[[list[A]], Sequence[B]]) -> None:
        self._call = call
        self._waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, list[tuple[A, asyncio.Future[B]]]]
        self._waiting = WeakKeyDictionary()

    async def __call__(self, value: A) -> B:
        """The result for one value, or what the call raises for it."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting.setdefault(loop, [])
        if not waiting:
            loop.call_soon(self._answer, loop)
        future: asyncio.Future[B] = loop.create_future()
        waiting.append((value, future))
        return await future

    def _answer(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = [(value, future) for value, future in self._waiting.pop(loop) if not future.done()]
        if not waiting:
            return
        try:
            results = self._call([value for value, _ in waiting])
        except Exception:  # noqa: BLE001 - it comes again for the value that it belongs to
            for value, future in waiting:
                self._answer_one(value, future)
        else:
            for (_, future), result in zip(waiting, results, strict=True):
                future.set_result(result)

    def _answer_one(self, value: A, future: "asyncio.Future[B]") -> None:
        try:
            future.set_result(self._call([value])[0])
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the caller
            future.set_exception(error)


class Wakeups(Generic[B]):
    """Lets tasks await the futures of another thread; all that are done by then are taken up in one turn of the loop.

    ``asyncio.wrap_future`` wakes the loop up for each of them, which costs the thread a system call.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: WeakKeyDictionary[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[B], Future[B]]]]
        self._done = WeakKeyDictionary()

    async def result(self, future: "Future[B]") -> B:
        """The result of a future; cancelled with the task."""
        loop = asyncio.get_running_loop()
        awaited: asyncio.Future[B] = loop.create_future()
        future.add_done_callback(lambda done: self._hand_over(loop, awaited, done))
        try:
            return await awaited
        finally:
            future.cancel()

    def _hand_over(self, loop: asyncio.AbstractEventLoop, awaited: "asyncio.Future[B]", done: "Future[B]") -> None:
        if done.cancelled() or loop.is_closed():
            return
        with self._lock:
            waiting = self._done.setdefault(loop, [])
            waiting.append((awaited, done))
            is_first = len(waiting) == 1
        if is_first:
            loop.call_soon_threadsafe(self._take_up, loop)

    def _take_up(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            waiting = self._done.pop(loop)
        for awaited, done in waiting:
            if awaited.done():
                continue
            if error := done.exception():
                awaited.set_exception(error)
            else:
                awaited.set_result(done.result())

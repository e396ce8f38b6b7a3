"""Many calls as one, many results with one wake-up."""

import asyncio
import threading
from concurrent.futures import Future

import pytest

from etsearch.models.gathering import Gathered, Wakeups


async def test_what_tasks_ask_for_in_one_turn_goes_as_one_call():
    calls = []
    doubled = Gathered(lambda values: calls.append(list(values)) or [2 * v for v in values])
    assert await asyncio.gather(*map(doubled, range(5))) == [0, 2, 4, 6, 8]
    assert await doubled(7) == 14
    assert calls == [[0, 1, 2, 3, 4], [7]]


async def test_an_error_reaches_only_the_value_that_it_belongs_to():
    inverse = Gathered(lambda values: [1 / v for v in values])
    one, bad, two = await asyncio.gather(*map(inverse, [1, 0, 2]), return_exceptions=True)
    assert (one, two) == (1.0, 0.5)
    assert isinstance(bad, ZeroDivisionError)


async def test_one_that_is_cancelled_leaves_the_others_theirs():
    same = Gathered(list)
    tasks = [asyncio.create_task(same(v)) for v in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    zero, gone, two = await asyncio.gather(*tasks, return_exceptions=True)
    assert (zero, two) == (0, 2)
    assert isinstance(gone, asyncio.CancelledError)


async def test_futures_done_by_then_need_one_wake_up(monkeypatch):
    loop, wakeups, futures = asyncio.get_running_loop(), Wakeups(), [Future() for _ in range(6)]
    calls, wake = [], loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: calls.append(args) or wake(*args))
    tasks = [asyncio.create_task(wakeups.result(future)) for future in futures]
    await asyncio.sleep(0)

    def work():
        for number, future in enumerate(futures):
            if number == 2:
                future.set_exception(ValueError("two"))
            else:
                future.set_result(number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [r for r in results if not isinstance(r, ValueError)] == [0, 1, 3, 4, 5]
    assert len(calls) == 1


async def test_a_cancelled_task_cancels_its_future():
    wakeups, future = Wakeups(), Future()
    task = asyncio.create_task(wakeups.result(future))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert future.cancelled()


def test_results_for_a_loop_that_is_closed_are_for_nobody():
    wakeups, future = Wakeups(), Future()

    async def leave():
        task = asyncio.create_task(wakeups.result(future))
        await asyncio.sleep(0)
        future.set_running_or_notify_cancel()
        return task

    asyncio.run(leave())
    future.set_result(1)
    assert future.result() == 1

"""What may succeed later is tried again; what failed for good is told in one line."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from etsearch.errors import EtsearchError

MAX_ATTEMPTS: Final = 3
"""Times a request is sent before its failure is final."""
RETRY_DELAY_S: Final = 0.2
"""Pause before the second attempt; it doubles with each."""

_T = TypeVar("_T")


async def retry(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """The result of an attempt; what may succeed later is tried again, a little later each time."""
    for number in range(1, MAX_ATTEMPTS + 1):
        try:
            return await attempt()
        except EtsearchError as error:
            if not error.retryable or number == MAX_ATTEMPTS:
                raise
        await asyncio.sleep(RETRY_DELAY_S * 2 ** (number - 1))
    raise AssertionError  # pragma: no cover


def in_one_line(error: Exception) -> str:
    """An error as a record keeps it."""
    return f"{type(error).__name__}: {error}"


def first_error(error: BaseException) -> BaseException:
    """The first error of a group of groups."""
    return first_error(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error

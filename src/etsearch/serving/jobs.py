"""Searches that outlive the process: those in the background, and what was unfinished when the gateway ended."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from filelock import FileLock, Timeout

from etsearch.boundary.files import to_path
from etsearch.errors import ConfigError

_DAY_S: Final = 86_400.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    created_at REAL NOT NULL,
    finished_at REAL,
    status TEXT NOT NULL,
    request TEXT NOT NULL,
    profile TEXT NOT NULL,
    state TEXT,
    answer TEXT
)
"""
_IN_JSON: Final = ("request", "profile", "state", "answer")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """A search as the file has it.

    Attributes:
        id, key, model, created_at, finished_at, status: as of ``Running``.
        request: the body of the request, with the seed that was drawn for it.
        profile: what the model's name stood for.
        state: after the last depth that is over, for a search that is to go on.
        answer: what its client gets, once it is over.
    """

    id: str
    key: str
    model: str
    created_at: float
    finished_at: float | None
    status: str
    request: dict[str, Any]
    profile: dict[str, Any]
    state: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None


class Jobs:
    """An SQLite file, which one gateway has at a time. Its calls wait for the disk in a thread of their own.

    Args:
        path: the file; it is made where there is none.

    Raises:
        ConfigError: another gateway has it, or it is no such file.
    """

    def __init__(self, path: str) -> None:
        self._path: Path = to_path(path, "the file of jobs")
        self._lock = FileLock(f"{self._path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(f"the file of jobs {self._path} is another gateway's; give it one of its own") from None
        try:
            self._database = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(_SCHEMA)
            self._database.execute("SELECT request, profile, state, answer FROM jobs LIMIT 1")
        except sqlite3.Error as error:
            self._lock.release()
            raise ConfigError(f"the file of jobs {self._path} cannot be used: {error}; give another") from error
        self._thread = ThreadPoolExecutor(1, "etsearch-jobs")

    async def add(self, job: Job) -> None:
        """A new job, or one that takes the place of itself."""
        values = (
            job.id,
            job.key,
            job.model,
            job.created_at,
            job.finished_at,
            job.status,
            json.dumps(job.request),
            json.dumps(job.profile),
            json.dumps(job.state) if job.state else None,
            json.dumps(job.answer) if job.answer else None,
        )
        await self._run("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)

    async def keep(self, job_id: str, state: dict[str, Any]) -> None:
        """The state of a job after a depth."""
        await self._call(
            lambda: self._database.execute("UPDATE jobs SET state = ? WHERE id = ?", (json.dumps(state), job_id))
        )

    async def finish(self, job_id: str, status: str, answer: dict[str, Any], finished_at: float) -> None:
        """A job is over."""
        await self._run(
            "UPDATE jobs SET status = ?, answer = ?, finished_at = ?, state = NULL WHERE id = ?",
            status,
            json.dumps(answer),
            finished_at,
            job_id,
        )

    async def get(self, job_id: str) -> Job | None:
        """A job; None if there is none of that id."""
        rows = await self._run("SELECT * FROM jobs WHERE id = ?", job_id)
        return _job(rows[0]) if rows else None

    async def unfinished(self) -> list[Job]:
        """Those that are to go on, the oldest first."""
        rows = await self._run("SELECT * FROM jobs WHERE finished_at IS NULL ORDER BY created_at, id")
        return [_job(row) for row in rows]

    async def forget(self, keep_days: float) -> None:
        """Drops those that have been over for longer."""
        await self._run("DELETE FROM jobs WHERE finished_at < ?", time.time() - keep_days * _DAY_S)

    async def aclose(self) -> None:
        """Waits until all is written."""
        await self._call(self._database.close)
        self._thread.shutdown()
        self._lock.release()

    async def _run(self, statement: str, *values: Any) -> list[Any]:
        return await self._call(lambda: self._database.execute(statement, values).fetchall())

    async def _call(self, what: Callable[[], T]) -> T:
        """Does something in the file's thread, to its end even if the caller is cancelled meanwhile."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, what))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _job(row: Any) -> Job:
    values = dict(zip((f.name for f in fields(Job)), row, strict=True))
    plain = {name: value and json.loads(value) for name, value in values.items() if name in _IN_JSON}
    return Job(**{**values, **plain})

"""Equality by algebra, in a child process that can be ended.

Algebra can take for ever (``9^{9^9}``), and inside one big multiplication no signal handler and no other thread can
stop it. So it runs in a child process, started when first needed, whose memory is bounded and which the system ends
when a request takes more than ``CPU_LIMIT_S`` of computing time; computing time, lest the verdict depend on what else
the machine does. That makes ``same`` safe in threads and under asyncio (where math-verify's own signal-based time
limits fail), and SymPy costs the parent neither its second of import nor its memory.
"""

import atexit
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Final, cast, final

CPU_LIMIT_S: Final = 2.0
"""Computing time that the algebra has to read one answer, and to compare two."""
WALL_LIMIT_S: Final = 20.0
"""The same by the clock: where the platform cannot limit computing time, or the child got none."""
START_LIMIT_S: Final = 120.0
"""Time that the child process has to import SymPy (about one second on an idle machine)."""
NEAR: Final = 1e-5
"""Relative distance beyond which two values differ whatever math-verify says: it rounds to six decimals."""

_PROGRAM: Final = Path(__file__).with_name("_algebra_worker.py")
_CPU_SIGNAL: Final = int(getattr(signal, "SIGPROF", 0))
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the algebra makes of one answer: whether it can read it, and its value at a fixed point if it has one."""

    is_readable: bool
    value: complex | None = None


def same(x: str, y: str) -> bool:
    """Whether two tidy answers are equal as far as algebra can tell; False where it gives up."""
    first, second = _reading(x), _reading(y)
    if not (first.is_readable and second.is_readable):
        return False
    if first.value is not None and second.value is not None and "%" not in x + y:
        distance = abs(first.value - second.value)
        if distance > NEAR * max(abs(first.value), abs(second.value)):
            return False
    if _hangs.intersection((x, y)):
        return False
    reply = _process.ask({"same": [x, y]})
    if reply is None:
        _hangs.update(answer for answer in (x, y) if _process.ask({"same": [answer, _PROBE]}) is None)
    return reply is not None and bool(reply["same"])


_PROBE: Final = "1.5"
_hangs: set[str] = set()
"""Answers that can be read but compared with nothing in time: each costs its time limit once, not for every pair."""


@lru_cache(maxsize=1 << 14)
def _reading(tidy: str) -> _Reading:
    reply = _process.ask({"read": tidy})
    if reply is None or not reply["readable"]:
        return _Reading(is_readable=False)
    return _Reading(is_readable=True, value=None if reply["value"] is None else complex(*reply["value"]))


@final
class _Process:
    """The child process: one request and one reply, a line of JSON each. Safe in threads, they take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._is_broken = False

    def ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The reply; None if it took too long or the child cannot run. A child that died is replaced once."""
        line = json.dumps({**request, "cpu_limit_s": CPU_LIMIT_S})
        with self._lock:
            for _ in range(2):
                process = self._process or self._start()
                if process is None:
                    return None
                reply, has_expired = self._exchange(process, line, WALL_LIMIT_S)
                if reply is not None:
                    return dict(json.loads(reply))
                self._stop()
                if has_expired or process.returncode == -_CPU_SIGNAL:
                    break
        _logger.warning("gave up on %.200s; it counts as different (limit %g s)", request, CPU_LIMIT_S)
        return None

    def _start(self) -> subprocess.Popen[str] | None:
        if self._is_broken:
            return None
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own file, run by our own interpreter
                [sys.executable, "-P", str(_PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                encoding="utf-8",
            )
            is_ready = self._exchange(self._process, "{}", START_LIMIT_S)[0] is not None
        except OSError:
            is_ready = False
        if not is_ready:
            self._stop()
            self._is_broken = True
            _logger.error("math-verify could not be started: answers are compared without algebra from here on")
        return self._process

    def _exchange(self, process: subprocess.Popen[str], line: str, limit_s: float) -> tuple[str | None, bool]:
        """The reply line, None if there is none, and whether the time was up."""
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            process.kill()

        requests, replies = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        reply, timer = "", threading.Timer(limit_s, expire)
        timer.daemon = True
        timer.start()
        try:
            with contextlib.suppress(OSError, ValueError):
                requests.write(line + "\n")
                requests.flush()
                reply = replies.readline()
        except BaseException:  # an interrupt: the reply must not be taken for that to a later request
            self._stop()
            raise
        finally:
            timer.cancel()
            timer.join()
        is_whole = reply.endswith("\n") and not expired.is_set()
        return (reply if is_whole else None), expired.is_set()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        process.wait()

    def close(self) -> None:
        """Ends the child process. The next request starts another."""
        with self._lock:
            self._stop()

    def after_fork(self) -> None:
        """In a forked process: the child belongs to the parent, and two must not talk to it."""
        if self._process is not None:
            self._process.returncode = 0  # not ours to wait for
        self._process, self._lock = None, threading.Lock()


_process = _Process()
atexit.register(_process.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.after_fork)

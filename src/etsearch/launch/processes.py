"""Processes that outlive the command that started them: started, found again and ended by id, and by nothing else."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 20.0
"""How long a process that was asked to end is waited for, before it is killed."""
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A process that leads a session of its own.

    Attributes:
        pid: its id.
        born: when it began, as the system tells it; another process that has got the id later began later.
    """

    pid: int
    born: str

    @property
    def is_alive(self) -> bool:
        """Whether it runs: not some other process with its id, and none that has ended and is not cleared away."""
        return born(self.pid) == self.born


def start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
    """Starts a process in a session of its own, which outlives this one; what it says goes to the end of ``log``.

    Args:
        command: the program and its arguments; no shell reads them.
        environment: variables beside those of this process.
        log: a file, made if it is not there.

    Raises:
        OSError: there is no such program, or the log cannot be written.
    """
    with log.open("ab") as file:
        child = subprocess.Popen(  # noqa: S603 - the command is a list
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    _children[child.pid] = child
    return Process(child.pid, born(child.pid) or "ended at once")


_children: Final[dict[int, subprocess.Popen[bytes]]] = {}


def born(pid: int) -> str | None:
    """When the process of an id began, as the system tells it; None if there is none, or it has ended."""
    if pid in _children:
        _children[pid].poll()  # takes note of its end, so that the system clears it away
    if _PROC.is_dir():
        fields = _stat(pid)
        return None if fields is None or fields[0] in "ZX" else fields[19]
    told = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    state, _, began = told.stdout.strip().partition(" ")
    return began.strip() if state and not state.startswith("Z") else None


def _stat(pid: int) -> list[str] | None:
    """The fields of a process from its state on: state, parent, group, session, …, start (the 20th)."""
    try:
        return (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def end(processes: Sequence[Process], patience_s: float = PATIENCE_S) -> None:
    """Ends processes and what they started in their groups; one that does not end within ``patience_s`` is killed."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    until = time.monotonic() + patience_s
    while any(_members(process) for process in processes) and time.monotonic() < until:
        time.sleep(0.05)
    for process in processes:
        _signal(process, signal.SIGKILL)
    while any(process.is_alive for process in processes):
        time.sleep(0.02)


def kill(process: Process) -> None:
    """Ends a process and what it started in its group, at once."""
    _signal(process, signal.SIGKILL)
    while process.is_alive:
        time.sleep(0.02)


def _signal(process: Process, number: int) -> None:
    if _members(process):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return


def _members(process: Process) -> bool:
    """Whether the process runs, or has ended and left some of its group behind.

    No other process gets the id while some of the group are there: so where it leads nothing alive, they are its own.
    """
    if process.is_alive:
        return True
    if not _PROC.is_dir() or born(process.pid) is not None:
        return False
    for place in _PROC.iterdir():
        if place.name.isdecimal() and (fields := _stat(int(place.name))) is not None:
            in_group = fields[2] == fields[3] == str(process.pid) and fields[0] not in "ZX"
            if in_group and process.born.isdecimal() and int(fields[19]) >= int(process.born):
                return True
    return False

"""The folder of a run: what was asked, what came of it, search by search, and what is half done.

run.json            what was asked, what it was resolved to, which models, which machine
searches.jsonl      one line for each search that is over; only ever appended to
trees/KEY.json.gz   the whole tree of a search that is over
open/KEY.json       the state of a search that is under way, after its last completed depth
set-aside.txt       lines that were damaged by a crash
lock                held by the process that writes
"""

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, final

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from etsearch.errors import RecordError
from etsearch.evaluation.run.environment import environment
from etsearch.evaluation.run.recipe import Recipe
from etsearch.loop.state import SearchState
from etsearch.types import Identity

FORMAT: Final = "etsearch run"
VERSION: Final = 1
_NAME_LETTERS: Final = 120
"""Letters of a search's key in the names of its files; file systems end at 255."""


class Key(NamedTuple):
    """Which search of a run. ``in_flight`` is 0 unless throughput is measured."""

    problem: str
    strategy: str
    width: int
    seed: int
    in_flight: int = 0

    @property
    def file(self) -> str:
        """A name for its files, of its own even where letters had to give way."""
        plain = re.sub(r"[^A-Za-z0-9_.]+", "_", "-".join(map(str, self)))
        digest = hashlib.blake2b(json.dumps(self).encode(), digest_size=8).hexdigest()
        return f"{plain[-_NAME_LETTERS:]}-{digest}"


class DepthFigures(NamedTuple):
    """One depth of a search; see ``etsearch.loop.result.DepthSummary``."""

    num_sampled: int
    num_completed: int
    num_open: int
    num_kept: int
    num_clusters: int | None
    remaining_width: int
    kv_tokens: int
    kv_tokens_paper: int
    kv_tokens_unshared: int


class SearchRecord(BaseModel):
    """A search that is over.

    Attributes:
        problem, strategy, width, seed, in_flight: which it was; see ``Key``.
        status: ``failed`` if it raised, or if every trajectory was lost to failures.
        error: why it failed.
        right: whether the voted answer is right, by grader.
        answers: the distinct answers, the winner first.
        right_answers: places of the right ones among them, by grader.
        trajectories: of each voting trajectory the place of its answer, its weight, and its tokens.
        depths: its figures depth by depth.
        usage, seconds: what it cost; see ``etsearch.loop.result.Usage``.
        engine: what the engine measured while the search ran, all searches in flight together.
        finished_at: seconds since 1970.
        resumed: how often it went on from a kept state.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    problem: str
    strategy: str
    width: int
    seed: int
    in_flight: int = 0
    status: Literal["done", "failed"] = "done"
    error: str | None = None
    level: str = ""
    gold: str
    answer: str | None = None
    right: dict[str, bool] = {}
    stop_reason: str = ""
    answers: tuple[str, ...] = ()
    right_answers: dict[str, tuple[int, ...]] = {}
    trajectories: tuple[tuple[int, float, int], ...] = ()
    depths: tuple[DepthFigures, ...] = ()
    usage: dict[str, int] = {}
    seconds: dict[str, float] = {}
    engine: dict[str, float] = {}
    failures: tuple[str, ...] = ()
    finished_at: float = 0.0
    resumed: int = 0

    @property
    def key(self) -> Key:
        return Key(self.problem, self.strategy, self.width, self.seed, self.in_flight)


@dataclass(frozen=True)
class Run:
    """A run as it was read: its manifest (``run.json``), the latest record of each search, and what was amiss."""

    path: Path
    manifest: Mapping[str, Any]
    records: tuple[SearchRecord, ...]
    notices: tuple[str, ...] = ()

    @property
    def recipe(self) -> Recipe:
        """What the run was last asked for."""
        return Recipe.of(self.manifest["resolved"], f"the recipe of {self.path}")

    @property
    def specifications(self) -> dict[tuple[str, int], str]:
        """What each strategy was at each width, those asked for before among them."""
        cells = ((*key.rpartition(" @ "), text) for key, text in self.manifest["cells"].items())
        return {(label, int(width)): text for label, _, width, text in cells}


@dataclass(frozen=True)
class StoredTree:
    """The tree of a search that is over, and what it takes to conclude it again."""

    key: Key
    specification: str
    stop_reason: str
    state: SearchState


def read_run(path: Path) -> Run:
    """Reads a run, one that is under way too.

    Raises:
        RecordError: no run folder, one of another version, or a line in the middle that is damaged.
    """
    manifest = _read_manifest(path)
    lines = _read_lines(path / "searches.jsonl")
    latest = {record.key: record for record in lines.records}
    return Run(path, manifest, tuple(latest.values()), tuple(lines.notices))


def read_tree(path: Path, key: Key) -> StoredTree:
    """The tree of a finished search. Raises RecordError if it is not there or cannot be read."""
    file = path / "trees" / f"{key.file}.json.gz"
    try:
        values = json.loads(gzip.decompress(file.read_bytes()))
        return StoredTree(
            Key(*values["key"]), values["specification"], values["stop_reason"], SearchState.from_dict(values["state"])
        )
    except FileNotFoundError:
        raise RecordError(
            f"{path} holds no tree of {', '.join(map(str, key))}; trees stay in the folder where the run was made"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zlib.error) as error:
        raise RecordError(f"{file} cannot be read: {error}") from error


@final
class RunWriter:
    """The run folder of the process that writes it. Made by ``writing``."""

    def __init__(self, path: Path, records: Mapping[Key, SearchRecord], notices: list[str]) -> None:
        self.path = path
        self.records = dict(records)
        self.notices = notices
        self._file = (path / "searches.jsonl").open("a", encoding="utf-8")

    def add(self, record: SearchRecord, specification: str, state: SearchState | None) -> None:
        """Keeps a search that is over: first its tree, then its line. From then on it is never run again.

        One that raised has no ``state``; what was kept of it stays, for when it is tried again.
        """
        key = record.key
        if state is not None:
            values = {"key": key, "specification": specification, "stop_reason": record.stop_reason}
            text = json.dumps({**values, "state": state.to_dict()})
            _write(self.path / "trees" / f"{key.file}.json.gz", gzip.compress(text.encode(), mtime=0))
        self._file.write(record.model_dump_json() + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records[key] = record
        if state is not None:
            self._checkpoint(key).unlink(missing_ok=True)

    def keep(self, key: Key, state: SearchState, resumed: int) -> None:
        """Keeps a search that is under way."""
        text = json.dumps({"key": key, "resumed": resumed, "state": state.to_dict()})
        _write(self._checkpoint(key), text.encode())

    def kept(self, key: Key) -> tuple[SearchState, int] | None:
        """The state of a search that was under way, and how often it had been resumed; None if there is none."""
        file = self._checkpoint(key)
        if not file.exists():
            return None
        try:
            values = json.loads(file.read_bytes())
            return SearchState.from_dict(values["state"]), int(values["resumed"])
        except (ValueError, KeyError, TypeError, RecordError) as error:
            aside = file.with_suffix(".damaged")
            file.replace(aside)
            self.notices.append(f"{file.name} was damaged ({error}); it is now {aside}, and the search begins anew")
            return None

    def drop_done(self) -> None:
        """Throws away what was kept of searches that are done: a crash may have come between the two."""
        for key, record in self.records.items():
            if record.status == "done":
                self._checkpoint(key).unlink(missing_ok=True)

    def drop_kept(self) -> int:
        """Throws away all that is half done; says how many searches that were."""
        files = list((self.path / "open").glob("*.json"))
        for file in files:
            file.unlink()
        return len(files)

    def close(self) -> None:
        self._file.close()

    def _checkpoint(self, key: Key) -> Path:
        return self.path / "open" / f"{key.file}.json"


@contextmanager
def writing(
    path: Path, recipe: Recipe, asked: Mapping[str, Any], identities: Mapping[str, Identity], *, clean: bool = False
) -> Iterator[RunWriter]:
    """Opens a run folder for writing; begins it, or goes on with it.

    Args:
        path: the folder; made if it is not there.
        recipe: what the run is to do.
        asked: what the user gave, for the record.
        identities: the data set and the models, by what they are; they must be those that the run was begun with.
        clean: whether damaged lines in the middle are set aside too, and what is half done thrown away.

    Raises:
        RecordError: another process writes it; it holds something else, another version, or was begun with another
            model, data set or settings.
    """
    if path.exists() and not path.is_dir():
        raise RecordError(f"{path} is a file; give a folder for the run")
    if path.is_dir() and any(path.iterdir()) and not (path / "run.json").exists() and not _is_fresh(path):
        raise RecordError(f"{path} holds files but no run; give another folder, nothing in it was touched")
    for folder in (path / "trees", path / "open"):
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        _begin(path, recipe, asked, identities)
        writer = _writer(path, clean=clean)
        try:
            yield writer
        finally:
            writer.close()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Raises RecordError if another process writes the run, or if the run is packed."""
    if (path / "searches.jsonl.gz").exists():
        raise RecordError(f"{path} is packed; unpack its searches.jsonl.gz to change the run")
    try:
        lock = FileLock(path / "lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise RecordError(f"another process writes {path}; wait for it, or give another folder") from None
    try:
        yield
    finally:
        lock.release()


def _is_fresh(path: Path) -> bool:
    """A folder that a process made just before it was killed."""
    return {file.name for file in path.iterdir()} <= {"trees", "open", "lock", "run.json.part"}


def _writer(path: Path, *, clean: bool) -> RunWriter:
    lines = _read_lines(path / "searches.jsonl", repair=True, clean=clean)
    writer = RunWriter(path, {record.key: record for record in lines.records}, list(lines.notices))
    writer.drop_done()
    if clean and (count := writer.drop_kept()):
        writer.notices.append(f"{count} half-done searches begin anew")
    return writer


_FREE: Final = (
    "name",
    "strategies",
    "widths",
    "seeds",
    "concurrency",
    "levels",
    "shuffle",
    "limit",
    "timed",
    "assumed",
    "out",
)
"""What may differ when a run is gone on with: it says how much is run, not what a search is."""


def _begin(path: Path, recipe: Recipe, asked: Mapping[str, Any], identities: Mapping[str, Identity]) -> None:
    cells = {f"{cell.label} @ {cell.width}": cell for cell in recipe.arms()}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "resolved": recipe.plain(),
        "identities": {name: asdict(identity) for name, identity in identities.items()},
        "cells": {key: cell.specification for key, cell in cells.items()},
        "switches": {key: dict(cell.search) for key, cell in cells.items()},
        "sessions": [{"asked": dict(asked), **environment()}],
    }
    if (path / "run.json").exists():
        before = _read_manifest(path)
        _check_same(path, before, manifest)
        for name in ("cells", "switches"):
            manifest[name] = {**before[name], **manifest[name]}  # type: ignore[dict-item]
        manifest["sessions"] = [*before["sessions"], *manifest["sessions"]]  # type: ignore[misc]
    _write(path / "run.json", (json.dumps(manifest, indent=2) + "\n").encode())


def _check_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if different := differences(before, now):
        raise RecordError(f"{path} was begun otherwise: {'; '.join(different)}. Give another folder for this run")


def differences(one: Mapping[str, Any], other: Mapping[str, Any], ignore: Collection[str] = ()) -> list[str]:
    """In what two manifests differ that makes a search what it is: models, data, settings, what a label means."""

    def fixed(manifest: Mapping[str, Any]) -> dict[str, Any]:
        resolved = {k: v for k, v in manifest["resolved"].items() if k not in _FREE and k not in ignore}
        return {**resolved, **{f"identity of the {k}": v for k, v in manifest["identities"].items()}}

    old, new = fixed(one), fixed(other)
    pairs = [(key, old.get(key), new.get(key)) for key in {**old, **new}]
    for name in ("cells", "switches"):
        pairs += [(key, what, other[name][key]) for key, what in one[name].items() if key in other[name]]
    return [f"{key} was {was!r} and is {now_is!r}" for key, was, now_is in pairs if was != now_is]


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "run.json"
    try:
        manifest = dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RecordError(f"{path} is no run: it holds no run.json; make one with 'ets eval … --out {path}'") from None
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(f"{file} cannot be read: {error}") from error
    if manifest.get("format") != FORMAT:
        raise RecordError(f"{file} is not that of a run of etsearch")
    if manifest.get("version") != VERSION:
        raise RecordError(
            f"{path} is a run of version {manifest.get('version')}; this etsearch reads version {VERSION}. "
            "Use the etsearch that made it, or give another folder; nothing was touched"
        )
    return manifest


@dataclass
class _Lines:
    records: list[SearchRecord] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def _read_lines(file: Path, *, repair: bool = False, clean: bool = False) -> _Lines:
    """The lines of a record. A damaged last one is what a crash leaves; with ``repair`` it is set aside."""
    found = _Lines()
    packed = file.with_name(file.name + ".gz")
    if not file.exists() and not packed.exists():
        return found
    raw = file.read_bytes() if file.exists() else gzip.decompress(packed.read_bytes())
    lines = raw.split(b"\n")
    damaged: list[tuple[int, bytes]] = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        is_last = number == len(lines) or not any(lines[number:])
        try:
            found.records.append(SearchRecord.model_validate_json(line))
        except ValidationError as error:
            if not (is_last or clean):
                raise RecordError(
                    f"{file}, line {number} is damaged: {error.errors()[0]['msg']}. "
                    "'ets eval … --resume-clean' sets it aside and runs that search again"
                ) from None
            damaged.append((number, line))
    if repair and (damaged or lines[-1]):
        _set_aside(file, lines, damaged)
    aside = file.with_name("set-aside.txt")
    what = f"it is set aside in {aside}" if repair else "it is left out; the next 'ets eval' sets it aside"
    found.notices += [f"{file.name}, line {n} was damaged; {what}" for n, _ in damaged]
    return found


def _set_aside(file: Path, lines: list[bytes], damaged: list[tuple[int, bytes]]) -> None:
    with file.with_name("set-aside.txt").open("ab") as aside:
        aside.writelines(line + b"\n" for _, line in damaged)
    numbers = {number for number, _ in damaged}
    whole = [line for number, line in enumerate(lines, start=1) if line and number not in numbers]
    _write(file, b"".join(line + b"\n" for line in whole))


def _write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def revise(path: Path, change: Callable[[SearchRecord], SearchRecord]) -> list[tuple[SearchRecord, SearchRecord]]:
    """Puts a changed record in the place of each of a run's own, such as after another grading, all at once.

    Returns each record before and after. Raises RecordError if another process writes the run.
    """
    _read_manifest(path)
    with _locked(path):
        before = _read_lines(path / "searches.jsonl", repair=True).records
        pairs = [(record, change(record)) for record in before]
        lines = b"".join(after.model_dump_json().encode() + b"\n" for _, after in pairs)
        _write(path / "searches.jsonl", lines)
    return pairs

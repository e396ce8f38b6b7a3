"""The folder of a run: what was asked, what came of it, search by search, and what is half done.

run.json            what was asked, what it was resolved to, which models, which machine
searches.jsonl      one line for each search that is over; only ever appended to
trees/KEY.json.gz   the whole tree of a search that is over
open/KEY.json       the state of a search that is under way, after its last completed depth
set-aside.txt       lines that were damaged by a crash
*.damaged           files that were
lock                held by the process that writes
"""

import gzip
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from filelock import FileLock, Timeout

from etsearch.boundary.files import PART, write_whole
from etsearch.errors import RecordError
from etsearch.evaluation.run.kept import OpenSearch, StoredTree
from etsearch.evaluation.run.lines import read_lines
from etsearch.evaluation.run.manifest import DamagedManifestError, Manifest
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.record import Key, SearchRecord
from etsearch.loop.settings import SearchSettings
from etsearch.types import Identity


@dataclass(frozen=True)
class Run:
    """A run as it was read: its manifest (``run.json``), the latest record of each search, and what was amiss."""

    path: Path
    manifest: Manifest
    records: tuple[SearchRecord, ...]
    notices: tuple[str, ...] = ()

    @property
    def recipe(self) -> Recipe:
        """What the run was last asked for."""
        return self.manifest.recipe

    def settings(self, record: SearchRecord) -> SearchSettings:
        """The settings that a search was run with, those of its arm alone among them."""
        switches = self.manifest.switches.get(f"{record.strategy} @ {record.width}", {})
        return self.recipe.settings(record.width, record.seed, switches)

    def with_trees(
        self, strategy: str | None = None, width: int | None = None, seed: int | None = None
    ) -> list[SearchRecord]:
        """The searches that came to an end and so have a tree: of one strategy (by label), width or seed, or of all."""
        wanted = {"strategy": strategy or None, "width": width, "seed": seed}
        given = {name: value for name, value in wanted.items() if value is not None}
        return [r for r in self.records if r.stop_reason and all(getattr(r, k) == v for k, v in given.items())]


def first_problems(records: list[SearchRecord], limit: int | None) -> list[SearchRecord]:
    """The searches of the first so many problems."""
    problems = list(dict.fromkeys(record.problem for record in records))[:limit]
    return [record for record in records if record.problem in problems]


def of_problem(records: list[SearchRecord], problem: str) -> list[SearchRecord]:
    """The searches of the problem of that id; of the one whose id ends so; of the first problem without any.

    Raises:
        RecordError: several ids end so.
    """
    ids = list(dict.fromkeys(record.problem for record in records))
    if not problem:
        return [record for record in records if record.problem == ids[0]] if ids else []
    matching = [i for i in ids if i == problem] or [i for i in ids if i.endswith(f"/{problem}")]
    if len(matching) > 1:
        raise RecordError(f"{problem!r} is the end of several ids: {', '.join(matching)}; give the whole of one")
    return [record for record in records if record.problem in matching]


def read_run(path: Path) -> Run:
    """Reads a run, one that is under way too.

    Raises:
        RecordError: no run folder, one of another version, or a line in the middle that is damaged.
    """
    manifest = Manifest.read(path)
    lines = read_lines(path / "searches.jsonl")
    latest = {record.key: record for record in lines.records}
    return Run(path, manifest, tuple(latest.values()), tuple(lines.notices))


def read_tree(path: Path, key: Key) -> StoredTree:
    """The tree of a finished search. Raises RecordError if it is not there or cannot be read."""
    file = path / "trees" / f"{key.file}.json.gz"
    try:
        return StoredTree.unpack(file.read_bytes())
    except FileNotFoundError:
        raise RecordError(
            f"{path} holds no tree of {', '.join(map(str, key))}; trees stay in the folder where the run was made"
        ) from None
    except (OSError, RecordError) as error:
        raise RecordError(f"{file} cannot be read: {error}") from error


@final
class RunWriter:
    """The run folder of the process that writes it. Made by ``writing``."""

    def __init__(self, path: Path, records: Mapping[Key, SearchRecord], notices: list[str]) -> None:
        self.path = path
        self.records = dict(records)
        self.notices = notices
        self._file = (path / "searches.jsonl").open("a", encoding="utf-8")

    def keep_tree(self, key: Key, tree: bytes) -> None:
        """Keeps the packed ``StoredTree`` of a search that is over, before its line. May be called in any thread."""
        write_whole(self._tree(key), tree)
        _damaged(self._tree(key)).unlink(missing_ok=True)

    def add(self, record: SearchRecord) -> None:
        """Keeps the line of a search that is over, whose tree is kept. From then on it is never run again.

        What was kept of one that raised stays, for when it is tried again.
        """
        self._file.write(record.model_dump_json() + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records[record.key] = record
        if record.tree_crc32 is not None:
            self._checkpoint(record.key).unlink(missing_ok=True)

    def keep(self, key: Key, content: bytes) -> None:
        """Keeps a search that is under way: the packed ``OpenSearch``."""
        write_whole(self._checkpoint(key), content, outlives_power_cut=False)  # what it leaves is looked at

    def read_open(self, key: Key) -> OpenSearch | None:
        """The search that was under way; None if there is none."""
        file = self._checkpoint(key)
        if not file.exists():
            return None
        try:
            return OpenSearch.unpack(file.read_bytes())
        except (OSError, RecordError) as error:
            aside = _damaged(file)
            file.replace(aside)
            self.notices.append(f"{file.name} was damaged ({error}); it is now {aside}, and the search begins anew")
            return None

    def check_trees(self) -> None:
        """Sets damaged trees aside, and has their searches run again."""
        for key, record in list(self.records.items()):
            tree = self._tree(key)
            if record.stop_reason and not _is_whole(tree, record.tree_crc32):
                if tree.exists():
                    tree.replace(_damaged(tree))
                del self.records[key]
                self.notices.append(
                    f"the tree {tree.name} was damaged; it is now {_damaged(tree).name}, and its search is run again"
                )

    def drop_done(self) -> None:
        """Throws away what was kept of searches that are done: a crash may have come between the two."""
        for key, record in self.records.items():
            if record.status == "done":
                self._checkpoint(key).unlink(missing_ok=True)

    def drop_open(self) -> int:
        """Throws away all that is half done; says how many searches that were."""
        files = list((self.path / "open").glob("*.json"))
        for file in files:
            file.unlink()
        return len(files)

    def close(self) -> None:
        self._file.close()

    def _tree(self, key: Key) -> Path:
        return self.path / "trees" / f"{key.file}.json.gz"

    def _checkpoint(self, key: Key) -> Path:
        return self.path / "open" / f"{key.file}.json"


@contextmanager
def writing(
    path: Path,
    recipe: Recipe,
    asked: Mapping[str, Any],
    identities: Mapping[str, Identity],
    *,
    clean: bool = False,
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
            model, data set, file of a part, or settings.
    """
    if path.exists() and not path.is_dir():
        raise RecordError(f"{path} is a file; give a folder for the run")
    if path.is_dir() and any(path.iterdir()) and not (path / "run.json").exists() and not _is_fresh(path):
        raise RecordError(f"{path} holds files but no run; give another folder, nothing in it was touched")
    for folder in (path / "trees", path / "open"):
        folder.mkdir(parents=True, exist_ok=True)
    with _lock(path):
        notices = _begin(path, Manifest.of(recipe, asked, identities), clean=clean)
        writer = _writer(path, clean=clean)
        writer.notices[:0] = notices
        try:
            yield writer
        finally:
            writer.close()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
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


def _begin(path: Path, manifest: Manifest, *, clean: bool) -> list[str]:
    """Writes the manifest of a run that begins, or that is gone on with; says what was amiss."""
    file, notices = path / "run.json", []
    try:
        before = Manifest.read(path) if file.exists() else None
    except DamagedManifestError as error:
        if not clean:
            raise RecordError(
                f"{error}. 'ets eval … --resume-clean' sets it aside, and takes what is there to be of this recipe"
            ) from error
        file.replace(_damaged(file))
        before = None
        notices.append(
            f"{file} was damaged; it is now {_damaged(file)}, and what is there is taken to be of this recipe"
        )
    if before is not None:
        if different := before.differences(manifest):
            raise RecordError(f"{path} was begun otherwise: {'; '.join(different)}. Give another folder for this run")
        manifest = before.continue_as(manifest)
    write_whole(file, manifest.text().encode())
    return notices


def _is_fresh(path: Path) -> bool:
    """A folder that a process made just before it was killed."""
    return {file.name for file in path.iterdir()} <= {"trees", "open", "lock", f"run.json{PART}"}


def _is_whole(tree: Path, crc32: int | None) -> bool:
    """Whether the file of a tree is as it was written; older records do not tell its checksum."""
    if not tree.exists():  # trees may have been left behind where the run was made
        return not _damaged(tree).exists()
    try:
        content = tree.read_bytes()
        return zlib.crc32(content) == crc32 if crc32 is not None else bool(gzip.decompress(content))
    except (OSError, EOFError, zlib.error):
        return False


def _damaged(file: Path) -> Path:
    """Where a damaged file is set aside."""
    return file.with_name(f"{file.name}.damaged")


def _writer(path: Path, *, clean: bool) -> RunWriter:
    for folder in (path, path / "trees", path / "open"):
        for part in folder.glob(f"*{PART}"):  # what a crash left
            part.unlink()
    lines = read_lines(path / "searches.jsonl", repair=True, clean=clean)
    writer = RunWriter(path, {record.key: record for record in lines.records}, list(lines.notices))
    writer.check_trees()
    writer.drop_done()
    if clean and (count := writer.drop_open()):
        writer.notices.append(f"{count} half-done searches begin anew")
    return writer


def revise(path: Path, change: Callable[[SearchRecord], SearchRecord]) -> list[tuple[SearchRecord, SearchRecord]]:
    """Puts a changed record in the place of each of a run's own, such as after another grading, all at once.

    Returns each record before and after. Raises RecordError if another process writes the run.
    """
    Manifest.read(path)  # what is no run gets no lock
    with _lock(path):
        before = read_lines(path / "searches.jsonl", repair=True).records
        pairs = [(record, change(record)) for record in before]
        # The manifest first: this version reads older lines, older ones do not read what is written now.
        write_whole(path / "run.json", Manifest.read(path).upgrade().text().encode())
        lines = b"".join(after.model_dump_json().encode() + b"\n" for _, after in pairs)
        write_whole(path / "searches.jsonl", lines)
    return pairs

"""The lines of ``searches.jsonl``: read, and repaired where a crash left one half written."""

import gzip
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from etsearch.boundary.files import write_whole
from etsearch.errors import RecordError
from etsearch.evaluation.run.record import SearchRecord
from etsearch.registry import reason_of


@dataclass
class Lines:
    """The records, and what was amiss."""

    records: list[SearchRecord] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def read_lines(file: Path, *, repair: bool = False, clean: bool = False) -> Lines:
    """The lines of a record. A damaged last one is what a crash leaves; with ``repair`` it is set aside."""
    found = Lines()
    packed = file.with_name(file.name + ".gz")
    if not file.exists() and not packed.exists():
        return found
    try:
        raw = file.read_bytes() if file.exists() else gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise RecordError(f"{file if file.exists() else packed} cannot be read: {error}") from error
    lines = raw.split(b"\n")
    damaged: list[tuple[int, bytes]] = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        is_last = number == len(lines) or not any(lines[number:])
        try:
            record = SearchRecord.model_validate_json(line)
            record.check()
            found.records.append(record)
        except ValueError as error:
            if not (is_last or clean):
                told = reason_of(error) if isinstance(error, ValidationError) else str(error)
                raise RecordError(
                    f"{file}, line {number} is damaged: {told}. "
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
    write_whole(file, b"".join(line + b"\n" for line in whole))

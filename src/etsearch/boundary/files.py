"""Paths that a user gives, and files that are written whole or not at all."""

import os
from pathlib import Path
from typing import Final

from etsearch.boundary.numbers import shown
from etsearch.boundary.texts import is_readable
from etsearch.errors import ConfigError

PART: Final = ".part"
"""Ends the name of a file that is being written."""


def to_path(text: str | os.PathLike[str], what: str = "the path") -> Path:
    """A path that a user gave, ``~`` filled in.

    Raises:
        ConfigError: it is empty, holds a NUL or what is no UTF-8, or names the home of nobody.
    """
    name = os.fspath(text)
    if not name:
        raise ConfigError(f"{what} is empty; give a file or a folder")
    if "\0" in name or not is_readable(name):
        raise ConfigError(f"{what} is {shown(name)}, which holds a NUL or a byte that is no UTF-8; give another")
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{what} is {shown(name)}: {error}") from error


def write_whole(path: Path, content: bytes, *, outlives_power_cut: bool = True) -> None:
    """Writes a file so that, whatever happens, the old content or the new is there: beside it, then renamed.

    Args:
        path: the file.
        content: all that it is to hold.
        outlives_power_cut: whether it waits until the disk has it. Without, a power cut may leave less of the file.

    Raises:
        OSError: it cannot be written; it names the file, and nothing is left behind.
    """
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(content)
            if outlives_power_cut:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
        if outlives_power_cut:
            _flush_folder(path.parent)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _flush_folder(folder: Path) -> None:
    """Makes the names in a folder outlive a power cut."""
    if os.name != "posix":
        return  # elsewhere folders cannot be opened
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

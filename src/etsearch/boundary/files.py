"""Paths that a user gives, and files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path

from etsearch.boundary.numbers import shown
from etsearch.boundary.texts import is_readable
from etsearch.errors import ConfigError


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


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that, whatever happens, the old content or the new is there: beside it, flushed, and renamed.

    Raises:
        OSError: it cannot be written; it names the file, and nothing is left behind.
    """
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{path.name[:32]}.", dir=path.parent)
    except OSError as error:
        raise _about(error, path) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).chmod(_mode(path))
        Path(beside).replace(path)
    except OSError as error:
        Path(beside).unlink(missing_ok=True)
        raise _about(error, path) from error
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Makes the names in a folder outlive a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # some systems open no folders
    try:
        os.fsync(handle)
    except OSError:
        pass  # some file systems flush none
    finally:
        os.close(handle)


def _mode(path: Path) -> int:
    """The access rights of the file that is replaced, or those that a new one gets."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _about(error: OSError, path: Path) -> OSError:
    return OSError(error.errno, error.strerror or str(error), str(path))

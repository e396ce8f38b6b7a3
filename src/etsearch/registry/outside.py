"""Parts that no package declares: in a file, or in a module by its name."""

import hashlib
import importlib
import importlib.util
import operator
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from etsearch.boundary.files import to_path
from etsearch.errors import ConfigError

_SUFFIX: Final = ".py"


@dataclass(frozen=True, slots=True)
class Source:
    """The file that a part comes from: its path as it was given (a module's name for one found by name), its hash."""

    path: str
    sha256: str


def changes(before: Mapping[str, Source], now: Mapping[str, Source]) -> list[str]:
    """Which parts come from a file that is not what it was, in a sentence each."""
    return [
        f"{name} was changed: the sha256 of its file was {was.sha256[:12]} and is {now[name].sha256[:12]}. "
        "Put the file back, or begin anew"
        for name, was in before.items()
        if name in now and now[name].sha256 != was.sha256
    ]


def load(place: str) -> tuple[Callable[..., Any], Source]:
    """The callable at a place, ``./FILE.py:NAME`` or ``PACKAGE.MODULE:NAME``, and the file it comes from.

    A file is run as it stands, once for each of its contents. It can import what is installed, not its neighbours: of
    these the record would not know whether they changed.

    Raises:
        ConfigError: no such file or module, one that fails when it is run, or no such callable in it.
    """
    where, _, name = place.rpartition(":")
    module, source = _from_file(where) if where.endswith(_SUFFIX) else _from_module(where)
    try:
        found = operator.attrgetter(name)(module)
    except AttributeError:
        known = [key for key, value in vars(module).items() if _is_defined(value, module)]
        raise ConfigError(f"{where} defines no {name!r}; it defines {', '.join(known) or 'nothing'}") from None
    if not callable(found):
        raise ConfigError(f"{place} is no class and no function but {found!r}; name what makes the part")
    return found, source


def _is_defined(value: Any, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _from_file(given: str) -> tuple[ModuleType, Source]:
    path = to_path(given, "the file of the part")
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the file {given} cannot be read: {error}; a path is taken from the current folder"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    name = f"etsearch_part_{path.stem}_{digest[:16]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
        assert spec is not None, "a specification without a loader is always made"
        module = importlib.util.module_from_spec(spec)
        module.__file__ = str(path)
        sys.modules[name] = module
        try:
            exec(compile(content, str(path), "exec"), module.__dict__)  # noqa: S102 - the user asked for it by its path
        except Exception as error:
            del sys.modules[name]
            raise ConfigError(f"the file {given} failed: {type(error).__name__}: {error}") from error
    return sys.modules[name], Source(given, digest)


def _from_module(name: str) -> tuple[ModuleType, Source]:
    here = str(Path.cwd())
    try:
        sys.path.insert(0, here)  # as 'python -m' has it; a program that was installed does not look there
        module = importlib.import_module(name)
    except Exception as error:
        raise ConfigError(f"the module {name} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(here)
    file = Path(module.__file__ or "")
    if not file.is_file():
        raise ConfigError(f"the module {name} has no file; name one that is a file of Python")
    return module, Source(name, hashlib.sha256(file.read_bytes()).hexdigest())

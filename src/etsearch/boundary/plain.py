"""Plain values, as JSON and YAML hold them: read within limits, written so that any terminal can show them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic_core import from_json

from etsearch.boundary.files import to_path
from etsearch.boundary.texts import is_readable, show_controls
from etsearch.errors import ConfigError

_T = TypeVar("_T")

MOST_DEPTH: Final = 64
"""How deep values may be nested in each other."""
MOST_LETTERS: Final = 200_000
"""Letters that a YAML text may have."""
MOST_VALUES: Final = 50_000
"""Values that a YAML text may hold, those of an alias counted wherever it stands."""

_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(content: bytes | str, *, replace: Callable[[str], str] | None = None) -> Any:
    """The value that a JSON text holds.

    Args:
        content: the text, in UTF-8 if it is bytes.
        replace: makes what is no text one; without it such a text is refused.

    Raises:
        ValueError: it is no JSON, no UTF-8, or nested too deep; the message is one line.
    """
    if isinstance(content, bytes):
        content = content.decode("utf-8", "strict" if replace is None else "replace")
    content = content.removeprefix("\ufeff")
    try:
        value = from_json(content)  # refuses what is nested deeper than 200
    except ValueError as error:
        if not _HALF.search(content):
            raise ValueError(_in_one_line(error)) from None
        return _read_halves(content, replace or _refuse)
    return value if is_readable(content) else _mend(value, replace or _refuse)


def _read_halves(content: str, change: Callable[[str], str]) -> Any:
    """The value of a JSON text in which an escape may name half a character."""
    try:
        return _mend(json.loads(content), change)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError as error:
        raise ValueError(_in_one_line(error)) from None


def read_yaml(content: str) -> Any:
    """The value that a YAML text holds.

    Raises:
        ValueError: it is no YAML, too long, nested too deep, or too large once its aliases are filled in; the message
            is one line.
    """
    if len(content) > MOST_LETTERS:
        raise ValueError(f"it has {len(content):,} letters; at most {MOST_LETTERS:,} are read")
    try:
        loader = yaml.SafeLoader(content)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _measure(node, {}, 0)
            value = loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MOST_DEPTH}") from None
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, AttributeError) as error:
        raise ValueError(_in_one_line(error)) from None
    return _mend(value, _refuse)


def load_mapping(path: Path, what: str, example: str) -> dict[Any, Any]:
    """The mapping that a YAML file holds, such as a recipe.

    Args:
        path: of the file.
        what: it is, for the message, such as ``the recipe``.
        example: of what to write where it holds no keys.

    Raises:
        ConfigError: no such file, no text, no YAML, or no mapping.
    """
    try:
        values = read_yaml(to_path(path, what).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path} cannot be read: {error}") from error
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{what} {path} is no YAML that can be read: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{what} {path} holds no keys; write {example}")
    return values


def load_made(path: str | Path, what: str, version: int, maker: str, build: Callable[[dict[str, Any]], _T]) -> _T:
    """What is built of a JSON file that a command of ours made.

    Args:
        path: of the file.
        what: it is, for the message, such as ``the curve of rewards``.
        version: its ``format`` must be this.
        maker: the command that makes one.
        build: makes it of the file's keys.

    Raises:
        ConfigError: no such file, no JSON, of another version, or nothing that can be built of it.
    """
    path = to_path(path, what)
    try:
        values = read_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{what} {path} cannot be read: {error}") from error
    if not isinstance(values, dict) or values.get("format") != version:
        raise ConfigError(f"{path} is not {what} of this version; '{maker}' makes one")
    try:
        return build(values)
    except ConfigError:
        raise
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        raise ConfigError(f"{what} {path} cannot be read: {type(error).__name__}: {error}") from error


def _measure(node: yaml.Node, sizes: dict[int, int | None], depth: int) -> int:
    """The number of values in a node with its aliases filled in."""
    if depth > MOST_DEPTH:
        raise ValueError(f"it is nested deeper than {MOST_DEPTH}")
    if id(node) in sizes:
        known = sizes[id(node)]
        if known is None:
            raise ValueError(f"an alias stands within what it names ({node.start_mark})")
        return known
    sizes[id(node)] = None
    size = 1
    if isinstance(node, yaml.CollectionNode):
        for entry in node.value:
            for part in entry if isinstance(entry, tuple) else (entry,):
                size += _measure(part, sizes, depth + 1)
    if size > MOST_VALUES:
        raise ValueError(f"it holds more than {MOST_VALUES:,} values, once its aliases are filled in")
    sizes[id(node)] = size
    return size


def write_json(value: Any) -> str:
    """The value as JSON on one line, in which nothing steers a terminal and everything can be encoded."""
    written = json.dumps(value, ensure_ascii=False)
    return written if written.isprintable() else _escape(written)


def _escape(written: str) -> str:
    return "".join(c if show_controls(c) == c else f"\\u{ord(c):04x}" for c in written)


def _refuse(text: str) -> str:
    raise ValueError(f"the text {text[:60]!r} holds half a character (a lone surrogate)")


def _mend(value: Any, change: Callable[[str], str]) -> Any:
    """The value with each of its texts that no encoding knows changed."""
    return map_texts(value, lambda text: text if is_readable(text) else change(text))


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The value with each text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {map_texts(key, change): map_texts(entry, change) for key, entry in value.items()}
    if isinstance(value, list):
        return [map_texts(entry, change) for entry in value]
    return value


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())

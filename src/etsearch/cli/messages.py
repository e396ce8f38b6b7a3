"""A conversation from a file, for ``ets solve``."""

from pathlib import Path
from typing import Any

from etsearch.boundary.numbers import shown
from etsearch.boundary.plain import read_json
from etsearch.errors import ConfigError
from etsearch.types import Message, Problem

_SHAPE = """[{"role": "system", "content": "…"}, …, {"role": "user", "content": "the question"}]"""


def read_messages(path: Path) -> Problem:
    """The problem that a file of messages holds: the last is the question, the others were said before it.

    Raises:
        ConfigError: the file cannot be read or holds no messages, or the last is not the user's.
    """
    try:
        values = read_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--messages {path} cannot be read: {error}; give a JSON file such as {_SHAPE}") from error
    if not isinstance(values, list) or not values:
        raise ConfigError(f"--messages {path} holds {shown(values)}; it must hold a list of messages: {_SHAPE}")
    *before, last = (_message(value, f"message {number} of {path}") for number, value in enumerate(values, 1))
    if last.role != "user" or not last.content.strip():
        raise ConfigError(
            f"the last message of {path} is {shown(last.content)}, of the {last.role}; it must be the user's question"
        )
    return Problem(last.content.strip(), messages=tuple(before))


def _message(value: Any, what: str) -> Message:
    if not isinstance(value, dict) or set(value) != {"role", "content"}:
        raise ConfigError(f"{what} is {shown(value)}; it must be an object with role and content: {_SHAPE}")
    try:
        return Message(**value)
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from None

"""Texts from models, servers and files: what no encoding knows, what would steer a terminal, what is secret."""

import re
from typing import Final

from etsearch.errors import ConfigError

REPLACEMENT: Final = "\ufffd"
"""Stands where a text held something that is no character."""
HIDDEN: Final = "[key]"
"""Stands where a text held a secret."""
SHORTEST_SECRET: Final = 8
"""Letters that a key must have to be taken out of an answer's text: a shorter one may be a word of it."""
SHORTEST_IN_MESSAGE: Final = 4
"""Letters that a key must have to be taken out of an error's text."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_secrets: set[str] = set()


def is_readable(text: str) -> bool:
    """Whether a text can be written: whether it is free of lone surrogates, which no encoding knows."""
    return _SURROGATE.search(text) is None


def check_text(what: str, text: object) -> None:
    """Raises ConfigError unless ``text`` is one that can be written: a ``str`` without lone surrogates."""
    if not isinstance(text, str):
        raise ConfigError(f"{what} is a {type(text).__name__}; it must be a text")
    if half := _SURROGATE.search(text):
        place = max(0, half.start() - 20)
        raise ConfigError(
            f"{what} holds half a character (a lone surrogate) at letter {half.start() + 1}: "
            f"{text[place : half.end() + 20]!r}; it cannot be written in any encoding"
        )


def make_readable(text: str) -> str:
    """The text with each lone surrogate replaced."""
    return _SURROGATE.sub(REPLACEMENT, text)


def show_controls(text: str) -> str:
    r"""The text with each control character written out, such as ``\x1b``; line ends and tabs stay."""
    return _CONTROL.sub(_written, text.replace("\r\n", "\n"))


def _written(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def keep_secret(key: str) -> None:
    """From now on the key is taken out of what ``hide_secrets`` is given."""
    if key:
        _secrets.add(key)


def hide_secrets(text: str, shortest: int = SHORTEST_SECRET) -> str:
    """The text without the secrets of at least so many letters."""
    for key in sorted(_secrets, key=len, reverse=True):
        if len(key) >= shortest:
            text = text.replace(key, HIDDEN)
    return text


def clean_message(text: str) -> str:
    """What a server or a library says went wrong, as an error may hold it: on one line, without secrets."""
    return show_controls(hide_secrets(" ".join(text.split()), SHORTEST_IN_MESSAGE))

"""Texts to token ids and back, and chat templates: what every tokenizer does, wherever it is.

Here is the tokenizer of a model's folder (``tokenizer.json``, read by the library ``tokenizers``); a server's own is in
``etsearch.servers.tokenizers``.
"""

import importlib.util
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, final

from etsearch.boundary.files import to_path
from etsearch.errors import ConfigError, MissingDependencyError
from etsearch.models.files import read_object
from etsearch.types import Message, PromptFormat

Messages = Sequence[tuple[str, str]]
"""Turns of a chat: role and content."""


class Codec(ABC):
    """A tokenizer. What needs a server has a form for callers on an event loop and one (``_now``) for others.

    Attributes:
        renders_start: whether a chat that is rendered holds the token that starts a text, if the model has one.
    """

    renders_start = True

    @abstractmethod
    def encode_now(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of a text; with ``special``, with the special tokens that start an input."""

    async def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The same for callers on an event loop."""
        return self.encode_now(text, special=special)

    @abstractmethod
    def decode_now(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""

    @abstractmethod
    def render_now(self, messages: Messages, *, opens_answer: bool) -> str | None:
        """The chat template filled in, up to the start of an answer if asked for; None where there is no template.

        Special tokens stand in it as text: it is encoded without ``special``.
        """

    async def encode_chat(self, messages: Messages) -> list[int] | None:
        """Token ids of a chat up to the start of an answer; None where there is no template."""
        text = self.render_now(messages, opens_answer=True)
        return None if text is None else await self.encode(text, special=not self.renders_start)

    async def encode_turns(self, form: PromptFormat, messages: Sequence[Message], question: str) -> list[int] | None:
        """Token ids of a conversation in a model's format, up to the start of an answer; None as ``encode_chat``."""
        return await self.encode_chat([(turn.role, turn.content) for turn in form.turns(messages, question)])

    async def encode_question(self, form: PromptFormat, question: str) -> list[int]:
        """Token ids of a question in a model's format: a chat, where it says so and there is a template."""
        chat = await self.encode_turns(form, (), question) if form.chat else None
        return await self.encode(form.prompt(question), special=True) if chat is None else chat

    @property
    def starts_with(self) -> str | None:
        """The text of the token that starts a text (BOS); None where there is none or nobody tells."""
        return None

    @property
    def unknown_id(self) -> int | None:
        """The id that stands for what the tokenizer cannot read; None where there is none or nobody tells."""
        return None


@final
class FolderCodec(Codec):
    """The tokenizer in a model's folder.

    Args:
        folder: holds ``tokenizer.json`` and, for chat, ``tokenizer_config.json`` or ``chat_template.jinja``.

    Raises:
        ConfigError: there is no tokenizer that can be read.
        MissingDependencyError: the extra ``tokenizers`` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import tokenizers  # noqa: PLC0415
        except ImportError as error:
            raise MissingDependencyError("A tokenizer from a folder", "tokenizers") from error
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise ConfigError(f"{folder} holds no tokenizer.json; give a model's folder that does")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            raise ConfigError(f"{file} cannot be read: {error}") from error
        self._tokenizer.no_truncation()  # as training left them, they would cut and pad steps
        self._tokenizer.no_padding()
        self._config = read_object(folder / "tokenizer_config.json")
        template = folder / "chat_template.jinja"
        stored = template.read_text(encoding="utf-8") if template.is_file() else self._config.get("chat_template")
        self._template = stored if isinstance(stored, str) else _default_template(stored)

    def encode_now(self, text: str, *, special: bool = False) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=special).ids)

    def decode_now(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def render_now(self, messages: Messages, *, opens_answer: bool) -> str | None:
        if self._template is None:
            return None
        try:
            import jinja2.sandbox  # noqa: PLC0415
        except ImportError as error:
            raise MissingDependencyError("A chat template", "tokenizers") from error

        def refuse(message: str) -> None:
            raise ConfigError(f"the chat template refuses this: {message}")

        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["strftime_now"] = time.strftime
        environment.globals["raise_exception"] = refuse
        named = {key: _token_text(self._config.get(key)) for key in ("bos_token", "eos_token", "unk_token")}
        turns = [{"role": role, "content": content} for role, content in messages]
        try:
            template = environment.from_string(self._template)
            return template.render(messages=turns, add_generation_prompt=opens_answer, **named)
        except jinja2.TemplateError as error:
            raise ConfigError(f"the chat template cannot be applied: {error}") from error

    @property
    def starts_with(self) -> str | None:
        return _token_text(self._config.get("bos_token")) or None

    @property
    def unknown_id(self) -> int | None:
        return self._id_of("unk_token")

    @property
    def end_id(self) -> int | None:
        """The id of the token that ends a text (EOS); None where the folder tells none."""
        return self._id_of("eos_token")

    @property
    def size(self) -> int:
        """The number of ids, added tokens among them."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    def decode_many(self, sequences: list[list[int]]) -> list[str]:
        """The texts of sequences of ids; an id that there is no token for has none."""
        return list(self._tokenizer.decode_batch(sequences, skip_special_tokens=False))

    def _id_of(self, key: str) -> int | None:
        text = _token_text(self._config.get(key))
        found = self._tokenizer.token_to_id(text) if text else None
        return None if found is None else int(found)


TURN: Final = "\x1e"
"""Stands before a turn of a chat, and between a question and its answer; a character that no text has."""
ROLE_END: Final = "\x1f"
_PIECES: Final = re.compile(r"\s?[^\W\d_]{1,64}|\d|\s{1,64}|[^\w\s]|_")
"""No piece is so long that its number could not be written."""


def pieces_of(text: str) -> list[str]:
    """Pieces of a text of about a token each; joined they are the text."""
    return _PIECES.findall(text)


def turns_of(text: str) -> list[tuple[str, str]]:
    """The turns, role and content, of a chat that ``TextCodec`` rendered."""
    parts = [turn.partition(ROLE_END) for turn in text.split(TURN)[1:]]
    return [(role, content) for role, _, content in parts]


def name_of(token: str) -> int:
    """A number for a token of which only the text is known: its letters, read as one."""
    return int.from_bytes(b"\x01" + token.encode("utf-8", "surrogatepass"))


def token_from(number: int) -> str:
    """The text of a token from its number."""
    raw = number.to_bytes((number.bit_length() + 7) // 8)
    if raw[:1] != b"\x01":
        raise ConfigError(f"{number} names no token of a server that is sent text")
    return raw[1:].decode("utf-8", "surrogatepass")


@final
class TextCodec(Codec):
    """Stands in for a tokenizer that nobody can reach: pieces of a text, named by their letters.

    Args:
        marks_turns: whether a chat is rendered as its turns with marks between them (``turns_of`` reads them again),
            for a server that applies its template itself; else there is no chat template.
    """

    def __init__(self, *, marks_turns: bool = False) -> None:
        self._marks_turns = marks_turns

    def encode_now(self, text: str, *, special: bool = False) -> list[int]:
        del special
        return [name_of(piece) for piece in pieces_of(text)]

    def decode_now(self, ids: Sequence[int]) -> str:
        return "".join(map(token_from, ids))

    def render_now(self, messages: Messages, *, opens_answer: bool) -> str | None:
        del opens_answer
        return "".join(f"{TURN}{role}{ROLE_END}{content}" for role, content in messages) if self._marks_turns else None


def local_codec(given: str | None, folder: Path | None) -> FolderCodec | None:
    """The tokenizer of a folder that a user gave, else of the model's own if it can be read here, else None."""
    if given:
        return FolderCodec(to_path(given, "the tokenizer"))
    if folder is None or not (folder / "tokenizer.json").is_file() or not importlib.util.find_spec("tokenizers"):
        return None
    return FolderCodec(folder)


def _token_text(entry: Any) -> str:
    """A special token as tokenizer configurations write it: a text, or an object with its content."""
    return str(entry.get("content", "")) if isinstance(entry, dict) else str(entry or "")


def _default_template(stored: Any) -> str | None:
    """The template called ``default`` where a configuration holds several."""
    if not isinstance(stored, list):
        return None
    return next((str(t["template"]) for t in stored if isinstance(t, dict) and t.get("name") == "default"), None)

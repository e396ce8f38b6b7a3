"""The tokenizer of a server, through its own routes."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, final

from pydantic import AliasChoices, Field, TypeAdapter

from etsearch.errors import ConfigError
from etsearch.models.codec import Codec, Messages
from etsearch.servers.answers import TOKENS, Answer
from etsearch.servers.client import RefusedError
from etsearch.servers.pool import Pool


class _Text(Answer):
    """A text, by the name that each server has for it."""

    text: Annotated[str, Field(validation_alias=AliasChoices("prompt", "text", "content"))]


_TEXT: Final = TypeAdapter(_Text)


@final
class ServerCodec(Codec):
    """``/tokenize`` and ``/detokenize`` as vLLM and SGLang have them; both render chats themselves.

    ``detokenize`` is sent along, for a server that leaves special tokens out unless it is told not to.
    """

    def __init__(self, pool: Pool, model: str, detokenize: Mapping[str, Any] | None = None) -> None:
        self._pool, self._model, self._detokenize = pool, model, dict(detokenize or {})

    def _body(self, text: str, *, special: bool) -> dict[str, Any]:
        return {"model": self._model, "prompt": text, "add_special_tokens": special}

    def encode_now(self, text: str, *, special: bool = False) -> list[int]:
        return self._pool.ask_now("/tokenize", self._body(text, special=special), TOKENS).tokens

    async def encode(self, text: str, *, special: bool = False) -> list[int]:
        return (await self._pool.post("/tokenize", self._body(text, special=special), TOKENS)).tokens

    def decode_now(self, ids: Sequence[int]) -> str:
        body = {"model": self._model, "tokens": list(ids), **self._detokenize}
        return self._pool.ask_now("/detokenize", body, _TEXT).text

    def render_now(self, messages: Messages, *, opens_answer: bool) -> str | None:
        try:
            answer = self._pool.ask_now("/tokenize", self._chat(messages, opens_answer=opens_answer), TOKENS)
        except ConfigError as error:
            if _lacks_template(error):
                return None
            raise
        return self.decode_now(answer.tokens)

    def _chat(self, messages: Messages, *, opens_answer: bool) -> dict[str, Any]:
        turns = [{"role": role, "content": content} for role, content in messages]
        options = {"add_generation_prompt": opens_answer, "add_special_tokens": False}
        return {"model": self._model, "messages": turns, **options}

    async def encode_chat(self, messages: Messages) -> list[int] | None:
        try:
            return (await self._pool.post("/tokenize", self._chat(messages, opens_answer=True), TOKENS)).tokens
        except RefusedError as error:
            if _lacks_template(error):
                return None
            raise


@final
class LlamaServerCodec(Codec):
    """``/tokenize``, ``/detokenize`` and ``/apply-template`` of llama.cpp's server."""

    renders_start = False

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def encode_now(self, text: str, *, special: bool = False) -> list[int]:
        return self._pool.ask_now("/tokenize", _content(text, special=special), TOKENS).tokens

    async def encode(self, text: str, *, special: bool = False) -> list[int]:
        return (await self._pool.post("/tokenize", _content(text, special=special), TOKENS)).tokens

    def decode_now(self, ids: Sequence[int]) -> str:
        return self._pool.ask_now("/detokenize", {"tokens": list(ids)}, _TEXT).text

    def render_now(self, messages: Messages, *, opens_answer: bool) -> str | None:
        if not opens_answer:
            raise ConfigError("llama-server renders chats up to an answer only; give the tokenizer: tokenizer=PATH")
        return self._pool.ask_now("/apply-template", _turns(messages), _TEXT).text

    async def encode_chat(self, messages: Messages) -> list[int] | None:
        rendered = await self._pool.post("/apply-template", _turns(messages), _TEXT)
        return await self.encode(rendered.text, special=True)


def _lacks_template(error: Exception) -> bool:
    return "template" in str(error).lower()


def _turns(messages: Messages) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


def _content(text: str, *, special: bool) -> dict[str, Any]:
    return {"content": text, "add_special": special, "parse_special": True}

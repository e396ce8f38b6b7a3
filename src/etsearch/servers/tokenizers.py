"""The tokenizer of a server, through its own routes."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from etsearch.errors import BadResponseError, ConfigError
from etsearch.models.codec import Codec, Messages
from etsearch.servers.client import RefusedError
from etsearch.servers.pool import Pool


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
        return _ids(self._pool.ask_now("/tokenize", self._body(text, special=special)))

    async def encode(self, text: str, *, special: bool = False) -> list[int]:
        return _ids(await self._pool.post("/tokenize", self._body(text, special=special)))

    def decode_now(self, ids: Sequence[int]) -> str:
        answer = self._pool.ask_now("/detokenize", {"model": self._model, "tokens": list(ids), **self._detokenize})
        return str(answer["prompt"] if "prompt" in answer else answer["text"])

    def render_now(self, messages: Messages, *, opens_answer: bool) -> str | None:
        try:
            answer = self._pool.ask_now("/tokenize", self._chat(messages, opens_answer=opens_answer))
        except RefusedError as error:
            if _lacks_template(error):
                return None
            raise
        return self.decode_now(_ids(answer))

    def _chat(self, messages: Messages, *, opens_answer: bool) -> dict[str, Any]:
        turns = [{"role": role, "content": content} for role, content in messages]
        options = {"add_generation_prompt": opens_answer, "add_special_tokens": False}
        return {"model": self._model, "messages": turns, **options}

    async def encode_chat(self, messages: Messages) -> list[int] | None:
        try:
            return _ids(await self._pool.post("/tokenize", self._chat(messages, opens_answer=True)))
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
        return _ids(self._pool.ask_now("/tokenize", {"content": text, "add_special": special, "parse_special": True}))

    async def encode(self, text: str, *, special: bool = False) -> list[int]:
        body = {"content": text, "add_special": special, "parse_special": True}
        return _ids(await self._pool.post("/tokenize", body))

    def decode_now(self, ids: Sequence[int]) -> str:
        return str(self._pool.ask_now("/detokenize", {"tokens": list(ids)})["content"])

    def render_now(self, messages: Messages, *, opens_answer: bool) -> str | None:
        if not opens_answer:
            raise ConfigError("llama-server renders chats up to an answer only; give the tokenizer: tokenizer=PATH")
        return str(self._pool.ask_now("/apply-template", _turns(messages))["prompt"])

    async def encode_chat(self, messages: Messages) -> list[int] | None:
        return await self.encode(
            str((await self._pool.post("/apply-template", _turns(messages)))["prompt"]), special=True
        )


def _lacks_template(error: RefusedError) -> bool:
    return "template" in str(error).lower()


def _turns(messages: Messages) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


def _ids(answer: Any) -> list[int]:
    try:
        return [int(i) for i in answer["tokens"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BadResponseError(f"the server's tokenizer answered {str(answer)[:200]}, which holds no tokens") from error

"""Any server with an OpenAI-compatible route for completions, and llama.cpp's server by its own route.

Servers differ in what they take and tell; this is found out on construction, and said (``notices``).

- llama-server takes and gives token ids, and tells which stop string ended a continuation.
- Any other is sent text. Its tokens are known as far as it gives log probabilities: a token is then named by its text
  (:func:`~etsearch.models.codec.name_of`), so that prefixes, KV tokens and records work as with real ids. Where it
  gives none, tokens are guessed from words, and KV tokens are an estimate.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, TypeVar, final

from pydantic import TypeAdapter

from etsearch.errors import BadResponseError, ConfigError
from etsearch.generators.remote import RemoteGenerator, RemoteOptions
from etsearch.models.codec import ROLE_END, TURN, Codec, TextCodec, name_of, pieces_of, turns_of
from etsearch.servers.answers import Answer, Count, Figure, OneOrMany, TokenId, expect, in_order
from etsearch.servers.client import Server
from etsearch.servers.facts import ServerFacts
from etsearch.servers.figures import read_figures, total
from etsearch.servers.openai import openai_facts
from etsearch.servers.pool import Pool
from etsearch.servers.tokenizers import LlamaServerCodec
from etsearch.types import Continuation, EngineStats, FinishReason, GenerateRequest, Message, PromptFormat

Api = Literal["completions", "chat"]

LONGEST_TOKEN: Final = 256
"""Letters of a token that are one number; a longer one is taken apart."""

_ANSWER: Final = TURN + ROLE_END
"""Stands in a conversation before the answer: a turn of nobody's. A question alone has ``TURN`` there."""
_logger = logging.getLogger(__name__)
_LLAMA: Final = "llamacpp:"
_FIGURES: Final = tuple(_LLAMA + name for name in ("requests_processing", "requests_deferred"))


class _Timings(Answer):
    cache_n: Count = 0
    prompt_n: Count = 0


class _LogProbability(Answer):
    logprob: Figure


class _Output(Answer):
    """A continuation as llama-server gives it."""

    index: int
    content: str
    stop_type: Literal["word", "eos", "limit"]
    stopping_word: str = ""
    tokens: list[TokenId]
    completion_probabilities: tuple[_LogProbability, ...] = ()
    timings: _Timings = _Timings()


class _Token(_LogProbability):
    token: str


class _LogProbabilities(Answer):
    """As completions give them, or as chats do."""

    tokens: list[str] | None = None
    token_logprobs: list[Figure | None] | None = None
    content: list[_Token] | None = None


class _Message(Answer):
    content: str | None = None


class _Choice(Answer):
    index: int = 0
    text: str | None = None
    message: _Message | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    matched_stop: str | int | None = None
    logprobs: _LogProbabilities | None = None


class _PromptTokens(Answer):
    cached_tokens: Count | None = None


class _Usage(Answer):
    prompt_tokens: Count = 0
    prompt_tokens_details: _PromptTokens | None = None


class _Completions(Answer):
    choices: list[_Choice]
    usage: _Usage | None = None


T = TypeVar("T")
_OUTPUTS: Final[TypeAdapter[list[_Output]]] = TypeAdapter(Annotated[list[_Output], OneOrMany])
_COMPLETIONS: Final = TypeAdapter(_Completions)


@final
class OpenAiGenerator(RemoteGenerator):
    """Continuations from a server with an OpenAI-compatible API.

    Args:
        pool: the replicas.
        options: see :class:`~etsearch.generators.remote.RemoteOptions`.
        api: ``completions`` (default), or ``chat`` for servers that have no other: the question is the user's turn,
            after what was said before it, and the steps so far are the start of the assistant's, which the server must
            go on with.
    """

    def __init__(self, pool: Pool, options: RemoteOptions, *, api: Api = "completions") -> None:
        self._api = api
        self._num_prompt_tokens = self._num_hit_tokens = 0
        super().__init__(pool, options)
        self._dialect: _Dialect = _Text(self, api) if isinstance(self._codec, TextCodec) else _LlamaServer(self)
        for notice in self.notices:
            _logger.warning("%s", notice)

    def _facts(self, server: Server) -> ServerFacts:
        return openai_facts(server)

    def _server_codec(self) -> Codec:
        is_llama = self.facts.engine.startswith("llama-server") and self._api == "completions"
        return LlamaServerCodec(self._pool) if is_llama else TextCodec()

    def _open_codec(self) -> Codec:
        return self._server_codec()

    def _open_format(self) -> PromptFormat:
        found = super()._open_format()
        needs_template = found.chat and self._api == "completions" and isinstance(self._codec, TextCodec)
        if not needs_template:
            return found
        system = found.system + "\n\n" if found.system else ""
        return replace(found, template=f"{system}{found.template}\n\n", chat=False, system="")

    async def encode_prompt(self, question: str) -> list[int]:
        """Token ids of a question in this model's format; for a chat, with a mark where the answer starts."""
        if self._api != "chat":
            return await super().encode_prompt(question)
        if self._format.system:
            return await self.encode_conversation((), question)
        _check_marks([question])
        return await self._codec.encode(self._format.prompt(question) + TURN)

    async def encode_conversation(self, messages: Sequence[Message], question: str) -> list[int]:
        """See :class:`~etsearch.generators.base.ReadsConversations`; for a chat, the turns with marks between them."""
        if self._api != "chat":
            return await super().encode_conversation(messages, question)
        _check_marks([*(message.content for message in messages), question])
        turns = self._format.turns(messages, question)
        marked = "".join(f"{TURN}{turn.role}{ROLE_END}{turn.content}" for turn in turns)
        return await self._codec.encode(marked + _ANSWER)

    @property
    def _without_chat(self) -> tuple[str, str]:
        if isinstance(self._codec, TextCodec):
            return "its server is sent plain text", "Use its route for chats (api=chat)"
        return super()._without_chat

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user of this server should know."""
        return self._dialect.notices

    async def _ask(self, request: GenerateRequest) -> list[Continuation]:
        return await self._dialect.ask(request)

    def _stats(self, texts: Sequence[str]) -> EngineStats:
        servers = read_figures(texts, _FIGURES)
        return EngineStats(
            cache_capacity_tokens=self.facts.cache_tokens,
            prefix_query_tokens=self._num_prompt_tokens or None,
            prefix_hit_tokens=self._num_hit_tokens if self._num_prompt_tokens else None,
            num_running=total(servers, f"{_LLAMA}requests_processing"),
            num_waiting=total(servers, f"{_LLAMA}requests_deferred"),
        )

    def count(self, num_prompt: int, num_hit: int) -> None:
        """Takes note of a prompt's tokens and of those that were in the cache."""
        self._num_prompt_tokens += num_prompt
        self._num_hit_tokens += num_hit

    async def post(self, path: str, body: dict[str, Any], answer: TypeAdapter[T], tree: str) -> T:
        """For the dialects."""
        return await self._pool.post(path, body, answer, tree)


class _Dialect(ABC):
    """How a kind of server is asked."""

    notices: tuple[str, ...] = ()

    def __init__(self, generator: OpenAiGenerator) -> None:
        self._generator = generator

    @abstractmethod
    async def ask(self, request: GenerateRequest) -> list[Continuation]:
        """The continuations of a request that fits."""

    @staticmethod
    def num_drawn(request: GenerateRequest) -> int:
        """Continuations to ask for: greedy ones are all equal."""
        return 1 if request.sampling.temperature == 0 else request.num_continuations


@final
class _LlamaServer(_Dialect):
    """``/completion`` of llama.cpp's server: token ids in and out; every sampler but ours switched off."""

    async def ask(self, request: GenerateRequest) -> list[Continuation]:
        count = self.num_drawn(request)
        most = self._generator.facts.num_slots or 1
        parts = [self._part(request, start, min(most, count - start)) for start in range(0, count, most)]
        found = [continuation for part in await asyncio.gather(*parts) for continuation in part]
        return found * (request.num_continuations // count)

    async def _part(self, request: GenerateRequest, start: int, count: int) -> list[Continuation]:
        """As many continuations as the server has slots, at most. It draws the i-th of a request with seed + i."""
        body = {
            "prompt": list(request.prefix),
            "n_predict": request.max_tokens,
            "n_cmpl": count,
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            "samplers": ["top_p", "temperature"],
            "seed": request.seed + start,
            "stop": list(request.stop),
            "cache_prompt": True,
            "return_tokens": True,
            "n_probs": 1,
        }
        answer = await self._generator.post("/completion", body, _OUTPUTS, request.search)
        outputs = in_order(answer, count)
        for output in outputs:
            hits = output.timings.cache_n
            self._generator.count(hits + output.timings.prompt_n, hits)
        return [self._continuation(output) for output in outputs]

    @staticmethod
    def _continuation(output: _Output) -> Continuation:
        reasons = {"word": FinishReason.STEP, "eos": FinishReason.END, "limit": FinishReason.LENGTH}
        reason, ids = reasons[output.stop_type], output.tokens
        if reason is FinishReason.END:
            ids = ids[:-1]
        told = [entry.logprob for entry in output.completion_probabilities][: len(ids)]
        # The stop string is cut out of the text, not out of the tokens; of its tokens no probability is told, so theirs
        # is taken to be as the others' in the mean.
        text = output.content + (output.stopping_word if reason is FinishReason.STEP else "")
        log_probability = sum(told) * len(ids) / len(told) if told else None
        return Continuation(tuple(ids), text, reason, log_probability)


@final
class _Text(_Dialect):
    """Text in and out, as every compatible server has it."""

    def __init__(self, generator: OpenAiGenerator, api: Api) -> None:
        super().__init__(generator)
        self._api = api
        notices = []
        notices.append(
            f"{generator.facts.engine} is sent text: steps are tokenised again with every request, and KV tokens are "
            "counted from the server's log probabilities, or guessed where it gives none"
        )
        if api == "completions" and generator.format.chat is False:
            notices.append("no chat template is put around the question: this server's is not known")
        notices.append("the server does not tell a stop string from the end of a solution: an empty step ends it")
        self.notices = tuple(notices)

    async def ask(self, request: GenerateRequest) -> list[Continuation]:
        count = self.num_drawn(request)
        body: dict[str, Any] = {
            "model": self._generator.facts.model,
            "max_tokens": request.max_tokens,
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            "stop": list(request.stop),
        }
        text = self._generator.codec.decode_now(request.prefix)
        if self._api == "chat":
            path, more = "/v1/chat/completions", self._chat(text)
        else:
            path, more = "/v1/completions", {"prompt": text, "logprobs": 1}
        choices: list[_Choice] = []
        while len(choices) < count:  # some servers know no n, and give one at a time
            asked = {**body, **more, "n": count - len(choices), "seed": request.seed + len(choices)}
            answer = await self._generator.post(path, asked, _COMPLETIONS, request.search)
            self._count(answer.usage)
            came = sorted(answer.choices, key=lambda choice: choice.index)
            if not 0 < len(came) <= asked["n"]:
                expect(came, asked["n"])
            choices += came
        return [_from_text(c, request.stop) for c in choices] * (request.num_continuations // count)

    def _count(self, usage: _Usage | None) -> None:
        details = usage.prompt_tokens_details if usage else None
        if usage and details and details.cached_tokens is not None:
            self._generator.count(usage.prompt_tokens, details.cached_tokens)

    def _chat(self, text: str) -> dict[str, Any]:
        """The question as the user's turn, and those before it; the steps so far as an answer that is gone on with."""
        if text.startswith(TURN):
            before, _, so_far = text.partition(_ANSWER)
            turns = turns_of(before)
        else:
            question, _, so_far = text.partition(TURN)
            turns = [("user", question)]
        messages = [{"role": role, "content": content} for role, content in turns]
        more: dict[str, Any] = {"messages": messages, "logprobs": True}
        if so_far:
            messages.append({"role": "assistant", "content": so_far})
            more |= {"continue_final_message": True, "add_generation_prompt": False}
        return more


def _check_marks(texts: Sequence[str]) -> None:
    """Raises ConfigError if a text holds what marks the turns of a chat: it would be read as another turn."""
    for mark in (TURN, ROLE_END):
        if any(mark in text for text in texts):
            raise ConfigError(f"a text holds the control character {mark!r}, which marks turns here; take it out")


def _from_text(choice: _Choice, stop: Sequence[str]) -> Continuation:
    if choice.text is None and choice.message is None:
        raise BadResponseError("the server gave a choice that holds neither a text nor a message")
    text = choice.text if choice.message is None else choice.message.content
    text = text or ""
    told = choice.stop_reason if choice.matched_stop is None else choice.matched_stop
    reason = FinishReason.LENGTH
    if choice.finish_reason == "stop":
        is_end = not text or isinstance(told, int)
        reason = FinishReason.END if is_end else FinishReason.STEP
    cut = text
    if reason is FinishReason.STEP:
        ending = told if isinstance(told, str) else stop[0] if stop else ""
        text += "" if text.endswith(ending) else ending
    pieces, logs = _tokens(choice.logprobs)
    spelt = "".join(pieces)
    if spelt == cut and text != cut:
        pieces = [*pieces, text[len(cut) :]]  # some servers leave the stop string's tokens out, as in the text
    elif spelt != text:
        pieces, logs = pieces_of(text), None
    pieces = [part for piece in pieces for part in (pieces_of(piece) if len(piece) > LONGEST_TOKEN else [piece])]
    return Continuation(tuple(map(name_of, pieces)), text, reason, sum(logs) if logs is not None else None)


def _tokens(logprobs: _LogProbabilities | None) -> tuple[list[str], list[float] | None]:
    """The tokens of a choice and their log probabilities: of completions, of chats, or of none."""
    if logprobs is None:
        return [], None
    if logprobs.tokens is not None:
        logs = logprobs.token_logprobs or []
        expect(logs, len(logprobs.tokens))
        return logprobs.tokens, [log or 0.0 for log in logs]
    content = logprobs.content or []
    return [entry.token for entry in content], [entry.logprob for entry in content]

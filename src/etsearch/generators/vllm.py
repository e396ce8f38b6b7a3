"""vLLM's own server, by its route for plain completion (seen to work with 0.32)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

from pydantic import TypeAdapter

from etsearch.boundary.numbers import shown
from etsearch.errors import BadResponseError, EngineOverloadedError
from etsearch.generators.remote import RemoteGenerator
from etsearch.models.codec import Codec
from etsearch.servers.answers import Answer, Figure, TokenId, in_order
from etsearch.servers.client import Server
from etsearch.servers.facts import ServerFacts
from etsearch.servers.tokenizers import ServerCodec
from etsearch.servers.vllm import vllm_facts, vllm_stats, vllm_totals
from etsearch.types import Continuation, EngineStats, FinishReason, GenerateRequest


class _LogProbabilities(Answer):
    token_logprobs: list[Figure] | None = None


class _Choice(Answer):
    index: int
    text: str
    token_ids: list[TokenId]
    finish_reason: str | None
    stop_reason: str | int | None = None
    logprobs: _LogProbabilities | None = None


class _Completions(Answer):
    choices: list[_Choice]


_COMPLETIONS: Final = TypeAdapter(_Completions)


@final
class VllmGenerator(RemoteGenerator):
    """Continuations from vLLM: all of one node in one request, token ids in and out, each request with its seed.

    ``Continuation.log_probability`` is under the model's own distribution: temperature and ``top_p`` do not enter it.
    Where the token that completes the delimiter holds more text after it, the ids have the whole token, the text ends
    with the delimiter.
    """

    def _facts(self, server: Server) -> ServerFacts:
        return vllm_facts(server)

    def _server_codec(self) -> Codec:
        return ServerCodec(self._pool, self.facts.model)

    async def _ask(self, request: GenerateRequest) -> list[Continuation]:
        # vLLM refuses several greedy continuations; they are equal.
        count = 1 if request.sampling.temperature == 0 else request.num_continuations
        body: dict[str, Any] = {
            "model": self.facts.model,
            "prompt": list(request.prefix),
            "n": count,
            "max_tokens": request.max_tokens,
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "seed": request.seed,
            "stop": list(request.stop),
            "include_stop_str_in_output": True,
            "spaces_between_special_tokens": False,
            "return_token_ids": True,
        }
        if self._options.log_probabilities:
            body["logprobs"] = 0
        answer = await self._pool.post("/v1/completions", body, _COMPLETIONS, request.search)
        choices = in_order(answer.choices, count)
        return [_continuation(choice) for choice in choices] * (request.num_continuations // count)

    def _stats(self, texts: Sequence[str]) -> EngineStats:
        return vllm_stats(texts)

    def _totals(self, text: str) -> Mapping[str, int]:
        return vllm_totals(text)


def _continuation(choice: _Choice) -> Continuation:
    ids, logs = choice.token_ids, choice.logprobs.token_logprobs if choice.logprobs else None
    match choice.finish_reason, choice.stop_reason:
        case "stop", str():
            reason = FinishReason.STEP
        case "stop", _:
            reason, ids = FinishReason.END, ids[:-1]
        case "length", _:
            reason = FinishReason.LENGTH
        case "abort" | "error" as other, _:
            raise EngineOverloadedError(
                f"the server gave a continuation up ({other}): it is going down, or has no room"
            )
        case other, _:
            raise BadResponseError(f"the server ended a continuation for a reason that is not known: {shown(other)}")
    if logs is not None and len(logs) < len(ids):
        raise BadResponseError(f"the server gave {len(logs)} log probabilities for {len(ids)} tokens")
    log_probability = sum(logs[: len(ids)]) if logs is not None else None
    return Continuation(tuple(ids), choice.text, reason, log_probability)

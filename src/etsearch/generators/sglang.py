"""SGLang's own server, by its native route ``/generate`` (requests and answers as 0.5.23 has them)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, final

from pydantic import TypeAdapter

from etsearch.boundary.numbers import shown
from etsearch.boundary.texts import clean_message
from etsearch.errors import BadResponseError, EngineOverloadedError
from etsearch.generators.remote import RemoteGenerator, RemoteOptions
from etsearch.models.codec import Codec
from etsearch.servers.answers import Answer, Count, Figure, OneOrMany, TokenId, expect
from etsearch.servers.client import Server
from etsearch.servers.facts import ServerFacts
from etsearch.servers.figures import read_figures, total
from etsearch.servers.pool import Pool
from etsearch.servers.sglang import DETOKENIZE, sglang_facts
from etsearch.servers.tokenizers import ServerCodec
from etsearch.types import Continuation, EngineStats, FinishReason, GenerateRequest

_PREFIX: Final = "sglang:"
_FIGURES: Final = tuple(
    _PREFIX + name
    for name in (
        "num_used_tokens",
        "max_total_num_tokens",
        "num_running_reqs",
        "num_queue_reqs",
    )
)


class _Finish(Answer):
    type: str
    matched: str | int | list[int] | None = None
    message: str | None = None


class _Meta(Answer):
    finish_reason: _Finish
    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    output_token_logprobs: list[tuple[Figure, int, str | None]] | None = None
    """Log probability, id and text of each token."""


class _Output(Answer):
    text: str
    output_ids: list[TokenId]
    meta_info: _Meta


_OUTPUTS: Final[TypeAdapter[list[_Output]]] = TypeAdapter(Annotated[list[_Output], OneOrMany])


@final
class SglangGenerator(RemoteGenerator):
    """Continuations from SGLang: all of one node in one request, token ids in and out.

    SGLang obeys a seed only if it was started with ``--enable-deterministic-inference``; there the continuations of a
    request are sent as a batch with a seed each, since one seed for all would make them equal. Prefix hits are counted
    from the answers, cache use needs ``--enable-metrics``.
    """

    def __init__(self, pool: Pool, options: RemoteOptions) -> None:
        super().__init__(pool, options)
        self._num_prompt_tokens = self._num_hit_tokens = 0

    def _facts(self, server: Server) -> ServerFacts:
        return sglang_facts(server)

    def _server_codec(self) -> Codec:
        return ServerCodec(self._pool, self.facts.model, DETOKENIZE)

    @property
    def obeys_seeds(self) -> bool:
        """Only with ``--enable-deterministic-inference``."""
        return self.facts.draws_by_seed

    async def _ask(self, request: GenerateRequest) -> list[Continuation]:
        count = 1 if request.sampling.temperature == 0 else request.num_continuations
        sampling: dict[str, Any] = {
            "max_new_tokens": request.max_tokens,
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            "stop": list(request.stop),
            "no_stop_trim": True,
            "spaces_between_special_tokens": False,
        }
        body: dict[str, Any] = {"input_ids": list(request.prefix), "return_logprob": self._options.log_probabilities}
        if self.facts.draws_by_seed:
            body["input_ids"] = [list(request.prefix)] * count
            body["sampling_params"] = [{**sampling, "sampling_seed": request.seed + i} for i in range(count)]
            if self._options.log_probabilities:
                body["return_logprob"] = [True] * count
        else:
            body["sampling_params"] = {**sampling, "n": count}
        outputs = await self._pool.post("/generate", body, _OUTPUTS, request.search)
        expect(outputs, count)
        for output in outputs:
            self._num_prompt_tokens += output.meta_info.prompt_tokens
            self._num_hit_tokens += output.meta_info.cached_tokens
        return [_continuation(output) for output in outputs] * (request.num_continuations // count)

    def _stats(self, texts: Sequence[str]) -> EngineStats:
        servers = read_figures(texts, _FIGURES)
        capacity = total(servers, f"{_PREFIX}max_total_num_tokens") or (self.facts.cache_tokens or 0) * len(servers)
        used = total(servers, f"{_PREFIX}num_used_tokens")
        return EngineStats(
            cache_use=None if used is None or not capacity else used / capacity,
            cache_capacity_tokens=capacity or None,
            prefix_query_tokens=self._num_prompt_tokens,
            prefix_hit_tokens=self._num_hit_tokens,
            num_running=total(servers, f"{_PREFIX}num_running_reqs"),
            num_waiting=total(servers, f"{_PREFIX}num_queue_reqs"),
        )

    def _totals(self, text: str) -> Mapping[str, int]:
        counted, now = f"{_PREFIX}num_retracted_requests_total", f"{_PREFIX}num_retracted_reqs"
        servers = read_figures([text], [counted, now])
        found = total(servers, counted)
        if found is None and total(servers, now) is not None:
            found = 0  # the counter is told from the first one on; the gauge is that of the last batch alone
        return {} if found is None else {"num_preemptions": found}


def _continuation(output: _Output) -> Continuation:
    meta, ids = output.meta_info, output.output_ids
    reason, matched = meta.finish_reason.type, meta.finish_reason.matched
    if reason == "abort":
        told = clean_message(meta.finish_reason.message or "abort")
        raise EngineOverloadedError(f"the server gave a continuation up: {told}")
    if reason not in ("stop", "length"):
        raise BadResponseError(f"the server ended a continuation for a reason that is not known: {shown(reason)}")
    kind = FinishReason.LENGTH
    if reason == "stop":
        kind = FinishReason.STEP if isinstance(matched, str) else FinishReason.END
    if kind is FinishReason.END and ids and ids[-1] == matched:
        ids = ids[:-1]
    logs = meta.output_token_logprobs
    if logs is not None and len(logs) < len(ids):
        raise BadResponseError(f"the server gave {len(logs)} log probabilities for {len(ids)} tokens")
    log_probability = sum(log for log, *_ in logs[: len(ids)]) if logs is not None else None
    return Continuation(tuple(ids), output.text, kind, log_probability)

"""SGLang's own server, by its native route ``/generate`` (requests and answers as 0.5.23 has them)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

from etsearch.errors import EngineOverloadedError
from etsearch.generators.remote import RemoteGenerator, RemoteOptions, expect
from etsearch.models.codec import Codec
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
        "token_usage",
        "max_total_num_tokens",
        "num_running_reqs",
        "num_queue_reqs",
    )
)


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
        answer = await self._pool.post("/generate", body, request.search)
        outputs = answer if isinstance(answer, list) else [answer]
        expect(outputs, count)
        for output in outputs:
            self._num_prompt_tokens += int(output["meta_info"].get("prompt_tokens", 0))
            self._num_hit_tokens += int(output["meta_info"].get("cached_tokens", 0))
        return [_continuation(output) for output in outputs] * (request.num_continuations // count)

    def _stats(self, texts: Sequence[str]) -> EngineStats:
        servers = read_figures(texts, _FIGURES)
        use = [value for server in servers for _, value in server.get(f"{_PREFIX}token_usage", ())]
        capacity = total(servers, f"{_PREFIX}max_total_num_tokens") or (self.facts.cache_tokens or 0) * len(servers)
        return EngineStats(
            cache_use=sum(use) / len(use) if use else None,
            cache_capacity_tokens=capacity or None,
            prefix_query_tokens=self._num_prompt_tokens,
            prefix_hit_tokens=self._num_hit_tokens,
            num_running=total(servers, f"{_PREFIX}num_running_reqs"),
            num_waiting=total(servers, f"{_PREFIX}num_queue_reqs"),
        )

    def _totals(self, text: str) -> Mapping[str, int]:
        name = f"{_PREFIX}num_retracted_requests_total"
        found = total(read_figures([text], [name]), name)
        return {} if found is None else {"num_preemptions": found}


def _continuation(output: dict[str, Any]) -> Continuation:
    meta = output["meta_info"]
    reason, matched = meta["finish_reason"]["type"], meta["finish_reason"].get("matched")
    ids = [int(i) for i in output["output_ids"]]
    if reason == "abort":
        raise EngineOverloadedError(
            f"the server gave a continuation up: {meta['finish_reason'].get('message', 'abort')}"
        )
    if reason not in ("stop", "length"):
        raise ValueError(f"finish_reason is {reason!r}")
    kind = FinishReason.LENGTH
    if reason == "stop":
        kind = FinishReason.STEP if isinstance(matched, str) else FinishReason.END
    if kind is FinishReason.END and ids and ids[-1] == matched:
        ids = ids[:-1]
    logs = meta.get("output_token_logprobs")
    log_probability = sum(float(entry[0]) for entry in logs[: len(ids)]) if logs is not None else None
    return Continuation(tuple(ids), output["text"], kind, log_probability)

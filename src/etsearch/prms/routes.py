"""The routes by which servers tell what a PRM says; one class a route.

Shapes as seen on vLLM 0.32 and SGLang 0.5.23. Where a route reads one position a prompt, every position is a prompt of
its own that ends there: all of one trajectory share their prefix, and a server with a prefix cache computes it once.
"""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Final, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from etsearch.errors import BadResponseError, RewardError
from etsearch.models.codec import turns_of
from etsearch.prms.families import Head
from etsearch.prms.reading import PrmReader
from etsearch.prms.remote import Asked, Post, Route
from etsearch.servers.answers import Answer, Figure, OneOrMany, in_order

UNTOLD: Final = -9999.0
"""The log probability that vLLM gives instead of minus infinity."""
NEVER: Final = -1e6
"""The log probability of a label that is not told because it is so unlikely."""
MOST_LIKELY: Final = 20
"""Tokens that a server without label routes is asked for; hosted ones give no more."""

_Rows = list[NDArray[np.float64]]


class _Likeliest(Answer):
    top_logprobs: Annotated[list[dict[str, Figure]], Field(min_length=1)]


class _Choice(Answer):
    index: int
    logprobs: _Likeliest


class _Choices(Answer):
    """Of ``/v1/completions``."""

    choices: list[_Choice]


class _Share(Answer):
    index: int
    score: Annotated[float, Field(ge=0, le=1)]


class _Shares(Answer):
    """Of ``/generative_scoring``."""

    data: list[_Share]


class _Pooled(Answer):
    index: int
    data: list[list[Figure]] | list[Figure]


class _PooledAll(Answer):
    """Of ``/pooling``."""

    data: list[_Pooled]


class _SglangMeta(Answer):
    output_token_ids_logprobs: Annotated[list[list[tuple[Figure | None, int, Any]]], Field(min_length=1)]
    """At each position: log probability, id and text of each token that was asked for."""


class _SglangOutput(Answer):
    meta_info: _SglangMeta


class _LlamaToken(Answer):
    id: int
    logprob: Figure


class _LlamaPosition(Answer):
    top_logprobs: list[_LlamaToken]


class _LlamaOutput(Answer):
    index: int
    completion_probabilities: Annotated[list[_LlamaPosition], Field(min_length=1)]


class _ChatToken(Answer):
    token: str
    logprob: Figure


class _ChatPosition(Answer):
    top_logprobs: list[_ChatToken]


class _ChatPositions(Answer):
    content: Annotated[list[_ChatPosition], Field(min_length=1)]


class _ChatChoice(Answer):
    logprobs: _ChatPositions


class _Chat(Answer):
    """Of ``/v1/chat/completions``."""

    choices: Annotated[list[_ChatChoice], Field(min_length=1)]


_CHOICES: Final = TypeAdapter(_Choices)
_SHARES: Final = TypeAdapter(_Shares)
_POOLED: Final = TypeAdapter(_PooledAll)
_SGLANG: Final[TypeAdapter[list[_SglangOutput]]] = TypeAdapter(Annotated[list[_SglangOutput], OneOrMany])
_LLAMA: Final[TypeAdapter[list[_LlamaOutput]]] = TypeAdapter(Annotated[list[_LlamaOutput], OneOrMany])
_CHAT: Final = TypeAdapter(_Chat)


def _prompts(asked: Sequence[Asked]) -> list[tuple[int, ...]]:
    return [a.ids[: position + 1] for a in asked for position in a.positions]


def _split(rows: Sequence[Sequence[float]], asked: Sequence[Asked]) -> _Rows:
    """Rows, one a prompt, as the readings they belong to."""
    count = sum(len(a.positions) for a in asked)
    if len(rows) != count:
        raise RewardError(f"the server gave {len(rows)} scores; {count} were asked for")
    out, start = [], 0
    for a in asked:
        out.append(np.array(rows[start : start + len(a.positions)], dtype=np.float64))
        start += len(a.positions)
    return out


def _labels(reader: PrmReader) -> tuple[int, int]:
    assert reader.label_ids is not None, "a route for labels is given none but families with labels"
    return reader.label_ids


@final
class VllmCompletions(Route):
    """``/v1/completions``: one token is written at each position, and the labels' log probabilities are told."""

    name, heads, is_cached = "completions", frozenset({Head.LABELS}), True

    async def ask(self, post: Post, model: str, reader: PrmReader, asked: Sequence[Asked]) -> _Rows:
        labels = _labels(reader)
        body = {
            "model": model,
            "prompt": [list(ids) for ids in _prompts(asked)],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 0,
            "logprob_token_ids": list(labels),
            "return_tokens_as_token_ids": True,
        }
        answer = await post("/v1/completions", body, _CHOICES)
        choices = in_order(answer.choices, sum(len(a.positions) for a in asked))
        return _split([self._pair(choice, labels) for choice in choices], asked)

    @staticmethod
    def _pair(choice: _Choice, labels: tuple[int, int]) -> tuple[float, ...]:
        told, names = choice.logprobs.top_logprobs[0], [f"token_id:{label}" for label in labels]
        if missing := [name for name in names if name not in told]:
            raise BadResponseError(f"the server told no log probability of {', '.join(missing)}")
        pair = tuple(told[name] for name in names)
        if max(pair) <= UNTOLD:
            raise RewardError(f"the server gives both labels no probability at all: {pair}", retryable=False)
        return pair


@final
class VllmGenerativeScoring(Route):
    """``/generative_scoring``: the share of the good label of both, of what follows one query in one request."""

    name, heads, is_cached = "generative_scoring", frozenset({Head.LABELS}), True

    async def ask(self, post: Post, model: str, reader: PrmReader, asked: Sequence[Asked]) -> _Rows:
        prompts = _prompts(asked)
        groups: dict[tuple[int, ...], list[int]] = {}
        for number, query in enumerate(_queries(prompts)):
            groups.setdefault(query, []).append(number)
        rows: list[tuple[float, float]] = [(0.0, 0.0)] * len(prompts)
        for query, numbers in groups.items():
            body = {
                "model": model,
                "query": list(query),
                "items": [list(prompts[n][len(query) :]) for n in numbers],
                "label_token_ids": list(_labels(reader)),
                "add_special_tokens": False,
            }
            answer = await post("/generative_scoring", body, _SHARES)
            for n, entry in zip(numbers, in_order(answer.data, len(numbers)), strict=True):
                rows[n] = _as_logits(entry.score)
        return _split(rows, asked)


def _queries(prompts: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Of each prompt the longest beginning that another one has too; all but its last id where it shares none.

    In lexicographic order a prompt shares most with one of its neighbours.
    """
    order = sorted(range(len(prompts)), key=prompts.__getitem__)
    shared = [0] * len(prompts)
    for one, other in pairwise(order):
        a, b = prompts[one], prompts[other]
        if a != b:
            length = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            shared[one], shared[other] = max(shared[one], length), max(shared[other], length)
    return [ids[: min(length, len(ids) - 1) or len(ids) - 1] for ids, length in zip(prompts, shared, strict=True)]


def _as_logits(share: float) -> tuple[float, float]:
    """Two logits whose softmax gives this share."""
    with np.errstate(divide="ignore"):
        return float(np.clip(np.log(share), NEVER, 0)), float(np.clip(np.log1p(-share), NEVER, 0))


@final
class VllmPooling(Route):
    """``/pooling`` of a server started with ``--runner pooling``: all positions of a trajectory in one pass.

    The server gives a row for each token, or for each step tag if it was told one. vLLM reads no prefix cache here, so
    each trajectory is computed as a whole every time.
    """

    name, heads, is_cached = "pooling", frozenset(Head), False

    async def ask(self, post: Post, model: str, reader: PrmReader, asked: Sequence[Asked]) -> _Rows:
        body = {
            "model": model,
            "input": [list(a.ids) for a in asked],
            "task": "token_classify",
            "use_activation": False,
            "add_special_tokens": False,
        }
        data = in_order((await post("/pooling", body, _POOLED)).data, len(asked))
        return [self._rows(entry.data, a, reader) for entry, a in zip(data, asked, strict=True)]

    @staticmethod
    def _rows(data: list[list[float]] | list[float], asked: Asked, reader: PrmReader) -> NDArray[np.float64]:
        if len({len(row) if isinstance(row, list) else 0 for row in data}) != 1:
            raise BadResponseError("the server gave rows of different lengths, or none")
        rows = np.asarray(data, dtype=np.float64)
        rows = rows[:, None] if rows.ndim == 1 else rows
        tags = [place for place, token in enumerate(asked.ids) if token == reader.tag_id]
        if len(rows) == len(asked.ids):
            places = list(range(len(asked.ids)))
        elif len(rows) == len(tags):
            places = tags
        else:
            raise RewardError(
                f"the server gave {len(rows)} rows for a trajectory of {len(asked.ids)} tokens with {len(tags)} tags; "
                "start it without prefix caching for pooling, and with the family's step_tag_id if with any"
            )
        return rows[[places.index(position) for position in asked.positions]]


@final
class SglangGenerate(Route):
    """SGLang's ``/generate``: one token is written at each position, and the labels' log probabilities are told."""

    name, heads, is_cached = "generate", frozenset({Head.LABELS}), True

    async def ask(self, post: Post, model: str, reader: PrmReader, asked: Sequence[Asked]) -> _Rows:
        del model  # the native route has one
        prompts, labels = _prompts(asked), list(_labels(reader))
        body = {
            "input_ids": [list(ids) for ids in prompts],
            "sampling_params": {"max_new_tokens": 1, "temperature": 0},
            "return_logprob": True,
            "logprob_start_len": -1,
            "token_ids_logprob": [labels] * len(prompts),
        }
        answer = await post("/generate", body, _SGLANG)
        return _split([self._pair(output, labels) for output in answer], asked)

    @staticmethod
    def _pair(output: _SglangOutput, labels: list[int]) -> tuple[float, ...]:
        told = {token: log for log, token, *_ in output.meta_info.output_token_ids_logprobs[0]}
        if missing := [label for label in labels if label not in told]:
            raise BadResponseError(f"the server told no log probability of the tokens {missing}")
        pair = [told[label] for label in labels]
        if all(log is None for log in pair):
            raise RewardError("the server gives both labels no probability at all", retryable=False)
        return tuple(NEVER if log is None else float(log) for log in pair)


@final
class LlamaServerCompletion(Route):
    """llama-server's ``/completion``: one token is written at each position; a label must be among the likeliest."""

    name, heads, is_cached = "llama_completion", frozenset({Head.LABELS}), True

    async def ask(self, post: Post, model: str, reader: PrmReader, asked: Sequence[Asked]) -> _Rows:
        del model  # the native route has one
        labels = _labels(reader)
        body = {
            "prompt": [list(ids) for ids in _prompts(asked)],
            "n_predict": 1,
            "temperature": 0,
            "n_probs": MOST_LIKELY * 5,
            "cache_prompt": True,
        }
        outputs = await post("/completion", body, _LLAMA)
        rows = []
        for output in in_order(outputs, sum(len(a.positions) for a in asked)):
            likely = output.completion_probabilities[0].top_logprobs
            rows.append(_of_likely({entry.id: entry.logprob for entry in likely}, labels))
        return _split(rows, asked)


@final
class OpenAiCompletions(Route):
    """``/v1/completions`` of any server: text in; labels are known by their texts among the likeliest tokens."""

    name, heads, is_cached = "text", frozenset({Head.LABELS}), False

    async def ask(self, post: Post, model: str, reader: PrmReader, asked: Sequence[Asked]) -> _Rows:
        texts = [reader.text(ids) for ids in _prompts(asked)]
        body = {"model": model, "prompt": texts, "max_tokens": 1, "temperature": 0, "logprobs": MOST_LIKELY}
        choices = in_order((await post("/v1/completions", body, _CHOICES)).choices, len(texts))
        names = reader.family.good, reader.family.bad
        likely = [choice.logprobs.top_logprobs[0] for choice in choices]
        return _split([_of_likely(_by_text(tokens), names) for tokens in likely], asked)


@final
class OpenAiChat(Route):
    """``/v1/chat/completions`` of any server, for a judge: one request a position; the server applies its template."""

    name, heads, is_cached = "chat", frozenset({Head.LABELS}), False

    async def ask(self, post: Post, model: str, reader: PrmReader, asked: Sequence[Asked]) -> _Rows:
        if reader.family.keeps_tag:
            raise RewardError(
                f"the family {reader.family.name!r} cannot be asked in chats that the server renders", retryable=False
            )
        rows = await asyncio.gather(*(self._pair(post, model, reader, ids) for ids in _prompts(asked)))
        return _split(rows, asked)

    @staticmethod
    async def _pair(post: Post, model: str, reader: PrmReader, ids: tuple[int, ...]) -> tuple[float, float]:
        turns = [{"role": role, "content": content} for role, content in turns_of(reader.text(ids))]
        body = {"model": model, "messages": turns, "max_tokens": 1, "temperature": 0, "logprobs": True}
        answer = await post("/v1/chat/completions", {**body, "top_logprobs": MOST_LIKELY}, _CHAT)
        likely = answer.choices[0].logprobs.content[0].top_logprobs
        told = _by_text({entry.token: entry.logprob for entry in likely})
        return _of_likely(told, (reader.family.good, reader.family.bad))


def _by_text(tokens: dict[str, float]) -> dict[str, float]:
    """Log probabilities by the tokens' texts without the space before them."""
    told: dict[str, float] = {}
    for token, log in tokens.items():
        told[token.strip()] = float(np.logaddexp(told.get(token.strip(), -np.inf), float(log)))
    return told


def _of_likely(told: dict[Any, float], labels: tuple[Any, Any]) -> tuple[float, float]:
    """The labels' log probabilities; of one that is not among the likeliest, less than all that are."""
    if not any(label in told for label in labels):
        raise RewardError(
            f"neither label {labels} is among the {len(told)} likeliest tokens; the model does not answer as the "
            "family does",
            retryable=False,
        )
    return told.get(labels[0], NEVER), told.get(labels[1], NEVER)


VLLM_ROUTES: Final = {route.name: route for route in (VllmCompletions, VllmGenerativeScoring, VllmPooling)}

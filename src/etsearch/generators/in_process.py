"""Generators whose model runs in this process: what fits, where a step ends, and what came of it."""

import asyncio
import itertools
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from etsearch.boundary.numbers import MOST_TOKENS, MOST_WIDTH, check_whole
from etsearch.errors import ConfigError, ContextLengthError
from etsearch.models.gathering import Gathered
from etsearch.types import Continuation, FinishReason, GenerateRequest, PromptFormat

KEPT_STEPS: Final = 4096
"""Steps of which it is remembered how full the cache was."""


@dataclass(frozen=True, slots=True)
class Output:
    """What an engine wrote for one sequence, the token that ended it included, and the tokens' log probabilities."""

    ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Delimiters:
    """How stop strings are spelt in tokens.

    ``holders`` are the tokens whose text holds one of them; with ``can_span`` one may also be spelt by several
    tokens, none of which holds it.
    """

    holders: frozenset[int]
    can_span: bool

    @classmethod
    def of(cls, stop: Sequence[str], texts: Sequence[str]) -> "Delimiters":
        """Those of ``stop`` for a model whose tokens have these texts."""
        holders = frozenset(i for i, text in enumerate(texts) if any(s in text for s in stop))
        starts = tuple(s[:i] for s in stop for i in range(1, len(s)))
        return cls(holders, can_span=any(text.endswith(starts) for text in texts))


class SpanWatch:
    """Reads the tokens of one sequence as they come, for a delimiter that several of them may spell."""

    def __init__(self, texts: Sequence[str], stop: Sequence[str]) -> None:
        self._texts, self._stop, self._kept = texts, stop, max(map(len, stop))
        self._tail = ""

    def has_ended(self, tokens: Sequence[int]) -> bool:
        """Takes the next tokens; whether the text now holds a delimiter."""
        self._tail += "".join(self._texts[token] for token in tokens)
        found = any(s in self._tail for s in self._stop)
        self._tail = self._tail[-self._kept :]
        return found


class CacheUses:
    """How full the KV cache was at the last steps. Added to by the engine's thread, read by any."""

    def __init__(self) -> None:
        self.steps: deque[tuple[float, float]] = deque(maxlen=KEPT_STEPS)

    def add(self, use: float) -> None:
        """A step was taken with this share of the cache in use."""
        self.steps.append((time.monotonic(), use))

    def peak(self, since: float) -> float | None:
        """See ``etsearch.generators.base.TellsPeak``."""
        return max((use for moment, use in list(self.steps) if moment >= since), default=None)


class InProcessGenerator(ABC):
    """What the engines of this process have in common; a subclass runs the model.

    Args:
        path: of the model.
        format: how questions are put to it.
        read_question: called with each question; gives the question as the model reads it, or raises ConfigError.
        texts: the text of every token, alone.
        ends: the tokens that end a sequence.
        decode: texts of sequences of token ids.
        context_tokens: tokens of prompt and answer together that the model and its KV cache hold.
        stop: stops the engine; called once, at the end of the process at the latest.
    """

    def __init__(
        self,
        path: Path,
        format: PromptFormat,  # noqa: A002 - the protocol's name
        read_question: Callable[[str], str],
        *,
        texts: Sequence[str],
        ends: frozenset[int],
        decode: Callable[[list[list[int]]], Sequence[str]],
        context_tokens: int,
        stop: Callable[[], None],
    ) -> None:
        self._path, self._format, self._read_question = path, format, read_question
        self._texts, self._ends, self._decode, self._context_tokens = texts, ends, decode, context_tokens
        self._known_delimiters: dict[tuple[str, ...], Delimiters] = {}
        self._texts_of: Gathered[list[tuple[int, ...]], list[str]] = Gathered(self._decode_many)
        self._stop = weakref.finalize(self, stop)

    @abstractmethod
    async def _write(self, request: GenerateRequest, count: int) -> list[Output]:
        """``count`` sequences of a request that fits."""

    @property
    def context_tokens(self) -> int:
        """Tokens of prompt and answer together, as the model and its KV cache hold them."""
        return self._context_tokens

    @property
    def format(self) -> PromptFormat:
        """How questions are put to this model."""
        return self._format

    async def generate(self, request: GenerateRequest) -> list[Continuation]:
        """``request.num_continuations`` continuations; see :class:`~etsearch.generators.base.Generator`.

        A token limit beyond the context is lowered to it. At temperature 0 one is written, and given that often.
        """
        request = self._fit(request)
        count = 1 if request.sampling.temperature == 0 else request.num_continuations
        outputs = await self._write(request, count)
        return await self._continuations(outputs, request.stop) * (request.num_continuations // count)

    async def aclose(self) -> None:
        """Stops the engine's thread; requests in flight raise EngineError. A second call does nothing."""
        await asyncio.to_thread(self._stop)

    def _fit(self, request: GenerateRequest) -> GenerateRequest:
        """The request within what the model and its cache can hold; an error says what makes no sense in it."""
        check_whole("num_continuations", request.num_continuations, 1, MOST_WIDTH)
        check_whole("max_tokens", request.max_tokens, 1, MOST_TOKENS)
        if not request.prefix or min(request.prefix) < 0 or max(request.prefix) >= len(self._texts):
            raise ConfigError(f"the prefix must hold token ids from 0 to {len(self._texts) - 1}, one at least")
        if not all(request.stop):
            raise ConfigError("a stop string is empty")
        room = self._context_tokens - len(request.prefix)
        if room < 1:
            raise ContextLengthError(
                f"a prefix of {len(request.prefix)} tokens leaves no room: the model and its KV cache hold "
                f"{self._context_tokens}; shorten the question, lower max_tokens or enlarge the cache"
            )
        return replace(request, max_tokens=min(request.max_tokens, room))

    def _delimiters(self, stop: tuple[str, ...]) -> Delimiters:
        if stop not in self._known_delimiters:
            self._known_delimiters[stop] = Delimiters.of(stop, self._texts)
        return self._known_delimiters[stop]

    def _decode_many(self, requests: list[list[tuple[int, ...]]]) -> list[list[str]]:
        """The texts of each request's sequences."""
        texts = iter(self._decode([list(ids) for request in requests for ids in request]))
        return [list(itertools.islice(texts, len(request))) for request in requests]

    async def _continuations(self, outputs: Sequence[Output], stop: tuple[str, ...]) -> list[Continuation]:
        has_ended = [bool(o.ids) and o.ids[-1] in self._ends for o in outputs]
        ids = [o.ids[:-1] if ended else o.ids for o, ended in zip(outputs, has_ended, strict=True)]
        texts = await self._texts_of(ids)
        continuations = []
        for output, own, text, ended in zip(outputs, ids, texts, has_ended, strict=True):
            is_step = any(s in text for s in stop)
            reason = FinishReason.END if ended else FinishReason.STEP if is_step else FinishReason.LENGTH
            continuations.append(
                Continuation(own, text if own else "", reason, sum(output.log_probabilities[: len(own)]))
            )
        return continuations

"""A generator without a model: a function writes the steps. For tests, examples and strategies under study."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import final

from etsearch.boundary.numbers import check_number
from etsearch.errors import EngineError
from etsearch.types import Continuation, EngineStats, FinishReason, GenerateRequest, Identity, PromptFormat

WriteStep = Callable[[str, random.Random], str]


@final
class ScriptedGenerator:
    r"""Calls ``write(text_so_far, rng)`` for every continuation; the same request gives the same texts.

    A text that ends with the step delimiter is a step; any other ends the solution. A token is a character.

    Args:
        write: writes the text that follows the prompt and the steps so far; may raise EngineError.
        format: how a question is put; by default ``"{question}\n"`` with one step a line.
        delay_s: seconds to wait before answering a request, at most 3,600.
        read_question: called with every question; gives the question as the script reads it, or raises ConfigError.
    """

    def __init__(
        self,
        write: WriteStep,
        *,
        format: PromptFormat | None = None,  # noqa: A002
        delay_s: float = 0.0,
        read_question: Callable[[str], str] = str,
    ) -> None:
        self._write = write
        self._read_question = read_question
        self._format = format or PromptFormat("{question}\n", "\n")
        check_number("delay_s", delay_s, 0, 3600)
        self._delay_s = delay_s
        self._is_closed = False
        self.requests: list[GenerateRequest] = []
        """Every request so far, in the order of arrival."""

    @property
    def format(self) -> PromptFormat:
        return self._format

    @property
    def identity(self) -> Identity:
        return Identity(getattr(self._write, "__qualname__", repr(self._write)), engine="scripted")

    async def generate(self, request: GenerateRequest) -> list[Continuation]:
        if self._is_closed:
            raise EngineError("the scripted generator is closed")
        self.requests.append(request)
        await asyncio.sleep(self._delay_s)
        so_far = self.decode(request.prefix)
        generators = (random.Random(f"{request.seed}/{index}") for index in range(request.num_continuations))
        return [self.continuation(self._write(so_far, rng), request) for rng in generators]

    @staticmethod
    def continuation(text: str, request: GenerateRequest) -> Continuation:
        """The continuation that a text is: a step, an end, or what the token limit leaves of them."""
        is_step = any(text.endswith(stop) for stop in request.stop)
        reason = FinishReason.STEP if is_step else FinishReason.END
        if len(text) > request.max_tokens:
            text, reason = text[: request.max_tokens], FinishReason.LENGTH
        return Continuation(tuple(map(ord, text)), text, reason)

    async def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        return "".join(map(chr, ids))

    async def encode_prompt(self, question: str) -> list[int]:
        return await self.encode(self._format.prompt(self._read_question(question)))

    async def stats(self) -> EngineStats:
        return EngineStats()

    async def aclose(self) -> None:
        self._is_closed = True

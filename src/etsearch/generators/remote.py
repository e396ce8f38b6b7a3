"""What the generators behind an HTTP server have in common."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from etsearch.boundary.numbers import MOST_TOKENS, MOST_WIDTH, check_whole, shown
from etsearch.errors import (
    BadResponseError,
    ConfigError,
    ContextLengthError,
    EngineError,
    EngineTimeoutError,
    QuestionError,
)
from etsearch.generators.base import one_question_alone, template_refuses
from etsearch.generators.formats import format_of
from etsearch.models.codec import Codec, local_codec
from etsearch.servers.client import RefusedError, Server, SlowError
from etsearch.servers.facts import ServerFacts
from etsearch.servers.pool import Pool
from etsearch.types import Continuation, EngineStats, Finding, GenerateRequest, Identity, Level, Message, PromptFormat

UNTOLD_TOKENS: Final = 1 << 20
"""Tokens of a context that nobody tells."""


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """What a user may set of a generator behind a server.

    Attributes:
        tokenizer: a model's folder on this machine with the tokenizer; by default the model's own folder, if it lies on
            this machine, else the server's tokenizer.
        format: one by name (:data:`~etsearch.generators.formats.FORMATS`), or a JSON or YAML file with ``template``,
            ``step_delimiter`` and perhaps ``chat``, ``system`` and ``ends``; by default what ``etsearch.json`` in the
            model's folder says, else ``step_by_step``.
        log_probabilities: whether continuations carry them; the reward ``log_probability`` needs them.
    """

    tokenizer: str | None = None
    format: str | None = None
    log_probabilities: bool = True


class RemoteGenerator(ABC):
    """A generator behind one server, or several that serve the same model.

    The server is asked on construction what it is. Prefixes are token ids; the chat template is rendered here, once, as
    part of the prompt, and the servers' routes for plain completion are used, so that none is put around it again.

    Args:
        pool: the replicas.
        options: see :class:`RemoteOptions`.

    Raises:
        ConfigError: no replica answers, they serve different models, or the tokenizer or the format cannot be read.
    """

    def __init__(self, pool: Pool, options: RemoteOptions) -> None:
        self._pool, self._options = pool, options
        self._last_totals: dict[tuple[Server, str], int] = {}
        self._sums: dict[str, int] = {}
        facts = pool.describe(self._facts)
        if len({(f.model, f.context_tokens) for f in facts}) > 1:
            raise ConfigError(f"replicas serve one model; these differ: {'; '.join(map(str, facts))}")
        self.facts: ServerFacts = facts[0]
        self._codec = self._open_codec()
        self._format = self._open_format()

    @abstractmethod
    def _facts(self, server: Server) -> ServerFacts:
        """What a server says of itself. Raises what ``Server.send_now`` raises, and ConfigError."""

    @abstractmethod
    def _server_codec(self) -> Codec:
        """The server's own tokenizer."""

    @abstractmethod
    async def _ask(self, request: GenerateRequest) -> list[Continuation]:
        """The continuations of a request that fits; raises what ``Pool.post`` raises, and BadResponseError."""

    @abstractmethod
    def _stats(self, texts: Sequence[str]) -> EngineStats:
        """The figures of all replicas, from what they answered at ``/metrics``."""

    def _totals(self, text: str) -> Mapping[str, int]:
        """Of what a server answered at ``/metrics``, the figures that only grow, by their names in EngineStats."""
        del text
        return {}

    def _open_codec(self) -> Codec:
        return local_codec(self._options.tokenizer, self.facts.local_folder) or self._server_codec()

    def _open_format(self) -> PromptFormat:
        return format_of(self._options.format, self.facts.local_folder)

    @property
    def format(self) -> PromptFormat:
        """How questions are put to this model."""
        return self._format

    @property
    def codec(self) -> Codec:
        """The tokenizer in use."""
        return self._codec

    @property
    def context_tokens(self) -> int | None:
        """Tokens of prompt and answer together; None where the server does not tell."""
        return self.facts.context_tokens

    @property
    def obeys_seeds(self) -> bool:
        """Whether a request's seed decides what is drawn; else a run cannot be repeated."""
        return True

    @property
    def notices(self) -> Sequence[str]:
        """What a user should know of how this server is asked."""
        return ()

    def findings(self, longest_tokens: int) -> list[Finding]:
        """What the server says of itself, and how it is asked; see ``etsearch.evaluation.checks.TellsOfItself``."""
        notices = [Finding("notice", notice, "", Level.NOTE) for notice in self.notices]
        return self.facts.findings(longest_tokens) + notices

    @property
    def identity(self) -> Identity:
        """The model's name, and the server's. No address: it says nothing of the model."""
        return Identity(self.facts.model, engine=self.facts.engine)

    async def generate(self, request: GenerateRequest) -> list[Continuation]:
        """``request.num_continuations`` continuations; see :class:`~etsearch.generators.base.Generator`."""
        request = self._fit(request)
        try:
            continuations = await self._ask(request)
        except SlowError as error:
            raise EngineTimeoutError(str(error)) from error
        except RefusedError as error:
            kind = ContextLengthError if error.is_too_long else EngineError
            raise kind(str(error)) from error
        for continuation in continuations:
            if continuation.text and not continuation.token_ids:
                raise BadResponseError(f"{self.facts.engine} gave the text {shown(continuation.text)} without tokens")
        return continuations

    async def encode(self, text: str) -> list[int]:
        """Token ids of a text, without any special token around it."""
        return await self._codec.encode(text) if text else []

    async def encode_prompt(self, question: str) -> list[int]:
        """Token ids of a question in this model's format. Raises ConfigError if the tokenizer cannot read it."""
        ids = await self._codec.encode_question(self._format, question)
        self._check_known(ids, question)
        return ids

    async def encode_conversation(self, messages: Sequence[Message], question: str) -> list[int]:
        """See :class:`~etsearch.generators.base.ReadsConversations`."""
        if not self._format.chat:
            raise one_question_alone(self.facts.model, *self._without_chat)
        try:
            ids = await self._codec.encode_turns(self._format, messages, question)
        except RefusedError as error:
            raise template_refuses(self.facts.model, str(error)) from error
        if ids is None:
            raise one_question_alone(self.facts.model, "no chat template is known for it", "Take a model for chat")
        self._check_known(ids, " ".join(turn.content for turn in self._format.turns(messages, question)))
        return ids

    @property
    def _without_chat(self) -> tuple[str, str]:
        """Why a conversation cannot be put in this format, and what to do."""
        return "its format is without chat", "Give it one with 'chat: true' (format=FILE)"

    def _check_known(self, ids: Sequence[int], text: str) -> None:
        """Raises QuestionError if the tokenizer had to leave something of a text out."""
        if self._codec.unknown_id is not None and self._codec.unknown_id in ids:
            read = self._codec.decode_now([i for i in ids if i != self._codec.unknown_id])
            bad = [word for word in re.findall(r"\w+", text) if word not in read]
            unknown = f"does not know {', '.join(map(repr, bad)) or 'this'}"
            raise QuestionError(
                f"the tokenizer of {self.facts.model} {unknown}", told=f"the model's tokenizer {unknown}"
            )

    async def stats(self) -> EngineStats:
        """The servers' own figures, of all replicas together; empty while none answers.

        Totals never fall: a replica that does not answer keeps what it told last, one that starts anew goes on from it.
        """
        told = await self._pool.figures()
        for server, text in told.items():
            for name, total in self._totals(text).items():
                last = self._last_totals.get((server, name), 0)
                self._last_totals[server, name] = total
                self._sums[name] = self._sums.get(name, 0) + (total - last if total >= last else total)
        return replace(self._stats(list(told.values())), **self._sums)

    async def is_there(self) -> bool:
        """See ``etsearch.servers.presence.TellsPresence``."""
        return await self._pool.is_there()

    async def aclose(self) -> None:
        """Closes the connections; requests in flight raise EngineError. A second call does nothing."""
        await self._pool.aclose()

    def _fit(self, request: GenerateRequest) -> GenerateRequest:
        check_whole("num_continuations", request.num_continuations, 1, MOST_WIDTH)
        check_whole("max_tokens", request.max_tokens, 1, MOST_TOKENS)
        if not request.prefix:
            raise ConfigError("the prefix is empty; it must hold one token id at least")
        if not all(request.stop):
            raise ConfigError("a stop string is empty")
        room = (self.facts.context_tokens or UNTOLD_TOKENS) - len(request.prefix)
        if room < 1:
            raise ContextLengthError(
                f"a prefix of {len(request.prefix)} tokens leaves no room in the context of "
                f"{self.facts.context_tokens}; shorten the question, or lower max_tokens"
            )
        return replace(request, max_tokens=min(request.max_tokens, room))

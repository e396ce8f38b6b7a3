"""What a generator is: the protocol that every engine meets."""

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

from etsearch.errors import QuestionError
from etsearch.types import Continuation, EngineStats, GenerateRequest, Identity, Message, PromptFormat

STEP_BY_STEP: Final = PromptFormat(
    "Solve the following problem step by step. Put one step in each paragraph, with a blank line between "
    "paragraphs, and end with a line 'The answer is ...'.\n\n{question}",
    step_delimiter="\n\n",
    chat=True,
)
"""The format for a model that brings none of its own."""


class Generator(Protocol):
    """Writes continuations of token-id prefixes. One instance serves many searches at once."""

    @property
    def format(self) -> PromptFormat:
        """How questions are put to this model."""
        ...

    @property
    def identity(self) -> Identity:
        """Which model this is and what runs it, for the record of a run."""
        ...

    async def generate(self, request: GenerateRequest) -> list[Continuation]:
        """Exactly ``request.num_continuations`` continuations.

        Cancelling the call cancels the work. Raises EngineError; ``retryable`` says whether to try again.
        """
        ...

    async def encode(self, text: str) -> list[int]:
        """Token ids of a text, as the model reads them. Raises ConfigError on text it cannot read."""
        ...

    async def encode_prompt(self, question: str) -> list[int]:
        """Token ids of a question put in this model's format: the root of a tree."""
        ...

    async def stats(self) -> EngineStats:
        """The engine's own figures now."""
        ...

    async def aclose(self) -> None:
        """Stops the engine; requests in flight raise EngineError. A second call does nothing."""
        ...


@runtime_checkable
class TellsPeak(Protocol):
    """A generator that sees every step of its engine, and so what its KV cache held between two looks."""

    def peak_cache_use(self, since: float) -> float | None:
        """The largest share of the cache in use since a moment of ``time.monotonic``; None if there was no step."""
        ...


@runtime_checkable
class ReadsConversations(Protocol):
    """A generator whose model may read more than one question: what was said before it, through its chat template."""

    async def encode_conversation(self, messages: Sequence[Message], question: str) -> list[int]:
        """Token ids of a conversation up to the start of the model's answer: the root of a tree.

        The messages go through the model's own chat template as they are, the question after them as the user's turn in
        this model's format. ``encode_prompt`` is the same for a question with nothing before it.

        Raises:
            QuestionError: this model reads one question alone, or its template refuses these messages.
        """
        ...


def one_question_alone(model: str, reason: str, remedy: str) -> QuestionError:
    """The error that a model cannot be shown what was said before a question, and what to do."""
    return QuestionError(
        f"{model} reads one question alone: {reason}. {remedy}, or put what was said before into the question",
        told="this model reads one question alone; put what was said before, a system prompt too, into the question",
    )


def template_refuses(model: str, reason: str) -> QuestionError:
    """The error that a model's chat template cannot be filled in with a conversation."""
    return QuestionError(
        f"the chat template of {model} cannot be applied: {reason}",
        told="the model's chat template refuses this conversation, such as for turns that do not alternate",
    )

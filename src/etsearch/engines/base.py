"""What a generator is: the protocol that every engine meets."""

from dataclasses import dataclass
from typing import Final, Protocol

from etsearch.errors import ConfigError
from etsearch.types import Continuation, EngineStats, GenerateRequest


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How a question is put to a model and how its steps are told apart.

    ``template`` holds ``{question}`` once; ``step_delimiter`` ends a step and stays in it. With ``chat`` the
    filled template is the user's turn of the model's own chat template.
    """

    template: str
    step_delimiter: str
    chat: bool = False

    def __post_init__(self) -> None:
        if self.template.count("{question}") != 1:
            raise ConfigError(f"the prompt template must hold '{{question}}' once; it is {self.template!r}")
        if not self.step_delimiter:
            raise ConfigError("the step delimiter is empty; give the text that ends a step, such as '\\n\\n'")

    def prompt(self, question: str) -> str:
        return self.template.replace("{question}", question.strip())


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

    async def generate(self, request: GenerateRequest) -> list[Continuation]:
        """Exactly ``request.num_continuations`` continuations.

        Cancelling the call cancels the work. Raises EngineError; ``retryable`` says whether to try again.
        """
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, as the model reads them. Raises ConfigError on text it cannot read."""
        ...

    def encode_prompt(self, question: str) -> list[int]:
        """Token ids of a question put in this model's format: the root of a tree."""
        ...

    async def stats(self) -> EngineStats:
        """The engine's own figures now."""
        ...

    async def aclose(self) -> None:
        """Stops the engine; requests in flight raise EngineError. A second call does nothing."""
        ...

"""Prompt: what the generator is shown, the root of a tree."""

from etsearch.generators import Generator
from etsearch.generators.base import ReadsConversations, one_question_alone
from etsearch.types import Problem


async def encode(generator: Generator, problem: Problem) -> list[int]:
    """Token ids of a problem in the generator's format: its question, with what was said before it.

    Raises:
        QuestionError: the generator cannot read it, or reads one question alone and something was said before.
    """
    if not problem.messages:
        return await generator.encode_prompt(problem.question)
    if not isinstance(generator, ReadsConversations):
        raise one_question_alone(
            generator.identity.name, "it has no chat template", "Take a generator with a model for chat"
        )
    return await generator.encode_conversation(problem.messages, problem.question)

"""The miniature world: word problems, a checker, and two shipped models small enough to travel along."""

from importlib import resources
from pathlib import Path
from typing import Literal

from etsearch.errors import ConfigError
from etsearch.minimath import checker, language, phrases, scripted, world
from etsearch.types import Problem, PromptFormat

__all__ = [
    "EXAMPLES",
    "FORMAT",
    "checker",
    "example",
    "language",
    "model_path",
    "read_problem",
    "read_question",
    "scripted",
    "world",
]

FORMAT = PromptFormat(language.PROMPT, "\n")
"""How a question is put to the miniature policy."""

EXAMPLES = 10
"""Number of example problems."""


def model_path(model: Literal["policy", "prm"]) -> Path:
    """The folder of a shipped model."""
    return Path(str(resources.files("etsearch.minimath") / "models" / model))


def read_question(question: str) -> str:
    """The question as the miniature models read it: white space between sentences is one space.

    Raises:
        ConfigError: it has words that they have never seen.
    """
    return phrases.known_question(
        question,
        language.unknown_words,
        "the miniature model does not know {words}; it reads only problems of its own world. "
        "See one with 'ets solve --example', or choose another model with --generator",
    )


def read_problem(question: str) -> str:
    """``read_question`` for a reader that must understand the problem: raises ConfigError if it has no answer."""
    question = read_question(question)
    world.parse(question).check()
    return question


def example(number: int) -> Problem:
    """Example problem 1 to 10: test problems of at least two operations, from the second on.

    The first is one that the policy gets wrong so often that the vote depends on the kind of CPU.
    """
    if not 1 <= number <= EXAMPLES:
        raise ConfigError(f"there is no example {number}; choose one from 1 to {EXAMPLES}")
    chosen = [p for p in world.problems("test", 2 * EXAMPLES) if p.level > 1][number]
    return Problem(chosen.question, str(chosen.answer), f"minimath/example/{number}")

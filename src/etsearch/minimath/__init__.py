"""The miniature world: word problems, a checker, and two shipped models small enough to travel along."""

from importlib import resources
from pathlib import Path
from typing import Literal

from etsearch.errors import ConfigError
from etsearch.minimath import checker, language, scripted, world
from etsearch.types import Problem, PromptFormat

__all__ = ["EXAMPLES", "FORMAT", "check_question", "checker", "example", "language", "model_path", "scripted", "world"]

FORMAT = PromptFormat(language.PROMPT, "\n")
"""How a question is put to the miniature policy."""

EXAMPLES = 10
"""Number of example problems."""


def model_path(model: Literal["policy", "prm"]) -> Path:
    """The folder of a shipped model."""
    return Path(str(resources.files("etsearch.minimath") / "models" / model))


def check_question(question: str) -> None:
    """Raises ConfigError if the question has words that the miniature models have never seen."""
    if unknown := language.unknown_words(question):
        words = ", ".join(repr(word) for word in unknown[:8]) + (" …" if len(unknown) > 8 else "")
        raise ConfigError(
            f"the miniature model does not know {words}; it reads only problems of its own world. "
            "See one with 'ets solve --example', or choose another model with --generator"
        )


def example(number: int) -> Problem:
    """Example problem 1 to 10: the first test problems of at least two operations."""
    if not 1 <= number <= EXAMPLES:
        raise ConfigError(f"there is no example {number}; choose one from 1 to {EXAMPLES}")
    chosen = [p for p in world.problems("test", 2 * EXAMPLES) if p.level > 1][number - 1]
    return Problem(chosen.question, str(chosen.answer), f"minimath/example/{number}")

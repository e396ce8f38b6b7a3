"""A second miniature world, of another kind: arithmetic in brackets, with models of its own that travel along."""

from importlib import resources
from pathlib import Path
from typing import Literal

from etsearch.expressions import checker, language, world
from etsearch.minimath import phrases
from etsearch.types import PromptFormat

__all__ = ["FORMAT", "checker", "language", "model_path", "read_question", "world"]

FORMAT = PromptFormat(language.PROMPT, "\n")
"""How a question is put to the policy."""


def model_path(model: Literal["policy", "prm"]) -> Path:
    """The folder of a shipped model."""
    return Path(str(resources.files("etsearch.expressions") / "models" / model))


def read_question(question: str) -> str:
    """The question as the models read it: white space is one space.

    Raises:
        ConfigError: it holds what they have never seen.
    """
    return phrases.known_question(
        question,
        language.unknown_words,
        "the model of expressions does not know {words}; it reads only problems such as "
        f"{language.QUESTION.format(expression='(3 + 4) * 2')!r}. Choose another model with --generator",
    )

"""The formats of models that people search with, by name: ``format=NAME`` of a generator.

Sources: the released code of ETS; huggingface/search-and-learn, ``src/sal/config.py``; the model cards of
Qwen2.5-Math-Instruct and Qwen2.5-Math-PRM (steps by blank lines); the usage recommendations of DeepSeek-R1.
"""

from pathlib import Path
from typing import Final

from etsearch.errors import ConfigError
from etsearch.generators.base import STEP_BY_STEP
from etsearch.models.files import read_format, read_format_file
from etsearch.types import PromptFormat

_BOXED: Final = r"Please reason step by step, and put your final answer within \boxed{}."
_SEARCH_AND_LEARN: Final = r"""Solve the following math problem efficiently and clearly:

- For simple problems (2 steps or fewer):
Provide a concise solution with minimal explanation.

- For complex problems (3 steps or more):
Use this step-by-step format:

## Step 1: [Concise description]
[Brief explanation and calculations]

## Step 2: [Concise description]
[Brief explanation and calculations]

...

Regardless of the approach, always conclude with:

Therefore, the final answer is: $\boxed{answer}$. I hope it is correct.

Where [answer] is just the final number or expression that solves the problem."""
_RELEASED_ENDS: Final = ("The answer is", "The final answer is:", "Therefore, the final answer is")
"""What ends a trajectory in the released code of ETS."""

FORMATS: Final[dict[str, PromptFormat]] = {
    "step_by_step": STEP_BY_STEP,
    "math_shepherd": PromptFormat("{question}\n", "ки", ends=_RELEASED_ENDS),
    "search_and_learn": PromptFormat("{question}", "\n\n", chat=True, system=_SEARCH_AND_LEARN, ends=_RELEASED_ENDS),
    "qwen_math": PromptFormat("{question}", "\n\n", chat=True, system=_BOXED, ends=()),
    "deepseek_r1": PromptFormat(f"{{question}}\n{_BOXED}", "\n\n", chat=True, ends=()),
}
"""``math_shepherd`` is for policies trained on that PRM's data, which end each step with ``ки``."""


def format_of(given: PromptFormat | str | None, folder: Path | None) -> PromptFormat:
    """How questions are put to a model.

    Args:
        given: what the user asks for: a format, its name, or a JSON or YAML file.
        folder: of the model, whose ``etsearch.json`` says it where the user does not; None where it is not known.

    Returns:
        The format; :data:`~etsearch.generators.base.STEP_BY_STEP` where nobody says it.

    Raises:
        ConfigError: there is no such format, or its file cannot be read.
    """
    if isinstance(given, PromptFormat):
        return given
    if given:
        return find_format(given)
    return (read_format(folder) if folder else None) or STEP_BY_STEP


def find_format(given: str) -> PromptFormat:
    """The format of a name, or in a JSON or YAML file. Raises ConfigError, which lists the names."""
    if given in FORMATS:
        return FORMATS[given]
    if Path(given).suffix in (".json", ".yaml", ".yml"):
        return read_format_file(Path(given))
    raise ConfigError(
        f"there is no format {given!r}; choose one of {', '.join(FORMATS)}, or give a .json or .yaml file"
    )

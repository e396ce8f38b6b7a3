r"""Whether a prediction answers a problem, by two graders.

``corrected`` compares by mathematical equivalence (math-verify, see ``etsearch.answers.equivalent``). ``released`` is
for comparison with published numbers: it behaves like the evaluator released with REBASE and ETS, which

- takes the commas out of predictions but not out of reference answers, so that 25 of MATH500's 500 can never be right;
- asks for fractions in the very form of the reference, and for an integer where the reference is one, as the grader of
  PRM800K does.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from etsearch.answers import equivalent, extract
from etsearch.errors import ConfigError

DEFAULT_GRADER: Final = "corrected"


def grade(prediction_text: str | None, gold: str, grader: str = DEFAULT_GRADER) -> bool:
    """Whether a prediction is right.

    Args:
        prediction_text: a whole solution, of which the answer that it states last counts, or an answer alone; None
            for no prediction, which is wrong.
        gold: the reference answer.
        grader: ``corrected`` or ``released``.

    Raises:
        ConfigError: a grader that there is not, or an empty reference.
    """
    if grader not in GRADERS:
        raise ConfigError(f"there is no grader {grader!r}; choose one of {', '.join(GRADERS)}")
    if not gold.strip():
        raise ConfigError("the reference answer is empty; a prediction cannot be graded against it")
    if prediction_text is None:
        return False
    stated = extract(prediction_text)
    return _grade(prediction_text.strip() if stated is None else stated, gold.strip(), grader)


@lru_cache(maxsize=1 << 16)
def _grade(answer: str, gold: str, grader: str) -> bool:
    return GRADERS[grader](answer, gold)


_FRACTION = re.compile(r"-?(?:\\[dt]?frac ?\{? ?(\d+) ?\}? ?\{? ?(\d+) ?\}?|(\d+) ?/ ?(\d+))")
_SPACED = re.compile(r"\d(?:\\!)? \d{3}(?!\d)")
"""Thousands with spaces between them, which that evaluator takes for several numbers."""
_INTEGER = re.compile(r"-?(?:\d{1,3}(?:,(?:\\! ?)?\d{3})+|\d+)(?:\.0*)?")


def _released(answer: str, gold: str) -> bool:
    given = answer.replace(",", "")
    first, second = _FRACTION.fullmatch(given), _FRACTION.fullmatch(gold)
    if first and second:
        return _terms(first) == _terms(second)
    if _SPACED.search(given):
        return False
    if bool(_INTEGER.fullmatch(_plain(given))) != bool(_INTEGER.fullmatch(_plain(gold))):
        return False
    return equivalent(given, gold)


def _terms(fraction: re.Match[str]) -> tuple[str, ...]:
    return "-" if fraction[0].startswith("-") else "", *(str(int(g)) for g in fraction.groups() if g)


_DRESS = re.compile(r"\\?[$%]|\\[!,;: ]|\^ ?\{? ?\\circ ?\}?|\\text ?\{[^{}]*\}|[A-Za-z]+\.?$")


def _plain(answer: str) -> str:
    """The answer without currency, units and the like."""
    return _DRESS.sub("", answer).strip()


GRADERS: Final[Mapping[str, Callable[[str, str], bool]]] = MappingProxyType(
    {"corrected": equivalent, "released": _released}
)
"""The graders by name; each takes an answer and the reference."""


def grade_all(answers: Sequence[str], gold: str) -> dict[str, tuple[int, ...]]:
    """The places of the right ones among answers, by grader."""
    return {name: tuple(i for i, answer in enumerate(answers) if grade(answer, gold, name)) for name in GRADERS}

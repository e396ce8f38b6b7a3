"""The language of the miniature world: its names, its phrasings and the tokens they are made of.

Every sentence is a template. ``{x}``, ``{y}`` and ``{z}`` stand for names of quantities, written with the
space before them; ``{v}``, ``{a}``, ``{b}`` and ``{c}`` stand for whole numbers. What lies between two
placeholders is one token of the miniature models, so the vocabulary follows from the templates, and a
phrase such as ``" times as many"`` costs one token.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Final

from etsearch.minimath import phrases

NOUNS: Final = (
    *("cups", "pens", "hats", "books", "coins", "keys", "dogs", "cats"),
    *("birds", "cars", "boats", "trees", "apples", "pears", "lamps", "kites"),
)
QUALIFIED: Final = (
    *("red cups", "blue cups", "old books", "new books", "big dogs", "small dogs", "red cars", "green apples"),
)
NAMES: Final = NOUNS + QUALIFIED
"""The 24 names a quantity can have: 16 nouns, 5 of them also with one or two of 7 adjectives."""
MAX_NUMBER: Final = 50
"""The largest number of the language; each from 0 is one token."""
MAX_TOKENS: Final = 130
"""Of a solution to a problem of a standard split at most, with some to spare."""

GIVENS: Final = ("There are {v}{x}.", "We have {v}{x}.", "Somebody counted {v}{x}.")
SUBJECTS: Final = ("The{x} number", "Of{x} there are", "The count of{x} is")
"""The three ways to begin a fact that follows from others, or a step: what it is about comes first."""
RELATIONS: Final[dict[str, str]] = {
    "more": " {v} more than the{y}",
    "fewer": " {v} fewer than the{y}",
    "times": " {v} times the{y}",
    "half": " half the{y}",
    "sum": " as many as the{y} and the{z}",
}
"""What is said of it, by kind of fact."""
QUESTIONS: Final = ("How many{x} are there?", "What is the count of{x}?", "Find the count of{x}.")
COMPUTATIONS: Final = (": {a} {op} {b} = {c}{x}.", ", so {a} {op} {b} = {c}{x}.")
"""The two ways to end a step, after its fact; a value stands before its name, as in a given fact."""
ANSWER: Final = "The answer is {v}."
OPERATOR: Final = {"more": "+", "fewer": "-", "times": "*", "half": "/", "sum": "+"}
"""The operation that a fact of each kind calls for."""

PROMPT: Final = "Q: {question}\n"
"""What the policy reads before it writes its first step."""

PAD, UNKNOWN, END = "<pad>", "<unk>", "<eos>"
GOOD, BAD = "+", "-"
"""The two labels whose logits the PRM is read at; the tag it is read after is the newline that ends a step."""

_PLACEHOLDER = re.compile(r"\{[a-z]+\}")
_NUMBERS = "vabc"


def fill(template: str, **values: str | int) -> str:
    """The sentence of a template: names get the space before them, numbers stand as they are."""
    return template.format(**{k: f" {v}" if k in "xyz" else v for k, v in values.items()})


def pattern(template: str) -> re.Pattern[str]:
    """A regular expression that matches exactly the sentences of a template, with one group a placeholder."""
    names = "|".join(re.escape(n) for n in sorted(NAMES, key=len, reverse=True))
    groups = {"op": "[-+*/]"} | dict.fromkeys("xyz", names) | dict.fromkeys(_NUMBERS, r"\d+")
    pieces = re.split(r"\{([a-z]+)\}", template)
    out, seen = "", set[str]()
    for index, piece in enumerate(pieces):
        if index % 2 == 0:
            out += re.escape(piece)
        else:
            out += " " if piece in "xyz" else ""
            out += f"(?P={piece})" if piece in seen else f"(?P<{piece}>{groups[piece]})"
            seen.add(piece)
    return re.compile(out)


def fact_templates(kind: str) -> tuple[str, ...]:
    """The phrasings of a fact of this kind."""
    return GIVENS if kind == "given" else tuple(f"{subject}{RELATIONS[kind]}." for subject in SUBJECTS)


def step_templates(kind: str) -> tuple[str, ...]:
    """The phrasings of a step that follows from a fact of this kind: it says the fact again, then computes."""
    return tuple(f"{subject}{RELATIONS[kind]}{end}" for subject in SUBJECTS for end in COMPUTATIONS)


def _phrases() -> Iterable[str]:
    spaced = [*(t for kind in ("given", *RELATIONS) for t in fact_templates(kind)), *QUESTIONS]
    plain = [t.replace("{op}", op) for kind in OPERATOR for t in step_templates(kind) for op in OPERATOR.values()]
    for template in (*(f" {t}" for t in spaced), *plain, ANSWER, PROMPT):
        yield from _PLACEHOLDER.split(template)


def vocabulary() -> list[str]:
    """All tokens in the order of their ids: the special ones, numbers, labels, names and phrases."""
    found = {p.removesuffix(" ") if p == "Q: " else p for p in _phrases()} - {""}
    special = [PAD, UNKNOWN, END, *map(str, range(MAX_NUMBER + 1)), GOOD, BAD]
    return [*special, *sorted(f" {n}" for n in NAMES), *sorted(found - set(special))]


@cache
def token_pattern() -> str:
    """A regular expression that finds the tokens in a text."""
    tokens = (token for token in vocabulary() if token not in (PAD, UNKNOWN, END, GOOD, BAD))
    return phrases.token_pattern(tokens, numbers_follow=True)


def unknown_words(text: str) -> list[str]:
    """The words of a question that the miniature models cannot read, each once, in order of appearance."""
    return phrases.words_outside(PROMPT.format(question=text.strip()), token_pattern())

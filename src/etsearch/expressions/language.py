"""The language of the world of expressions: a dozen signs, and each whole number one token."""

from functools import cache
from typing import Final

from etsearch.minimath import phrases

MAX_NUMBER: Final = 50
"""The largest number of the language; each from 0 is one token."""
OPERATORS: Final = ("+", "-", "*")
QUESTION: Final = "Work out {expression}."
STEP: Final = "= {expression}"
ANSWER: Final = "The answer is {value}."
PROMPT: Final = "Q: {question}\n"
"""What the policy reads before it writes its first step."""

PAD, UNKNOWN, END = "<pad>", "<unk>", "<eos>"
GOOD, BAD = "+", "-"
"""The two labels whose logits the PRM is read at, no operators; the tag it is read after is the newline of a step."""
MAX_TOKENS: Final = 160
"""Of a solution to a problem of a standard split at most, with some to spare."""

_SIGNS: Final = ("Q:", " Work out ", "= ", "(", ")", *(f" {op} " for op in OPERATORS), "The answer is ", ".", "\n")


def vocabulary() -> list[str]:
    """All tokens in the order of their ids: the special ones, numbers, labels and signs."""
    return [PAD, UNKNOWN, END, *map(str, range(MAX_NUMBER + 1)), GOOD, BAD, *_SIGNS]


@cache
def token_pattern() -> str:
    """A regular expression that finds the tokens in a text."""
    return phrases.token_pattern([*map(str, range(MAX_NUMBER + 1)), *_SIGNS], numbers_follow=False)


def unknown_words(text: str) -> list[str]:
    """The words of a question that the models of this world cannot read, each once, in order of appearance."""
    return phrases.words_outside(PROMPT.format(question=text.strip()), token_pattern())

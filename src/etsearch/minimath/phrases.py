"""Vocabularies of phrases: how a text falls into the tokens of a miniature model, and what of it does not."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from etsearch.errors import QuestionError


def token_pattern(tokens: Iterable[str], *, numbers_follow: bool) -> str:
    """A regular expression that finds tokens in a text, the longest first; a number is taken whole or not at all.

    Args:
        tokens: that a text may hold.
        numbers_follow: whether a token that ends with a space stands before a number only, so that " + " is not taken
            from "cups + pens".
    """
    longest_first = sorted(tokens, key=len, reverse=True)
    return "|".join(_escape(token) + _lookahead(token, numbers_follow=numbers_follow) for token in longest_first)


def _lookahead(token: str, *, numbers_follow: bool) -> str:
    if token.isdecimal():
        return r"(?!\d)"
    return r"(?=\d)" if numbers_follow and token.endswith(" ") else ""


def _escape(token: str) -> str:
    """The token in a regular expression, in the same form for every library that reads it."""
    return re.sub(r"([.?+*()])", r"\\\1", token).replace("\n", r"\n")


def words_outside(text: str, pattern: str) -> list[str]:
    """The words of a text that are not made of tokens, each once, in order of appearance."""
    gaps = _compiled(pattern).sub(lambda match: "\0" * len(match[0]), text)
    words = [m[0].strip(".,:;?!") or m[0] for m in re.finditer(r"\S+", text) if gaps[m.start() : m.end()].strip("\0")]
    return list(dict.fromkeys(words or (["unusual spacing"] if gaps.strip("\0") else [])))


def known_question(question: str, unknown_words: Callable[[str], list[str]], told: str) -> str:
    """The question with single spaces between its words.

    Args:
        question: as a user wrote it.
        unknown_words: of a question.
        told: what is said of them, ``{words}`` in their place.

    Raises:
        QuestionError: there are some.
    """
    question = " ".join(question.split())
    if unknown := unknown_words(question):
        words = ", ".join(repr(word) for word in unknown[:8]) + (" …" if len(unknown) > 8 else "")
        raise QuestionError(told.replace("{words}", words))
    return question


@lru_cache(maxsize=4)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)

r"""Whether two answers are mathematically the same.

Three ways to decide, the cheapest first:

1. *As strings*, normalised: ``\dfrac12`` is ``\frac{1}{2}``, ``\$1,000`` is ``1000``, ``106^\circ`` is ``106``.
2. *By form*: plain numbers exactly (integers, decimals, fractions, mixed numbers, percentages, powers of ten), words,
   numbers with a base, matrices entry by entry, tuples and intervals element by element, lists and sets in any order.
3. *By algebra*, with math-verify (SymPy), in a child process: everything else.

Answers longer than ``MAX_CHARACTERS`` are compared as strings only. A comparison that is given up counts as
"different", and is logged.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from etsearch.answers import _algebra
from etsearch.answers._latex import MAX_CHARACTERS, key, number, tidy


def equivalent(a: str, b: str) -> bool:
    r"""Whether two answers are mathematically the same. Symmetric, reflexive, cached, safe in threads; never raises.

    Lenient where answers to one problem are: units, degree signs and currency do not count; a missing base, missing
    parentheses of a tuple or a missing ``x =`` is forgiven; ``50\%`` is both ``50`` and ``0.5``; a decimal of six or
    more significant digits equals the fraction that it rounds. It is therefore not quite transitive.
    """
    if a == b:
        return True
    return _equivalent(a, b) if a < b else _equivalent(b, a)


@lru_cache(maxsize=1 << 16)
def _equivalent(a: str, b: str) -> bool:
    x, y = tidy(a), tidy(b)
    if key(x) == key(y):
        return True
    if not x or not y or max(len(x), len(y)) > MAX_CHARACTERS:
        return False
    for decide in (_by_number, _by_word, _by_base, _by_clock, _by_entries, _by_elements, _by_assignment):
        verdict = decide(x, y)
        if verdict is not None:
            return verdict
    return _algebra.same(x, y)


def _by_number(x: str, y: str) -> bool | None:
    first, second = number(x), number(y)
    return None if first is None or second is None else first.equals(second)


_WORDS = re.compile(r"[A-Za-z][A-Za-z' ]*")
_WORD_LETTERS: Final = 4
"""Fewer letters may be a product of variables. To SymPy "east" is one too, the same as "seat"."""


def _by_word(x: str, y: str) -> bool | None:
    if not (_WORDS.fullmatch(x) and _WORDS.fullmatch(y)):
        return None
    first, second = key(x), key(y)
    is_product = max(len(first), len(second)) < _WORD_LETTERS and sorted(first) == sorted(second)
    return is_product or first.casefold() == second.casefold()


_BASED = re.compile(r"(-?\d[\dA-F]*) ?(?:_ ?\{? ?(\w+) ?\}?)?")


def _by_base(x: str, y: str) -> bool | None:
    """``52_8`` against ``52_9`` or ``52``; math-verify leaves the base out."""
    first, second = _BASED.fullmatch(x), _BASED.fullmatch(y)
    if first is None or second is None:
        return None
    bases = {first[2], second[2]} - {None}
    return first[1] == second[1] and len(bases) == 1


_CLOCK = re.compile(r"\d?\d:\d\d(?: ?[ap]m)?|\d?\d ?[ap]m", re.IGNORECASE)


def _by_clock(x: str, y: str) -> bool | None:
    """``12:30`` against ``6:15``, ``7 am`` against ``7 pm``: no ratios and no units. Primes are also dropped there."""
    if _CLOCK.fullmatch(x) and _CLOCK.fullmatch(y):
        return key(x).casefold() == key(y).casefold()
    return None if x.count("'") == y.count("'") else False


_NAME = re.compile(r"\\?[A-Za-z]+'?(?: [A-Za-z]+)?(?: ?_ ?\{? ?\w+ ?\}?)?(?: ?\([^()]*\))?")
_EQUALS = re.compile(r" ?(?:(?<![<>!:])=|\\in(?![a-z])) ?")
_RELATION = re.compile(r"[=<>]|\\(?:in|le|ge|leq|geq|ne|neq|lt|gt)(?![a-z])")


def _by_assignment(x: str, y: str) -> bool | None:
    """``x = 5`` against ``5``, or against ``x = 6``. To math-verify ``3x + y = 0`` is as good as ``0``."""
    first, second = _assignment(x), _assignment(y)
    if first and second:
        return equivalent(first[1], second[1]) if first[0] == second[0] else None
    if bool(_RELATION.search(x)) == bool(_RELATION.search(y)):
        return None
    if first or second:
        return equivalent(first[1] if first else x, second[1] if second else y)
    return False if "=" in x + y else None


def _assignment(tidy: str) -> tuple[str, str] | None:
    r"""The name and the value of ``name = value``, ``name = … = value`` or ``name \in set``."""
    parts = _EQUALS.split(tidy)
    name, value = parts[0], parts[-1]
    if len(parts) < 2 or not _NAME.fullmatch(name) or _RELATION.search(value) or len(_split(value)) > 1:
        return None
    is_implicit = name in re.findall(r"\\?[A-Za-z]+", value)
    return None if is_implicit else (key(name), value)


_TABLE = re.compile(
    r"(?P<open>\(|\[|\||\\\{|\\lvert)? ?\\begin ?\{(?P<kind>[bpvBV]?matrix|smallmatrix|array|cases)\} ?"
    r"(?:\{[lcr|. ]*\})? ?(?P<body>.*?) ?\\end ?\{(?P=kind)\} ?(?:\)|\]|\||\\\}|\\rvert)?"
)


class _Kind(StrEnum):
    """What a table in an answer is."""

    MATRIX = "matrix"
    DETERMINANT = "determinant"
    CASES = "cases"


@dataclass(frozen=True, slots=True)
class _Table:
    """The entries of a matrix, row by row; of a determinant; or of a function by cases."""

    kind: _Kind
    rows: tuple[tuple[str, ...], ...]


def _by_entries(x: str, y: str) -> bool | None:
    """Matrices entry by entry; determinants of other entries may still have one value."""
    first, second = _table(x), _table(y)
    if first is None or second is None:
        return None
    is_same = first.kind == second.kind and list(map(len, first.rows)) == list(map(len, second.rows))
    pairs = zip(sum(first.rows, ()), sum(second.rows, ()), strict=False)
    if is_same and all(equivalent(one, other) for one, other in pairs):
        return True
    return None if first.kind is second.kind is _Kind.DETERMINANT else False


def _table(tidy: str) -> _Table | None:
    r"""The matrix that an answer is; None where it is none, or holds one within an entry."""
    match = _TABLE.fullmatch(tidy)
    if match is None or "\\begin" in match["body"]:
        return None
    kind = _Kind.MATRIX
    if match["kind"] in ("vmatrix", "Vmatrix") or match["open"] in ("|", "\\lvert"):
        kind = _Kind.DETERMINANT
    elif match["kind"] == "cases" or (match["kind"] == "array" and match["open"] == "\\{"):
        kind = _Kind.CASES
    rows = match["body"].split("\\\\")
    return _Table(kind, tuple(tuple(entry.strip() for entry in row.split("&")) for row in rows))


_AND = re.compile(r",? (?:and|or) ")
_BRACKET = re.compile(r"\\[{}]|[()\[\]{},]")
_OPENING, _CLOSING = ("(", "[", "{", "\\{"), (")", "]", "}", "\\}")


@dataclass(frozen=True, slots=True)
class _Group:
    """Several answers in one: ``brackets`` is ``()``, ``[)`` and so on, ``{}`` for a set, empty for a bare list."""

    brackets: str
    elements: tuple[str, ...]

    @property
    def is_ordered(self) -> bool:
        return self.brackets not in ("", "{}")


def _by_elements(x: str, y: str) -> bool | None:
    """``(1,2)`` against ``(2,1)`` or ``1,2``; math-verify takes a pair for an interval and back."""
    first, second = _group(x), _group(y)
    if first is None or second is None:
        return False if (first and number(y)) or (second and number(x)) else None
    if len(first.elements) != len(second.elements):
        return False
    if first.is_ordered or second.is_ordered:
        is_same_kind = first.brackets == second.brackets or {first.brackets, second.brackets} == {"", "()"}
        return is_same_kind and all(map(equivalent, first.elements, second.elements))
    return _match(first.elements, list(second.elements))


def _match(elements: Sequence[str], others: list[str]) -> bool:
    """Whether the elements can be paired off, in any order."""
    for element in elements:
        found = next((index for index, other in enumerate(others) if equivalent(element, other)), None)
        if found is None:
            return False
        others.pop(found)
    return True


def _group(tidy: str) -> _Group | None:
    r"""The elements of a tuple, an interval, a set or a list; None for one element, a matrix or a ``\pm``."""
    if "\\pm" in tidy or "\\begin" in tidy:
        return None
    brackets, inside = _outer(tidy)
    elements = _split(inside if brackets else _AND.sub(", ", inside))
    if len(elements) < 2 or not all(elements):
        return None
    return _Group(brackets, elements)


def _outer(tidy: str) -> tuple[str, str]:
    """The pair of brackets around the whole, if there is one, and what it holds."""
    marks = [match for match in _BRACKET.finditer(tidy) if match[0] != ","]
    if len(marks) < 2 or marks[0].start() != 0 or marks[-1].end() != len(tidy):
        return "", tidy
    depth = 0
    for mark in marks[:-1]:
        depth += 1 if mark[0] in _OPENING else -1
        if depth == 0:
            return "", tidy
    if depth != 1 or marks[-1][0] not in _CLOSING or "{" in (marks[0][0], marks[-1][0]):
        return "", tidy
    return marks[0][0][-1] + marks[-1][0][-1], tidy[marks[0].end() : marks[-1].start()]


def _split(text: str) -> tuple[str, ...]:
    """The parts between the commas that stand in no brackets."""
    parts, depth, start = [], 0, 0
    for mark in _BRACKET.finditer(text):
        if mark[0] == ",":
            if depth == 0:
                parts.append(text[start : mark.start()].strip())
                start = mark.end()
        else:
            depth += 1 if mark[0] in _OPENING else -1
    return (*parts, text[start:].strip())

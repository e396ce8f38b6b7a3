r"""The final answer that a solution states: ``\boxed{…}``, ``The answer is …``, ``#### …``, ``Final Answer: …``."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar, Final

from etsearch.errors import ConfigError

MAX_WORDS: Final = 6
"""Plain words that a stated answer may have; "The answer is a number that we do not know yet" is not one."""
MAX_CHARACTERS: Final = 1000
"""A stated answer is looked for in this many characters after its cue."""


MOST_BETWEEN: Final = 60
"""Characters between two boxes that state one answer together."""


class Reading(StrEnum):
    """How far an answer reaches behind its cue."""

    BRACES = "braces"
    """One balanced ``{…}``, or what stands there up to a space or a dollar sign (``\\boxed 5``)."""
    LINE = "line"
    """The rest of the line."""
    SENTENCE = "sentence"
    """Up to the end of the sentence or of the line; a decimal point and a full stop inside mathematics end none."""


@dataclass(frozen=True, slots=True)
class Pattern:
    r"""One way to state an answer: a cue and what follows it.

    Attributes:
        name: for messages.
        hint: text that every match of ``cue`` contains, letter case aside; without it the cue is not looked for.
        cue: regular expression of what stands before the answer; letter case does not matter, ``^`` is a line's start.
        reading: how far the answer reaches.

    Raises:
        ConfigError: an empty hint, or a cue that is no regular expression or matches the empty text.
    """

    name: str
    hint: str
    cue: str
    reading: Reading

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        try:
            is_empty = _compile(self.cue).match("") is not None
        except re.error as error:
            raise ConfigError(f"the cue of pattern {self.name!r}, {self.cue!r}, is no regular expression") from error
        if is_empty or not self.hint:
            raise ConfigError(f"pattern {self.name!r} has an empty hint or cue; give the text that announces an answer")


@lru_cache(maxsize=64)
def _compile(cue: str) -> re.Pattern[str]:
    return re.compile(cue, re.IGNORECASE | re.MULTILINE)


BOXED: Final = Pattern("boxed", "box", r"\\(?:boxed|fbox)(?![a-z])\s*", Reading.BRACES)
ANSWER_IS: Final = Pattern(
    "answer is",
    "answer",
    r"\b(?:the|final)(?:\s+\w+){0,2}?\s+answer\s+is(?![\w'’])"
    # as many as there are, and no fewer: what "*+" says, which Python 3.11.2 gets wrong
    r"(?=((?:\s+(?:therefore|thus|then|hence|simply|just|exactly|approximately|going\s+to\s+be|equal\s+to)\b,?)*))\1"
    r"(?!\s+(?:not|correct|right|wrong|clear|in|below|as\s+follows)\b)"
    r"(?!\s+(?:found|obtained|given|determined|calculated|computed|derived)\s+(?:as|by|from|in|using|when|with)\b)"
    r"(?!\s+the\s+(?:sum|product|difference|quotient|total|number|value)\s+of\b)[\s:*]*",
    Reading.SENTENCE,
)
FINAL_ANSWER: Final = Pattern(
    "final answer", "answer", r"(?:\bfinal\s+answer|^[ \t*#]*answer)[*\s]*:[\s:*]*", Reading.SENTENCE
)
HASHES: Final = Pattern("hashes", "####", r"(?<!#)####(?!#)[ \t]*+(?![a-z]{2}|\d+[.)][ \t])", Reading.LINE)
DEFAULT_PATTERNS: Final = (BOXED, ANSWER_IS, FINAL_ANSWER, HASHES)
"""``HASHES`` wants a number or mathematics: ``#### Step 2`` and ``#### 2. Simplify`` are headings."""


def find_pattern(name: str) -> Pattern:
    """The pattern of this name. Raises ConfigError, which lists the names there are."""
    found = next((pattern for pattern in DEFAULT_PATTERNS if pattern.name == name.strip()), None)
    if found is None:
        known = ", ".join(repr(pattern.name) for pattern in DEFAULT_PATTERNS)
        raise ConfigError(
            f"there is no pattern {name!r}; choose of {known}, or write one: "
            "{name: …, hint: …, cue: REGULAR EXPRESSION, reading: braces|line|sentence}"
        )
    return found


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE = re.compile(r"[^\s${}]+")
_WORD = re.compile(r"(?<![\\\w])[^\W\d_]{2,}")
_MATH = r"\$\$.+?\$\$|\$[^$\n]+\$(?!\d)|\\\(.+?\\\)|\\\[.+?\\\]|\\\{.*?\\\}"
_SENTENCE_END = r"(?:(?<!\\)[.!?])*(?:\n|\Z)|(?<!\\)[.!?]\W*\s|,?\s+(?:because|since|which)\b"
_SENTENCE = re.compile(rf"(?>(?:{_MATH}|\{{[^{{}}\n]*\}}|(?!{_SENTENCE_END}).)*)", re.DOTALL)
_MATH_FIRST = re.compile(rf"(?>{_MATH})(?!\s*(?:,|;|and\b|or\b|[-+=*/<>^]))", re.DOTALL)
_OPEN, _CLOSE = r"(?:\$|\\\(|\\\[|\*\*)*", r"(?:\$|\\\)|\\\]|\*\*)*"
_JOINER = r"(?:[,;]|,?\s*(?:\\text\s*\{\s*)?(?:and|or)\b(?:\s*\})?|\\q?quad(?![a-z]))"
_JOINED = re.compile(rf"\s*{_CLOSE}\s*(?:{_JOINER}[\s~]*)+{_OPEN}\s*(?:\\?\w+\s*=\s*)?")
r"""Between two boxes that state one answer: ``\boxed{3}$ or $x = \boxed{-3}``, ``\boxed{3}, \boxed{-3}``."""
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"))


def extract(text: str, patterns: Sequence[Pattern] = DEFAULT_PATTERNS, *, is_cut: bool = False) -> str | None:
    r"""The answer that ``text`` states last, without its mathematics delimiters; None where it states none.

    Args:
        text: a step or a solution, never the prompt: an answer that the question quotes is not an answer.
        patterns: the ways to state one that count. The statement whose cue stands last wins, whichever it is.
        is_cut: whether a token limit ended the text. A statement that reaches its end may go on then ("The answer is
            12" of 128), and is passed over.

    Boxes joined by a comma, "and" or "or" state one answer, a list. A statement whose braces do not balance (a step cut
    in the middle) or that is empty is passed over.
    """
    folded = text.lower()
    live = [pattern for pattern in patterns if pattern.hint.lower() in folded]
    if not live:
        return None
    return next(_answers(text, live, is_cut), None)


def _answers(text: str, patterns: Sequence[Pattern], is_cut: bool) -> Iterator[str]:
    """The stated answers, last cue first."""
    cues = [(match, pattern) for pattern in patterns for match in _compile(pattern.cue).finditer(text)]
    cues.sort(key=lambda cue: cue[0].end())
    while cues:
        match, pattern = cues.pop()
        rest = text[match.end() : match.end() + MAX_CHARACTERS]
        passage = _passage(rest, pattern.reading)
        if passage is None or (is_cut and _may_go_on(passage, text[match.end() :])):
            continue
        answer = _read(passage, pattern.reading)
        if answer:
            yield ", ".join([*_joined_before(text, cues, match.start()), answer] if _is_boxed(pattern) else [answer])


def _is_boxed(pattern: Pattern) -> bool:
    return pattern.reading is Reading.BRACES


def _joined_before(text: str, cues: Sequence[tuple[re.Match[str], Pattern]], start: int) -> list[str]:
    r"""The answers in the boxes that a box is joined to, which starts there: by a comma, "and" or "or"."""
    found: list[str] = []
    for match, pattern in reversed(cues):
        inside = _in_braces(text[match.end() : match.end() + MAX_CHARACTERS]) if _is_boxed(pattern) else None
        if inside is None or match.end() > start:
            continue
        end = match.end() + len(inside) + (2 if text[match.end() : match.end() + 1] == "{" else 0)
        answer = _bare(inside)
        if not 0 < start - end <= MOST_BETWEEN or answer is None or not _JOINED.fullmatch(text, end, start):
            break
        found.append(answer)
        start = match.start()
    return found[::-1]


def _may_go_on(passage: str, rest: str) -> bool:
    """Whether nothing ends the passage but the end of the text; "3." may be that of 3.14."""
    return rest == passage or (passage[-1:].isdigit() and rest == f"{passage}.")


def _passage(rest: str, reading: Reading) -> str | None:
    match reading:
        case Reading.BRACES:
            return _in_braces(rest)
        case Reading.LINE:
            return rest.split("\n", 1)[0]
        case Reading.SENTENCE:
            return _sentence(rest)


def _read(passage: str, reading: Reading) -> str | None:
    if reading is Reading.BRACES:
        return _bare(passage)
    answer = _bare(passage)
    if answer is None or len(_WORD.findall(answer)) > MAX_WORDS or not _is_balanced(answer):
        return None
    return answer


def _sentence(rest: str) -> str:
    match = _MATH_FIRST.match(rest) or _SENTENCE.match(rest)
    return match.group() if match else ""


def _in_braces(rest: str) -> str | None:
    """The inside of the braces that ``rest`` opens with, or its first word; None where they never close."""
    if not rest.startswith("{"):
        match = _BARE.match(rest)
        return match.group() if match else None
    depth = 0
    for match in _BRACE.finditer(rest):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return rest[1 : match.start()]
    return None


def _is_balanced(answer: str) -> bool:
    depth = 0
    for match in _BRACE.finditer(answer):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth < 0:
            return False
    return depth == 0


def _bare(passage: str | None) -> str | None:
    """Without surrounding space, closing full stop and one pair of delimiters of each kind; None if nothing is left."""
    if passage is None:
        return None
    answer = passage.strip().rstrip(".,;: ")
    for opening, closing in _DELIMITERS:
        inside = answer[len(opening) : -len(closing)]
        if answer.startswith(opening) and answer.endswith(closing) and inside and opening not in inside:
            answer = inside.strip().rstrip(".,;: ")
    return answer.removesuffix("**").strip() or None

r"""Answers as plain LaTeX in one spelling, and the plain numbers among them, exactly."""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final

MAX_CHARACTERS: Final = 400
"""Longer answers are compared as strings only."""

_SCALES: Final = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_VALUE_WORD = (
    rf"\b(?i:{'|'.join(_SCALES)}|squared|cubed|factorial|half|halves|thirds?|fourths?|fifths?|tenths?|hundredths?"
    r"|thousandths?|below|less|inverse|base)\b"
)
"""Words that change the value of a number before them: no units."""
_TEXT = r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}"
_NO_UNIT = rf"\\\w+\s*\{{(?:\s*(?i:[ap]\.?m)\b|[^{{}}]*{_VALUE_WORD})"
_UNIT = (
    r"(?:(?=[a-z]*[aeiou])(?!and\b)[a-z]{3,}|cm|mm|km|kg|ft|in|mi|ml|hrs?|oz|lbs?|sq)\b\.?"
    r"(?:[ /]+(?!and\b|or\b)[a-z]+\.?)*(?:\s*\^\s*\{?\d\}?)?"
)
_ROW: Final = "\ue000"
"""Stands for the end of a row while spaces are looked at: ``\\\\ `` is no ``\\ ``."""
_THIN: Final = "\u00a0\u2002-\u200a\u202f\u205f"
"""Spaces that typesetters put between groups of digits."""
_REWRITES: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|[Bb]ig[lr]?|displaystyle)(?![A-Za-z])", ""),
        (r"\s*(?:\\\\(?:\s*\[ ?-?[\d.]+ ?(?:pt|ex|em|mm|cm) ?\])?|\\cr(?![A-Za-z])|\\tabularnewline)\s*", f" {_ROW} "),
        (r",\\!\s*(?=\d{3}(?!\d))", ","),
        (rf"(?<=\d)(?:\\[,;: ]|\\thinspace\s*|\{{,\}}|~|[{_THIN}])+(?=\d{{3}}(?!\d))", ","),
        (rf"[{_THIN}]", " "),
        (r"\\!", ""),
        (r"\\[,;:> ]|~|\\q?quad(?![A-Za-z])", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\frac\s*(\d|\\pi)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d|\\pi)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
        (r"\\sqrt\s*(\d)", r"\\sqrt{\1}"),
        (r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)|√\s*(\d+)", r"\\sqrt{\1\2}"),
        (r"(?<![\\A-Za-z])pi(?![A-Za-z])|π", r"\\pi "),
        (r"∞", r"\\infty "),
        (r"²", "^2"),
        (r"³", "^3"),
        (r"\b([ap])\.\s?m\b", r"\1m"),
        (r"×", r"\\times "),
        (r"[−–]", "-"),
        (r"\*\*", "^"),
        (r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])|°", ""),
        (r"\\?\$", ""),
        (r"\\%", "%"),
        (rf"(?<=[\d}}%)])\s*(?!{_NO_UNIT}){_TEXT}(?:\s*\^\s*\{{?\d\}}?)?\s*\Z", ""),
        (_TEXT, r"\1"),
        (r"\A\s*\(\s*([A-Za-z])\s*\)\s*\Z", r"\1"),
        (r"\s+", " "),
        (r"[\s.]+\Z|\A\s+", ""),
        (rf" ?{_ROW} ?(\\end)", r" \1"),
        (_ROW, r"\\\\"),
    )
)
"""Applied in this order. A space stays where it may keep two things apart, so that the result can still be parsed."""
_TRAILING_UNIT = re.compile(rf"\s+{_UNIT}\s*\Z", re.IGNORECASE)
_SCALED = re.compile(rf"(-?\d*\.?\d+) ?({'|'.join(_SCALES)})(?![a-z])", re.IGNORECASE | re.ASCII)
_VALUE_WORDS = re.compile(_VALUE_WORD)
_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?!,?\d)")
_SPACED_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_BRACKETS = re.compile(r"[(\[{]")
_LOOSE_SPACE = re.compile(r"(?<!\d) | (?!\d)")
_DELIMITERS: Final = ((r"\(", r"\)"), (r"\[", r"\]"))


@lru_cache(maxsize=1 << 14)
def tidy(answer: str) -> str:
    """The answer in plain LaTeX that can still be parsed."""
    tidy = answer.strip()
    if len(tidy) > 4 * MAX_CHARACTERS:
        return tidy
    for opening, closing in _DELIMITERS:
        if tidy.startswith(opening) and tidy.endswith(closing):
            tidy = tidy[len(opening) : -len(closing)]
    for pattern, replacement in _REWRITES:
        tidy = pattern.sub(replacement, tidy)
    if _SPACED_THOUSANDS.fullmatch(tidy):
        tidy = tidy.replace(" ", "")
    if not _BRACKETS.search(tidy):
        tidy = _THOUSANDS.sub(lambda match: match.group().replace(",", ""), tidy)
    if scaled := _SCALED.match(tidy):
        tidy = _product(scaled) + tidy[scaled.end() :]
    bare = _TRAILING_UNIT.sub("", tidy)
    return tidy if number(bare) is None or _VALUE_WORDS.search(tidy, len(bare)) else bare


def _product(scaled: re.Match[str]) -> str:
    """``1.5 million`` as ``1500000``."""
    value = Fraction(scaled[1]) * _SCALES[scaled[2].lower()]
    return str(value.numerator) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def key(tidy: str) -> str:
    """What is compared as a string: no spaces but those that keep two numbers apart."""
    return _LOOSE_SPACE.sub("", tidy)


@dataclass(frozen=True, slots=True)
class Number:
    """A plain number: its exact value as written, and its decimal places and significant digits if it is a decimal."""

    value: Fraction
    is_percent: bool
    places: int
    digits: int

    def equals(self, other: "Number") -> bool:
        if self.is_percent == other.is_percent:
            return self.value == other.value or self.rounds(other) or other.rounds(self)
        percent, plain = (self, other) if self.is_percent else (other, self)
        return plain.value in (percent.value, percent.value / 100)

    def rounds(self, fraction: "Number") -> bool:
        """Whether this is a decimal of at least six digits to which ``fraction`` can be rounded or cut."""
        is_precise = self.digits >= 6 and not fraction.digits
        return is_precise and abs(self.value - fraction.value) < Fraction(1, 10**self.places)


_SLASH = re.compile(r"(\d+) ?/ ?(\d+)(?= ?%?\Z)")
_NUMBER = re.compile(
    r"(?P<sign>[-+]?) ?(?:(?P<decimal>\d+\.?|\d*\.\d+)(?P<power>[eE][-+]?\d{1,3}"
    r"| ?(?:\\times|\\cdot|\\ast|\*|·) ?10 ?\^ ?(?:\{ ?[-+]? ?\d{1,3} ?\}|\d))?"
    r"|(?P<lead>\d*)\.(?P<once>\d*)\\(?:overline|bar) ?\{ ?(?P<again>\d+) ?\}"
    r"|(?P<whole>\d+)? ?\\frac ?\{ ?(?P<minus>-?) ?(?P<top>\d+) ?\} ?\{ ?(?P<bottom>\d+) ?\}) ?(?P<percent>%?)",
    re.ASCII,
)


def _power(written: str) -> int:
    r"""The power of ten in ``e-3``, ``\times 10^{-3}``, ``\cdot 10^2``."""
    return int(re.split(r"10 ?\^|[eE]", written)[-1].strip(" {}").replace(" ", ""))


@lru_cache(maxsize=1 << 14)
def number(tidy: str) -> Number | None:
    r"""The plain number that a tidy answer is, if it is one: ``-3``, ``1/3``, ``1\frac{4}{5}``, ``12%``, ``3e2``."""
    match = _NUMBER.fullmatch(_SLASH.sub(r"\\frac{\1}{\2}", tidy)) if len(tidy) <= MAX_CHARACTERS else None
    if match is None:
        return None
    sign, is_percent = -1 if match["sign"] == "-" else 1, bool(match["percent"])
    if match["decimal"]:
        whole, _, places = match["decimal"].partition(".")
        digits = len((whole + places).lstrip("0")) if places else 0
        power = _power(match["power"] or "e0")
        value = sign * Fraction(int(whole + places), 10 ** len(places)) * Fraction(10) ** power
        return Number(value, is_percent, max(0, len(places) - power), digits)
    if match["again"]:
        once, again = match["lead"] + match["once"], match["again"]
        repeating = int(once + again) - int(once or 0)
        return Number(sign * Fraction(repeating, 10 ** len(match["once"]) * (10 ** len(again) - 1)), is_percent, 0, 0)
    if int(match["bottom"]) == 0 or (match["whole"] and match["minus"]):
        return None
    value = int(match["whole"] or 0) + Fraction(int(match["minus"] + match["top"]), int(match["bottom"]))
    return Number(sign * value, is_percent, 0, 0)

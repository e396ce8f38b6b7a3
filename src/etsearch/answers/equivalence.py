r"""Whether two answers are mathematically the same.

Three ways to decide, the cheapest first:

1. *As strings*, normalised: ``\dfrac12`` is ``\frac{1}{2}``, ``\$1,000`` is ``1000``, ``106^\circ`` is ``106``.
2. *By form*: plain numbers exactly (integers, decimals, fractions, mixed numbers, percentages), words, numbers with a
   base, tuples and intervals element by element, lists and sets in any order.
3. *By algebra*, with math-verify (SymPy): everything else.

Algebra can take for ever (``9^{9^9}``), and inside one big multiplication no signal handler and no other thread can
stop it. So it runs in a child process, started when first needed, whose memory is bounded and which the system ends
when a request takes more than ``CPU_LIMIT_S`` of computing time; computing time, lest the verdict depend on what else
the machine does. That makes ``equivalent`` safe in threads and under asyncio (where
math-verify's own signal-based time limits fail), and SymPy costs the parent neither its second of import nor its
memory. Answers longer than ``MAX_CHARACTERS`` are compared as strings only. A comparison that is given up counts as
"different", and is logged.

This file is also the child's program: it imports nothing of the package, and math-verify in the child only.
"""

import atexit
import contextlib
import importlib
import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import IO, Any, Final, cast, final

MAX_CHARACTERS: Final = 400
"""Longer answers are compared as strings only."""
CPU_LIMIT_S: Final = 2.0
"""Computing time that the algebra has to read one answer, and to compare two."""
WALL_LIMIT_S: Final = 20.0
"""The same by the clock: where the platform cannot limit computing time, or the child got none."""
START_LIMIT_S: Final = 120.0
"""Time that the child process has to import SymPy (about one second on an idle machine)."""
MAX_MEMORY_BYTES: Final = 2 << 30
"""Address space of the child process, where the platform can limit it."""
NEAR: Final = 1e-5
"""Relative distance beyond which two values differ whatever math-verify says: it rounds to six decimals."""

_CPU_SIGNAL: Final = int(getattr(signal, "SIGPROF", 0))
_logger = logging.getLogger(__name__)


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
    x, y = _tidy(a), _tidy(b)
    if _key(x) == _key(y):
        return True
    if not x or not y or max(len(x), len(y)) > MAX_CHARACTERS:
        return False
    for decide in (_by_number, _by_word, _by_base, _by_clock, _by_elements, _by_assignment):
        verdict = decide(x, y)
        if verdict is not None:
            return verdict
    return _by_algebra(x, y)


# --- as strings -------------------------------------------------------------------------------------------------------

_TEXT = r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}"
_UNIT = (
    r"(?:(?=[a-z]*[aeiou])(?!and\b)[a-z]{3,}|cm|mm|km|kg|ft|in|mi|ml|hrs?|oz|lbs?|sq)\b\.?"
    r"(?:[ /]+(?!and\b|or\b)[a-z]+\.?)*(?:\s*\^\s*\{?\d\}?)?"
)
_REWRITES: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|[Bb]ig[lr]?|displaystyle)(?![A-Za-z])", ""),
        (r",\\!\s*(?=\d{3}(?!\d))", ","),
        (r"(?<=\d)(?:\\,|\{,\})(?=\d{3}(?!\d))", ","),
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
        (rf"(?<=[\d}}%)])\s*(?!\\\w+\s*\{{\s*(?i:[ap]\.?m)\b){_TEXT}(?:\s*\^\s*\{{?\d\}}?)?\s*\Z", ""),
        (_TEXT, r"\1"),
        (r"\A\s*\(\s*([A-Za-z])\s*\)\s*\Z", r"\1"),
        (r"\s+", " "),
        (r"[\s.]+\Z|\A\s+", ""),
    )
)
"""Applied in this order. A space stays where it may keep two things apart, so that the result can still be parsed."""
_TRAILING_UNIT = re.compile(rf"\s+{_UNIT}\s*\Z", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?!,?\d)")
_BRACKETS = re.compile(r"[(\[{]")
_LOOSE_SPACE = re.compile(r"(?<!\d) | (?!\d)")
_DELIMITERS: Final = ((r"\(", r"\)"), (r"\[", r"\]"))


@lru_cache(maxsize=1 << 14)
def _tidy(answer: str) -> str:
    """The answer in plain LaTeX that can still be parsed."""
    tidy = answer.strip()
    if len(tidy) > 4 * MAX_CHARACTERS:
        return tidy
    for opening, closing in _DELIMITERS:
        if tidy.startswith(opening) and tidy.endswith(closing):
            tidy = tidy[len(opening) : -len(closing)]
    for pattern, replacement in _REWRITES:
        tidy = pattern.sub(replacement, tidy)
    if not _BRACKETS.search(tidy):
        tidy = _THOUSANDS.sub(lambda match: match.group().replace(",", ""), tidy)
    bare = _TRAILING_UNIT.sub("", tidy)
    return tidy if _number(bare) is None else bare


def _key(tidy: str) -> str:
    """What is compared as a string: no spaces but those that keep two numbers apart."""
    return _LOOSE_SPACE.sub("", tidy)


# --- by form ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Number:
    """A plain number: its exact value as written, and its decimal places and significant digits if it is a decimal."""

    value: Fraction
    is_percent: bool
    places: int
    digits: int

    def equals(self, other: "_Number") -> bool:
        if self.is_percent == other.is_percent:
            return self.value == other.value or self.rounds(other) or other.rounds(self)
        percent, plain = (self, other) if self.is_percent else (other, self)
        return plain.value in (percent.value, percent.value / 100)

    def rounds(self, fraction: "_Number") -> bool:
        """Whether this is a decimal of at least six digits to which ``fraction`` can be rounded or cut."""
        is_precise = self.digits >= 6 and not fraction.digits
        return is_precise and abs(self.value - fraction.value) < Fraction(1, 10**self.places)


_SLASH = re.compile(r"(\d+) ?/ ?(\d+)(?= ?%?\Z)")
_NUMBER = re.compile(
    r"(?P<sign>[-+]?) ?(?:(?P<decimal>\d+\.?|\d*\.\d+)"
    r"|(?P<lead>\d*)\.(?P<once>\d*)\\(?:overline|bar) ?\{ ?(?P<again>\d+) ?\}"
    r"|(?P<whole>\d+)? ?\\frac ?\{ ?(?P<minus>-?) ?(?P<top>\d+) ?\} ?\{ ?(?P<bottom>\d+) ?\}) ?(?P<percent>%?)",
    re.ASCII,
)


@lru_cache(maxsize=1 << 14)
def _number(tidy: str) -> _Number | None:
    r"""The plain number that a tidy answer is, if it is one: ``-3``, ``.5``, ``1/3``, ``1\frac{4}{5}``, ``12%``."""
    match = _NUMBER.fullmatch(_SLASH.sub(r"\\frac{\1}{\2}", tidy)) if len(tidy) <= MAX_CHARACTERS else None
    if match is None:
        return None
    sign, is_percent = -1 if match["sign"] == "-" else 1, bool(match["percent"])
    if match["decimal"]:
        whole, _, places = match["decimal"].partition(".")
        digits = len((whole + places).lstrip("0")) if places else 0
        return _Number(sign * Fraction(int(whole + places), 10 ** len(places)), is_percent, len(places), digits)
    if match["again"]:
        once, again = match["lead"] + match["once"], match["again"]
        repeating = int(once + again) - int(once or 0)
        return _Number(sign * Fraction(repeating, 10 ** len(match["once"]) * (10 ** len(again) - 1)), is_percent, 0, 0)
    if int(match["bottom"]) == 0 or (match["whole"] and match["minus"]):
        return None
    value = int(match["whole"] or 0) + Fraction(int(match["minus"] + match["top"]), int(match["bottom"]))
    return _Number(sign * value, is_percent, 0, 0)


def _by_number(x: str, y: str) -> bool | None:
    first, second = _number(x), _number(y)
    return None if first is None or second is None else first.equals(second)


_WORDS = re.compile(r"[A-Za-z][A-Za-z' ]*")
_WORD_LETTERS: Final = 4
"""Fewer letters may be a product of variables. To SymPy "east" is one too, the same as "seat"."""


def _by_word(x: str, y: str) -> bool | None:
    if not (_WORDS.fullmatch(x) and _WORDS.fullmatch(y)):
        return None
    first, second = _key(x), _key(y)
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
        return _key(x).casefold() == _key(y).casefold()
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
    return None if is_implicit else (_key(name), value)


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
        return False if (first and _number(y)) or (second and _number(x)) else None
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


# --- by algebra -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the algebra makes of one answer: whether it can read it, and its value at a fixed point if it has one."""

    is_readable: bool
    value: complex | None = None


def _by_algebra(x: str, y: str) -> bool:
    first, second = _reading(x), _reading(y)
    if not (first.is_readable and second.is_readable):
        return False
    if first.value is not None and second.value is not None and "%" not in x + y:
        distance = abs(first.value - second.value)
        if distance > NEAR * max(abs(first.value), abs(second.value)):
            return False
    if _hangs.intersection((x, y)):
        return False
    reply = _algebra.ask({"same": [x, y]})
    if reply is None:
        _hangs.update(answer for answer in (x, y) if _algebra.ask({"same": [answer, _PROBE]}) is None)
    return reply is not None and bool(reply["same"])


_PROBE: Final = "1.5"
_hangs: set[str] = set()
"""Answers that can be read but compared with nothing in time: each costs its time limit once, not for every pair."""


@lru_cache(maxsize=1 << 14)
def _reading(tidy: str) -> _Reading:
    reply = _algebra.ask({"read": tidy})
    if reply is None or not reply["readable"]:
        return _Reading(is_readable=False)
    return _Reading(is_readable=True, value=None if reply["value"] is None else complex(*reply["value"]))


@final
class _Algebra:
    """The child process: one request and one reply, a line of JSON each. Safe in threads, they take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._is_broken = False

    def ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The reply; None if it took too long or the child cannot run. A child that died is replaced once."""
        line = json.dumps({**request, "cpu_limit_s": CPU_LIMIT_S})
        with self._lock:
            for _ in range(2):
                process = self._process or self._start()
                if process is None:
                    return None
                reply, has_expired = self._exchange(process, line, WALL_LIMIT_S)
                if reply is not None:
                    return dict(json.loads(reply))
                self._stop()
                if has_expired or process.returncode == -_CPU_SIGNAL:
                    break
        _logger.warning("gave up on %.200s; it counts as different (limit %g s)", request, CPU_LIMIT_S)
        return None

    def _start(self) -> subprocess.Popen[str] | None:
        if self._is_broken:
            return None
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own file, run by our own interpreter
                [sys.executable, "-P", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                encoding="utf-8",
            )
            is_ready = self._exchange(self._process, "{}", START_LIMIT_S)[0] is not None
        except OSError:
            is_ready = False
        if not is_ready:
            self._stop()
            self._is_broken = True
            _logger.error("math-verify could not be started: answers are compared without algebra from here on")
        return self._process

    def _exchange(self, process: subprocess.Popen[str], line: str, limit_s: float) -> tuple[str | None, bool]:
        """The reply line, None if there is none, and whether the time was up."""
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            process.kill()

        requests, replies = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        reply, timer = "", threading.Timer(limit_s, expire)
        timer.daemon = True
        timer.start()
        try:
            with contextlib.suppress(OSError, ValueError):
                requests.write(line + "\n")
                requests.flush()
                reply = replies.readline()
        except BaseException:  # an interrupt: the reply must not be taken for that to a later request
            self._stop()
            raise
        finally:
            timer.cancel()
            timer.join()
        is_whole = reply.endswith("\n") and not expired.is_set()
        return (reply if is_whole else None), expired.is_set()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        process.wait()

    def close(self) -> None:
        """Ends the child process. The next request starts another."""
        with self._lock:
            self._stop()

    def after_fork(self) -> None:
        """In a forked process: the child belongs to the parent, and two must not talk to it."""
        if self._process is not None:
            self._process.returncode = 0  # not ours to wait for
        self._process, self._lock = None, threading.Lock()


_algebra = _Algebra()
atexit.register(_algebra.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_algebra.after_fork)


# --- the child process ------------------------------------------------------------------------------------------------


def _serve() -> None:
    """Answers requests until the standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    logging.disable(logging.CRITICAL)
    import math_verify  # noqa: F401, PLC0415  takes a second

    for line in sys.stdin:
        request = json.loads(line)
        _limit_cpu(request.get("cpu_limit_s", 0))
        reply = _reply(request)
        _limit_cpu(0)
        print(json.dumps(reply), flush=True)


def _limit_cpu(seconds: float) -> None:
    """The system ends the process after this much computing time; 0 takes the limit away."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415  not on every platform

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = MAX_MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MAX_MEMORY_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _reply(request: dict[str, Any]) -> dict[str, Any]:
    try:
        if "read" in request:
            expression = _parse(request["read"])
            return {"readable": expression is not None, "value": _value(expression)}
        if "same" in request:
            return {"same": _verify(*map(_parse, request["same"]))}
    except (Exception, MemoryError):  # noqa: BLE001  whatever SymPy raises, it cannot read this
        return {"readable": False, "same": False}
    return {}


@lru_cache(maxsize=1 << 12)
def _parse(tidy: str) -> Any:
    """A SymPy object, or None. LaTeX only: the parser of plain expressions ends in ``eval``."""
    from math_verify import LatexExtractionConfig, parse  # noqa: PLC0415

    default = LatexExtractionConfig().normalization_config
    latex = LatexExtractionConfig(
        normalization_config=replace(default, units=False)
    )  # it takes the c of "x + c" for one
    found = parse(f"${tidy}$", [latex], fallback_mode="no_fallback", parsing_timeout=None)
    return found[0] if found else None


def _value(expression: Any) -> tuple[float, float] | None:
    """A number that equal expressions share: their value where every variable has a positive number of its own.

    Of a set it is the sum over the elements, of a matrix a weighted sum over the entries. None where there is none.
    """
    sympy = importlib.import_module("sympy")
    if isinstance(expression, sympy.MatrixBase):
        parts = [weight * entry for weight, entry in enumerate(expression.flat(), start=1)]
    elif isinstance(expression, sympy.FiniteSet):
        parts = list(expression.args)
    else:
        parts = [expression]
    if not all(isinstance(part, sympy.Expr) for part in parts):
        return None
    point = {symbol: sympy.Float(0.3 + zlib.crc32(symbol.name.encode()) / 2**32) for symbol in expression.free_symbols}
    try:
        value = sum((complex(part.evalf(20, subs=point)) for part in parts), start=0j)
    except (TypeError, ValueError, OverflowError):
        return None
    return (value.real, value.imag) if math.isfinite(value.real) and math.isfinite(value.imag) else None


def _verify(first: Any, second: Any) -> bool:
    """In both orders, because math-verify is not symmetric."""
    from math_verify import verify  # noqa: PLC0415

    if first is None or second is None or _kind(first) != _kind(second):
        return False
    return bool(verify(first, second, timeout_seconds=None) or verify(second, first, timeout_seconds=None))


def _kind(expression: Any) -> str:
    """What is never equal to something of another kind; math-verify would take long to say so."""
    sympy = importlib.import_module("sympy")
    if isinstance(expression, sympy.MatrixBase):
        return "matrix"
    if isinstance(expression, sympy.Expr | sympy.FiniteSet):
        return "points"
    return "range" if isinstance(expression, sympy.Interval | sympy.Union) or expression.is_Relational else "other"


if __name__ == "__main__":
    _serve()

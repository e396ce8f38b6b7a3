r"""The default embedder: words by their letters, numbers by their value. No model, no download.

It is *not* semantic. It sees that two steps are the same but for filler words, and that they hold different numbers;
it does not see that "a dozen" is 12 or that "twice" means "times 2". For meaning use a sentence embedder.
"""

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from etsearch.boundary.numbers import check_whole

WORD_MASS: Final = 2.0
"""Squared weight of a word, half on the word and half on its character 3- to 5-grams."""
FILLER_MASS: Final = 0.02
"""Squared weight of a filler word such as "so" or "the"."""
NUMBER_MASS: Final = 2.0
"""Squared weight of a number; the result of the step counts once more."""
OPERATOR_MASS: Final = 1.0
"""Squared weight of an arithmetic operator."""
SIGNATURE_SHARE: Final = 0.2
"""Squared weight of the numbers taken together, as a share of all the rest. It sets the distance that steps with
different numbers keep at the least, however long they are: 0.2 / 1.2 = 0.17, but for hash collisions."""
NUM_HASHES: Final = 3
"""Coordinates of a token, so that no single collision makes two tokens one."""
MIN_DIMENSIONS: Final = 64
MOST_DIMENSIONS: Final = 65_536

_NGRAMS: Final = (3, 4, 5)
_FILLER_WORDS: Final = """
a all also altogether an and are as be been both by calculate can compute count do each equal equals find first for
from get gets give gives has have hence here how in is it its know left let makes means much must need now number
obtain of on our out second since so step sum than that the their them then there therefore these they third this thus
to together total value was we were what where which with would
"""
_FILLERS: Final = frozenset(_FILLER_WORDS.split())
_TOKEN: Final = re.compile(  # words, then numbers, then operators: in the order of what is quickest to find
    r"[^\W\d_]+"
    r"|(?=[-\d])(?:(?:(?<=[=({\[,:$])|(?<=[=({\[,:$] )|\A)-)?(?:\d+(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
    r"|[+*/^×÷−]|(?<=[\d)}\]\s])-(?=[\d(\\\s])"
)
_OPERATORS: Final = {sign: sign for sign in "+-*/^"} | {
    "×": "*",
    "times": "*",
    "cdot": "*",
    "÷": "/",
    "div": "/",
    "−": "-",
}
_RESULT: Final = re.compile(r"=\s*\\?\$?\s*(-?\d[\d,]*(?:\.\d+)?)(?![\d.,]*\s*[-+*/^×÷\\])")


@final
@dataclass(frozen=True)
class LexicalEmbedder:
    r"""Hashed words and numbers, L2-normalised.

    Numbers are whole tokens, by value (``1,000`` is ``1000``), and weigh more than words; filler words weigh next to
    nothing. So ``3 + 4 = 7`` and ``3 + 4 = 8`` are far apart, beyond the paper's cut of 0.05 at any length of text,
    while ``So 3 + 4 = 7.`` is next to ``3 + 4 = 7``. A text without any word, number or operator has the vector of
    the empty text, a unit vector of its own. Texts are hashed by CRC-32: the same on every machine and in every run.

    Attributes:
        num_dimensions: ``d``, 64 to 65,536.
    """

    num_dimensions: int = 1024

    def __post_init__(self) -> None:
        check_whole("num_dimensions", self.num_dimensions, MIN_DIMENSIONS, MOST_DIMENSIONS)

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds a batch: [n, d], unit rows."""
        return self.embed_now(texts)

    async def aclose(self) -> None:
        """There is nothing to let go of."""

    def embed_now(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``embed`` without an event loop. Equal texts are embedded once."""
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        if not row_of:
            return np.zeros((0, self.num_dimensions), dtype=np.float32)
        rows = self._embed_distinct(list(row_of))
        return rows if len(rows) == len(texts) else rows[[row_of[text] for text in texts]]

    def _embed_distinct(self, texts: Sequence[str]) -> NDArray[np.float32]:
        count, width = len(texts), self.num_dimensions
        found = [(row, mass, *_features(name, width)) for row, text in enumerate(texts) for name, mass in _masses(text)]
        rows, masses, places, weights = zip(*found, strict=True)
        sizes = [len(of_token) for of_token in places]
        cells = np.concatenate(places) + np.repeat(np.multiply(rows, width), sizes)
        flat = np.bincount(cells, np.concatenate(weights) * np.repeat(np.sqrt(masses), sizes), count * width)
        matrix = flat.reshape(count, width)
        matrix[~matrix.any(axis=1), 0] = 1.0  # every feature met its opposite: all but impossible, no reason to fail
        return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), dtype=np.float32)


def _masses(text: str) -> Iterator[tuple[str, float]]:
    """The names of what a text holds, and the squared weight of each."""
    names = [_name(token) for token in _TOKEN.findall(text.lower())]
    numbers = [name[2:] for name in names if name[0] == "n"]
    total = 0.0
    for name, count in Counter(name for name in names if name[0] != "n").items():
        mass = count * _mass(name)
        total += mass
        yield name, mass
    if not names:
        yield "empty", 1.0
    if not numbers:
        return
    result = _result(text, numbers)
    for number, count in Counter([*numbers, result]).items():
        yield f"n:{number}", NUMBER_MASS * count
    total += NUMBER_MASS * (len(numbers) + 1)
    yield f"s:{sorted(numbers)}={result}", SIGNATURE_SHARE * total


@lru_cache(maxsize=1 << 15)
def _name(token: str) -> str:
    """One name for all spellings of a token: its kind (number, operator or word), a colon, and what it says."""
    if token[-1].isdecimal():
        return f"n:{_value(token)}"
    return f"o:{_OPERATORS[token]}" if token in _OPERATORS else f"w:{token}"


def _mass(name: str) -> float:
    """The squared weight of an operator or a word that stands once."""
    return OPERATOR_MASS if name[0] == "o" else FILLER_MASS if name[2:] in _FILLERS else WORD_MASS


def _value(number: str) -> str:
    """One spelling for each value: ``1,000.50`` is ``1000.5``."""
    whole, _, decimals = number.replace(",", "").partition(".")
    sign, digits = ("-" if whole.startswith("-") else ""), whole.lstrip("-").lstrip("0") or "0"
    return sign + digits + ("." + decimals.rstrip("0") if decimals.rstrip("0") else "")


def _result(text: str, numbers: Sequence[str]) -> str:
    """The number that stands last behind an equals sign, else the last one."""
    results = _RESULT.findall(text)
    return _value(results[-1].rstrip(",")) if results else numbers[-1]


@lru_cache(maxsize=1 << 15)
def _features(name: str, num_dimensions: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Coordinates of a name's features and the weight of each; the squares of the weights add up to 1."""
    grams = _grams(f"<{name[2:]}>") if name[0] == "w" and name[2:] not in _FILLERS else []
    hashes = [zlib.crc32(feature.encode("utf-8", "replace")) for feature in (*_whole(name), *grams)]
    share = 0.5 if grams else 1.0
    sizes = [math.sqrt(share / NUM_HASHES)] * NUM_HASHES + [math.sqrt((1 - share) / max(1, len(grams)))] * len(grams)
    weights = [size if number & 1 else -size for number, size in zip(hashes, sizes, strict=True)]
    return np.array([(number >> 1) % num_dimensions for number in hashes]), np.array(weights)


def _whole(name: str) -> list[str]:
    return [f"{index}{name}" for index in range(NUM_HASHES)]


def _grams(word: str) -> list[str]:
    return [f"g:{word[i : i + n]}" for n in _NGRAMS for i in range(len(word) - n + 1)] or [f"g:{word}"]

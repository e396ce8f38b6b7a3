"""The header of a GGUF file, checked as a whole: the library that runs it trusts every count in it.

Layout (GGUF 2 and 3, little endian): magic, version, number of tensors, number of entries; each entry a name, a type
and a value; each tensor a name, its dimensions, a type and where its weights lie; then, from a multiple of the
alignment on, the weights.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from etsearch.boundary.numbers import shown
from etsearch.errors import ConfigError

MOST_ENTRIES: Final = 65_536
"""Entries, and tensors, that a header may tell of."""
MOST_NAME_BYTES: Final = 65_535
"""The longest name; the format's own limit."""
MOST_DIMENSIONS: Final = 8
READABLE: Final = (2, 3)
"""Versions of the format."""

_MAGIC: Final = b"GGUF"
_INTEGERS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 7: "?", 10: "Q", 11: "q"}
_CODES: Final = {**_INTEGERS, 6: "f", 12: "d"}
_STRING: Final = 8
_ARRAY: Final = 9
_BLOCKS: Final = {
    0: (1, 4),
    1: (1, 2),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    30: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 36),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
}
"""Of the types of weights: how many make a block, and its bytes."""
_LIGHTEST: Final = (8, 1)
"""What is taken of a type that is not known here."""
_ALIGNMENT: Final = 32
"""Where the header does not tell another."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file tells of its model.

    Attributes:
        architecture: such as ``llama``; None where it is not told.
        context_tokens: tokens that the model was made for; None where it is not told.
        num_tensors: of the network.
    """

    architecture: str | None
    context_tokens: int | None
    num_tensors: int


def read_header(path: Path) -> Header:
    """The header of a GGUF file.

    Raises:
        ConfigError: the file is none, ends too early, or a count or a length in it cannot be.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file, path.stat().st_size).header()
    except (OSError, ValueError, struct.error) as error:
        raise ConfigError(f"{path} is no whole GGUF file: {error}; get it again") from error


class _Reader:
    """Reads on from the beginning. Raises ValueError at the first thing that cannot be."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def header(self) -> Header:
        if (magic := self._bytes(4)) != _MAGIC:
            raise ValueError(f"it begins with {magic!r}, not with {_MAGIC!r}")
        if (version := self._integer("I")) not in READABLE:
            raise ValueError(f"its version is {version}; {' and '.join(map(str, READABLE))} are read")
        num_tensors, num_entries = self._count("tensors"), self._count("entries")
        told: dict[str, Any] = {}
        for _ in range(num_entries):
            name = self._text("a name", MOST_NAME_BYTES)
            kind = self._integer("I")
            if name.endswith((".context_length", "general.alignment", "general.architecture")):
                told[name.rpartition(".")[2]] = self._value(kind)
            else:
                self._skip(kind)
        end = max((self._tensor() for _ in range(num_tensors)), default=0)
        alignment = told.get("alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise ValueError(f"its alignment is {shown(alignment)}; it must be a power of two")
        start = -(-self._file.tell() // alignment) * alignment
        if num_tensors and start + end > self._size:
            raise ValueError(f"its weights go up to byte {start + end:,}, and it has {self._size:,}")
        context, architecture = told.get("context_length"), told.get("architecture")
        return Header(
            architecture if isinstance(architecture, str) else None,
            context if isinstance(context, int) and context > 0 else None,
            num_tensors,
        )

    def _tensor(self) -> int:
        """Where the weights of the next tensor end, from where weights begin."""
        name = self._text("a tensor's name", MOST_NAME_BYTES)
        num_dimensions = self._integer("I")
        if not 0 < num_dimensions <= MOST_DIMENSIONS:
            raise ValueError(f"the tensor {shown(name)} has {num_dimensions} dimensions")
        sizes = [self._integer("Q") for _ in range(num_dimensions)]
        per_block, block_bytes = _BLOCKS.get(self._integer("I"), _LIGHTEST)
        size = -(-math.prod(sizes) // per_block) * block_bytes
        if not 0 < size <= self._size:
            raise ValueError(f"the tensor {shown(name)} has {shown(math.prod(sizes))} weights")
        return self._integer("Q") + size

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text("a text", self._left)
        if kind in _INTEGERS:
            return self._integer(_INTEGERS[kind])
        self._skip(kind)
        return None

    def _skip(self, kind: int, depth: int = 0) -> None:
        if kind == _STRING:
            self._pass(self._integer("Q"))
        elif kind == _ARRAY and depth < 4:
            element, count = self._integer("I"), self._integer("Q")
            if element in (_STRING, _ARRAY):
                self._check(count * 8, "an array")
                for _ in range(count):
                    self._skip(element, depth + 1)
            elif element in _CODES:
                self._pass(count * struct.calcsize("<" + _CODES[element]))
            else:
                raise ValueError(f"an array is of type {element}, which there is not")
        elif kind in _CODES:
            self._pass(struct.calcsize("<" + _CODES[kind]))
        else:
            raise ValueError(f"a value is of type {kind}, which there is not")

    @property
    def _left(self) -> int:
        return self._size - self._file.tell()

    def _check(self, size: int, what: str) -> None:
        if size > self._left:
            raise ValueError(f"it ends within {what}, {size - self._left:,} bytes too early")

    def _pass(self, size: int) -> None:
        self._check(size, "a value")
        self._file.seek(size, 1)

    def _bytes(self, size: int, what: str = "its header") -> bytes:
        self._check(size, what)
        return self._file.read(size)

    def _integer(self, code: str) -> int:
        return int(struct.unpack("<" + code, self._bytes(struct.calcsize("<" + code)))[0])

    def _count(self, what: str) -> int:
        count = self._integer("Q")
        if count > MOST_ENTRIES:
            raise ValueError(f"it tells of {count:,} {what}; at most {MOST_ENTRIES:,} are read")
        return count

    def _text(self, what: str, longest: int) -> str:
        size = self._integer("Q")
        if size > longest:
            raise ValueError(f"{what} is of {size:,} bytes")
        return self._bytes(size, what).decode("utf-8", "replace")

"""Constants of a card, fitted to single steps that were timed on one.

A table is the JSON of ``ets plan calibrate --device cuda``: seconds of all matrix products of a layer by rows, for some
shapes, and of one layer's decode attention over a paged cache by distinct and logical KV tokens. Four constants of the
matrix products and three of attention are fitted to it. Another card is reckoned by its data sheet in relation to the
card of the table.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etsearch.boundary.files import to_path
from etsearch.boundary.plain import read_json
from etsearch.errors import ConfigError
from etsearch.planning.hardware import Card, find_card

MEASURED_CARD: Final = "h100-sxm"
"""The card of the table that ships."""
_KEYS: Final = ("device", "linear", "attention")


@dataclass(frozen=True, slots=True)
class CardConstants:
    """What a step costs on a card.

    Attributes:
        weight_bandwidth: bytes a second at which weights are read.
        flops: operations a second of the matrix products.
        blend: the power by which the two are joined; a large one is the larger of them.
        layer_s: seconds that the kernels of a layer take beside that.
        attention_s: seconds of a layer's attention kernel over nothing.
        distinct_bandwidth, logical_bandwidth: bytes a second at which attention reads KV, each once, and each for every
            sequence, which the card's cache serves.
        source: where they are from.
        is_measured: whether they were measured on this card; else they are reckoned from another's by the data sheet.
    """

    weight_bandwidth: float
    flops: float
    blend: float
    layer_s: float
    attention_s: float
    distinct_bandwidth: float
    logical_bandwidth: float
    source: str = ""
    is_measured: bool = True

    def for_card(self, card: Card, measured: Card) -> "CardConstants":
        """Those of another card: bandwidths and operations in relation to the data sheets, all else the same."""
        memory, compute = card.bandwidth / measured.bandwidth, card.flops / measured.flops
        return replace(
            self,
            weight_bandwidth=self.weight_bandwidth * memory,
            flops=self.flops * compute,
            distinct_bandwidth=self.distinct_bandwidth * memory,
            logical_bandwidth=self.logical_bandwidth * memory,
            source=f"{card.source}; shares of them as measured on {measured.name}",
            is_measured=False,
        )


@dataclass(frozen=True, slots=True)
class LinearRow:
    """All matrix products of one layer: bytes of its weights, rows, and the seconds that were measured."""

    shape: str
    weight_bytes: float
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class AttentionRow:
    """One layer's decode attention: bytes of KV, each once and each as often as it is read, and the seconds."""

    distinct_bytes: float
    logical_bytes: float
    seconds: float


@dataclass(frozen=True)
class CardTable:
    """What was timed on a card."""

    device: str
    linear: tuple[LinearRow, ...]
    attention: tuple[AttentionRow, ...]

    def constants(self) -> CardConstants:
        """The constants that fit it best."""
        bandwidth, flops, blend, layer_s = _fit_linear(self.linear)
        attention_s, distinct, logical = _fit_attention(self.attention)
        return CardConstants(
            bandwidth, flops, blend, layer_s, attention_s, distinct, logical, f"timed on {self.device}"
        )

    def cross_validate(self, folds: int = 7) -> dict[str, NDArray[np.float64]]:
        """Relative errors of rows that the fit did not see: each shape left out in turn, attention in ``folds``."""
        errors: dict[str, list[float]] = {"linear": [], "attention": []}
        for shape in dict.fromkeys(row.shape for row in self.linear):
            found = _fit_linear([row for row in self.linear if row.shape != shape])
            left = [row for row in self.linear if row.shape == shape]
            errors["linear"] += [_linear_seconds(found, row) / row.seconds - 1 for row in left]
        for fold in range(folds):
            rates = _fit_attention([row for i, row in enumerate(self.attention) if i % folds != fold])
            left_rows = self.attention[fold::folds]
            errors["attention"] += [_attention_seconds(rates, row) / row.seconds - 1 for row in left_rows]
        return {name: np.array(values) for name, values in errors.items()}


def read_table(path: str | Path) -> CardTable:
    """The table in a file. Raises ConfigError if it is none, or lacks a key."""
    path = to_path(path, "the calibrated table")
    try:
        return _table(read_json(path.read_bytes()), str(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the calibrated table {path} cannot be read: {error}") from error


@lru_cache(maxsize=1)
def shipped_table() -> CardTable:
    """The table that ships, of an H100."""
    text = resources.files(__package__).joinpath("tables", "h100-sxm.json").read_text(encoding="utf-8")
    return _table(json.loads(text), "the table that ships")


@lru_cache(maxsize=1)
def shipped_constants() -> CardConstants:
    """The constants of the table that ships."""
    return shipped_table().constants()


def constants_of(card: Card, table: CardTable | None = None) -> CardConstants:
    """The constants of a card: those of its table, where it was timed; else reckoned from the one that ships."""
    if table is not None:
        return table.constants()
    if card.name == MEASURED_CARD:
        return shipped_constants()
    return shipped_constants().for_card(card, find_card(MEASURED_CARD))


def _table(values: Any, what: str) -> CardTable:
    if not isinstance(values, Mapping) or any(key not in values for key in _KEYS):
        raise ConfigError(
            f"{what} is no table of a card; it must hold {', '.join(_KEYS)}, as 'ets plan calibrate' writes"
        )
    try:
        linear = [
            LinearRow(name, float(shape["layer_weight_bytes"]), int(rows), float(timed["layer_s"]))
            for name, shape in values["linear"].items()
            for rows, timed in shape["rows"].items()
        ]
        size = float(values.get("attention_bytes_per_token", _ATTENTION_BYTES))
        attention = [
            AttentionRow(row["distinct_tokens"] * size, row["logical_tokens"] * size, float(row["seconds_layer"]))
            for row in values["attention"]
        ]
        return CardTable(str(values["device"]["device"]), tuple(linear), tuple(attention))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{what} is no table of a card: {type(error).__name__}: {error}") from error


_ATTENTION_BYTES: Final = 4096
"""Bytes of K and V a token and layer in the table that ships: 8 heads of 128, in 16 bits."""


def blended(read: float, compute: float, blend: float) -> float:
    """``(read^p + compute^p)^(1/p)``: the sum for p = 1, the larger for a large p, which is cut at 0.1 and 100."""
    larger, smaller = max(read, compute), min(read, compute)
    if not smaller:
        return larger
    power = min(100.0, max(0.1, blend))
    return float(larger * (1 + (smaller / larger) ** power) ** (1 / power))


def _linear_seconds(constants: Sequence[float], row: LinearRow) -> float:
    bandwidth, flops, blend, layer_s = constants
    read, compute = row.weight_bytes / bandwidth, row.rows * row.weight_bytes / flops  # 2 bytes, 2 operations a weight
    return layer_s + blended(read, compute, blend)


def _attention_seconds(constants: Sequence[float], row: AttentionRow) -> float:
    start, distinct, logical = constants
    return start + row.distinct_bytes / distinct + row.logical_bytes / logical


def _fit_linear(rows: Iterable[LinearRow]) -> tuple[float, float, float, float]:
    taken = list(rows)
    begin = np.log([2.5e12, 6e14, 4.0, 1e-5])

    def errors(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        constants = [float(value) for value in np.exp(logs)]
        return np.array([np.log(_linear_seconds(constants, row) / row.seconds) for row in taken])

    found = _fitted(errors, begin)
    return float(found[0]), float(found[1]), float(found[2]), float(found[3])


def _fit_attention(rows: Iterable[AttentionRow]) -> tuple[float, float, float]:
    taken = list(rows)
    begin = np.log([1e-5, 5e12, 7e12])

    def errors(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        constants = [float(value) for value in np.exp(logs)]
        return np.array([np.log(_attention_seconds(constants, row) / row.seconds) for row in taken])

    found = _fitted(errors, begin)
    return float(found[0]), float(found[1]), float(found[2])


def _fitted(
    errors: Callable[[NDArray[np.float64]], NDArray[np.float64]], begin: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The constants whose logarithms make the errors least, a single large one counting for little."""
    from scipy.optimize import least_squares  # noqa: PLC0415 - half a second, which no other command should wait for

    found: NDArray[np.float64] = np.exp(least_squares(errors, begin, loss="soft_l1", f_scale=0.1).x)
    return found

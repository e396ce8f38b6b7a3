"""An engine and a reward model that were timed: what batches computed, their seconds, the rates that explain them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from etsearch.boundary.plain import load_made
from etsearch.planning.cost import Batch, TimedCost, features
from etsearch.planning.policy import EnginePolicy, find_policy
from etsearch.planning.scorer import Reading
from etsearch.planning.simulate import Client, Machine

CLIENT_RATES: Final = ("request_s", "draw_s", "score_s", "depth_s", "search_s")
"""What of a client is timed."""
_PACES: Final = ("together", "lingers_s", "prm_lingers_s", "beside_lingering")
_FORMAT: Final = 5


@dataclass(frozen=True)
class Timed:
    """Batches that were timed: what they computed, and their seconds; and what was fitted to them.

    Attributes:
        rows: of every batch the sums of ``features`` over its steps, and its ``seconds`` without those of the thread of
            whoever asked.
        rates: of each feature.
        error: the median relative error of batches that a fit did not see.
    """

    rows: tuple[Mapping[str, float], ...]
    rates: Mapping[str, float]
    error: float

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, float]], folds: int = 5) -> "Timed":
        """Fits the rates."""
        errors = []
        for fold in range(folds):
            rates = _fit([row for place, row in enumerate(rows) if place % folds != fold])
            errors += [abs(_predict(rates, row) / row["seconds"] - 1) for row in rows[fold::folds]]
        return cls(tuple(rows), _fit(rows), float(np.median(errors)))

    @property
    def cost(self) -> TimedCost:
        return TimedCost(self.rates)


def _names(rows: Sequence[Mapping[str, float]]) -> list[str]:
    return [name for name in rows[0] if name in features(Batch())]


def _fit(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The rate of each feature."""
    names = _names(rows)
    rates = rates_of([[row[name] for name in names] for row in rows], [row["seconds"] for row in rows])
    return dict(zip(names, rates, strict=True))


def _predict(rates: Mapping[str, float], row: Mapping[str, float]) -> float:
    return sum(rates[name] * row[name] for name in rates)


@dataclass(frozen=True)
class EngineTable:
    """A generator and a reward model, timed where they run.

    Attributes:
        engine: its name.
        policy: how it schedules, as it was started.
        generator, prm: the timed batches of both.
        client: what the search loop takes.
        reading: how the reward model reads.
        together, client_shares, lingers_s, prm_lingers_s, beside_lingering: how the three are in each other's way; see
            ``Machine``.
        about: what was timed, on what machine, when.
        cache_tokens: what its KV cache held then; None where it does not tell.
    """

    engine: str
    policy: EnginePolicy
    generator: Timed
    prm: Timed
    client: Client
    reading: Reading
    together: float
    client_shares: bool
    lingers_s: float = 0.0
    prm_lingers_s: float = 0.0
    beside_lingering: float = 1.0
    about: Mapping[str, Any] = field(default_factory=dict)
    cache_tokens: int | None = None

    @property
    def _paces(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in _PACES}

    def machine(self, cache_tokens: int) -> Machine:
        """The same for the simulation."""
        return Machine(
            self.generator.cost,
            self.policy,
            cache_tokens,
            self.prm.cost,
            self.reading,
            self.client,
            client_shares=self.client_shares,
            **self._paces,
        )

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": _FORMAT,
            "engine": self.engine,
            "policy": asdict(self.policy),
            "about": dict(self.about),
            "cache_tokens": self.cache_tokens,
            "reading": asdict(self.reading),
            "client_shares": self.client_shares,
            **self._paces,
            "client": {name: getattr(self.client, name) for name in CLIENT_RATES},
            "generator": [dict(row) for row in self.generator.rows],
            "prm": [dict(row) for row in self.prm.rows],
        }

    @classmethod
    def read(cls, path: str | Path) -> "EngineTable":
        """The table in a file. Raises ConfigError if it is none."""
        return load_made(path, "the calibrated engine", _FORMAT, "ets plan calibrate", cls.of)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "EngineTable":
        """The table of its plain values. Raises ConfigError for an engine that is not known, KeyError if any lacks."""
        find_policy(values["engine"])
        return cls(
            values["engine"],
            EnginePolicy(**values["policy"]),
            Timed.of(values["generator"]),
            Timed.of(values["prm"]),
            Client(**values["client"]),
            Reading(**values["reading"]),
            client_shares=bool(values["client_shares"]),
            **{name: float(values[name]) for name in _PACES},
            about=values["about"],
            cache_tokens=values.get("cache_tokens"),
        )

    def write(self, path: Path) -> None:
        """Writes the file that ``read`` reads."""
        path.write_text(json.dumps(self.plain(), indent=1) + "\n", encoding="utf-8")


def rates_of(rows: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Rates of the columns, none negative, by relative errors."""
    from scipy.optimize import nnls  # noqa: PLC0415 - half a second, which no other command should wait for

    matrix = np.array(rows, dtype=float) / np.maximum(seconds, 1e-6)[:, None]
    scale = np.abs(matrix).max(axis=0)
    scale[scale == 0] = 1.0
    found, _ = nnls(matrix / scale, np.ones(len(matrix)))
    return [float(rate) for rate in found / scale]

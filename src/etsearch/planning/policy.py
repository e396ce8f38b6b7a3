"""How serving engines schedule: the settings of the simulated one."""

from dataclasses import dataclass, replace
from typing import Final

from etsearch.boundary.numbers import MOST_TOKENS, MOST_WIDTH, check_whole
from etsearch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class EnginePolicy:
    """How an engine schedules.

    Attributes:
        block_tokens: tokens of a block, 1 to 65,536.
        max_sequences: sequences that a step computes at most, 1 to 65,536; of an engine that reserves, requests.
        step_tokens: tokens that a step computes at most, those of prefixes in chunks, 1 to 2^30.
        reserves: whether a request is taken in whole, once what it is likely to hold in the end fits; else sequence by
            sequence, once their prefix does.
        restarts: whether a sequence that loses its blocks writes its tokens anew; else they are read again.
        forks: whether the sequences of a request share what is left over of its prefix; else each computes it.
    """

    block_tokens: int = 16
    max_sequences: int = 256
    step_tokens: int = 8192
    reserves: bool = False
    restarts: bool = False
    forks: bool = False

    def __post_init__(self) -> None:
        check_whole("block_tokens", self.block_tokens, 1, MOST_WIDTH)
        check_whole("max_sequences", self.max_sequences, 1, MOST_WIDTH)
        check_whole("step_tokens", self.step_tokens, 1, MOST_TOKENS)


POLICIES: Final = {
    "vllm": EnginePolicy(max_sequences=1024),
    "sglang": EnginePolicy(block_tokens=1, max_sequences=2048),
    "embedded": EnginePolicy(block_tokens=32, step_tokens=2048, reserves=True, restarts=True, forks=True),
}
"""The engines whose scheduling is known (vLLM 0.32, SGLang 0.5, the embedded one), with their defaults on a large card.

What waits is taken in first come first served, the default of all three (SGLang can be told to take the longest prefix
that it finds, as older releases did).
"""


_SMALL_CARD: Final = 70 << 30
"""Bytes of memory under which vLLM takes fewer sequences and tokens at once, and on an A100 of any size."""

_VAST_CARD: Final = 160 << 30
"""Bytes of memory from which it takes more tokens in a step."""


def find_policy(
    engine: str, *, block_tokens: int | None = None, max_sequences: int | None = None, step_tokens: int | None = None
) -> EnginePolicy:
    """How this engine schedules, on a large card unless it is told otherwise; see ``EnginePolicy`` for the values.

    Raises:
        ConfigError: no such engine, or a value out of its range.
    """
    if engine not in POLICIES:
        raise ConfigError(f"there is no engine {engine!r} to plan for; choose one of {', '.join(POLICIES)}")
    known = POLICIES[engine]
    return replace(
        known,
        block_tokens=known.block_tokens if block_tokens is None else block_tokens,
        max_sequences=known.max_sequences if max_sequences is None else max_sequences,
        step_tokens=known.step_tokens if step_tokens is None else step_tokens,
    )


def card_defaults(engine: str, memory_bytes: float, card: str) -> dict[str, int]:
    """What an engine takes for ``find_policy`` on a card that is not merely large, where nothing else is said."""
    if engine != "vllm":
        return {}
    if memory_bytes >= _VAST_CARD:
        return {"step_tokens": 16384}
    if memory_bytes < _SMALL_CARD or "a100" in card.lower():
        return {"max_sequences": 256, "step_tokens": 2048}
    return {}

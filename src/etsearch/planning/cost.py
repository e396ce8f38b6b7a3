"""What one step of an engine takes, from what it computes and reads.

A step is described by a ``Batch``; a ``StepCost`` says how long it takes and where the time goes. There are two: of a
model on a card (``CardCost``, a roofline with the constants of ``etsearch.planning.table``), and of an engine that was
timed as it stands (``TimedCost``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple, Protocol

from etsearch.planning.shapes import Precision, Share
from etsearch.planning.table import CardConstants, blended

LINK_LATENCY_S: Final = 10e-6
"""Of one sum over the cards of a tensor-parallel group; two a layer."""
_SUMMED_BYTES: Final = 2
"""Of a number that is summed over them."""


class Batch(NamedTuple):
    """What a step computes.

    Attributes:
        rows: tokens that go through the layers: one a decoding sequence, and those of prefixes.
        decoding: the sequences among them that write a token.
        distinct: KV tokens that the decoding sequences read, each counted once.
        logical: the same, each counted for every sequence that reads it.
        pairs: token pairs of prefixes: the sum of each new token's context.
        context: KV tokens that the prefixes' tokens read, each prefix once.
        prefixes: that are computed in this step, or a part of each.
        under_way: requests that are taken in and not answered; an engine may look at each of them.
        begun_blocks: blocks that sequences begin in this step for tokens of their own; an engine finds, copies or
            names each.
        begun_requests: requests that are taken in with this step, however many continuations each asks for.
    """

    rows: int = 0
    decoding: int = 0
    distinct: int = 0
    logical: int = 0
    pairs: float = 0.0
    context: int = 0
    prefixes: int = 0
    under_way: int = 0
    begun_blocks: int = 0
    begun_requests: int = 0


class StepTime(NamedTuple):
    """Seconds of a step by what they go to: reading weights, reading KV, arithmetic beyond those, and the rest."""

    weights: float
    kv: float
    arithmetic: float
    overhead: float

    @property
    def total(self) -> float:
        return self.weights + self.kv + self.arithmetic + self.overhead


class StepCost(Protocol):
    """How long a step takes."""

    def step(self, batch: Batch) -> StepTime:
        """The time of one step."""
        ...


class _Known(NamedTuple):
    """What is the same for all steps of a model on a card."""

    row_parameters: float
    """That each row is multiplied with."""
    head_parameters: float
    """The same of each row whose next token, or reward, is wanted."""
    kv_bytes: float
    pair_flops: float
    attention_s: float
    step_s: float


@dataclass(frozen=True)
class CardCost:
    r"""A model on a card, or spread over several by tensor parallelism.

    With :math:`w` bytes of weights read, :math:`f` operations of the layers, and the constants of the table,

    .. math:: t = o L + \left((w / b_w)^p + (f / F)^p\right)^{1/p} + a L + d / b_d + l / b_l + s

    where :math:`L` are layers, :math:`d` and :math:`l` the bytes of distinct and of logical KV, and :math:`s` what the
    engine's own scheduler and the sums over the cards take. A kernel that reads a shared page once has no :math:`l`,
    and reads :math:`d` at the memory's own bandwidth, where that is faster.

    Args:
        share: what one card of the group holds.
        constants: of the card.
        weights, kv: precision of the weights and of the KV cache.
        step_s: seconds that the engine's scheduler and sampler add to each step.
        reads_shared_once: whether attention reads a page that sequences share once for all of them.
        link_bandwidth: bytes a second between the cards of a group.
    """

    share: Share
    constants: CardConstants
    weights: Precision
    kv: Precision
    step_s: float
    reads_shared_once: bool = False
    link_bandwidth: float = 0.0

    def step(self, batch: Batch) -> StepTime:
        if not batch.rows:
            return StepTime(0.0, 0.0, 0.0, 0.0)
        k, known = self.constants, self._known
        read = self._read_seconds(batch.rows)
        operations = 2 * (batch.rows * known.row_parameters + (batch.decoding + batch.prefixes) * known.head_parameters)
        compute = operations / k.flops
        matrices = blended(read, compute, k.blend)
        kv = known.attention_s + self._kv_seconds(batch, known.kv_bytes)
        pairs = known.pair_flops * batch.pairs / k.flops
        return StepTime(read, kv, matrices - read + pairs, known.step_s + self._link_seconds(batch.rows))

    @cached_property
    def _known(self) -> "_Known":
        share, k = self.share, self.constants
        layers, head = share.shape.num_layers, share.shape.head_parameters / share.num_cards
        return _Known(
            row_parameters=share.active_parameters - head,
            head_parameters=head,
            kv_bytes=share.kv_values_per_token * self.kv.bytes,
            pair_flops=share.attention_flops_per_context_token,
            attention_s=k.attention_s * layers,
            step_s=k.layer_s * layers + self.step_s,
        )

    @cached_property
    def _read_s(self) -> dict[int, float]:
        """Seconds to read the weights of a step, by its rows."""
        return {}

    def _read_seconds(self, rows: int) -> float:
        found = self._read_s.get(rows)
        if found is None:
            read = self.share.read_parameters(rows) * self.weights.bytes / self.constants.weight_bandwidth
            found = self._read_s[rows] = read
        return found

    def _kv_seconds(self, batch: Batch, size: float) -> float:
        k = self.constants
        prefixes = batch.context * size / k.weight_bandwidth
        each = batch.distinct * size / k.distinct_bandwidth + batch.logical * size / k.logical_bandwidth
        once = batch.distinct * size / k.weight_bandwidth if self.reads_shared_once else each
        return prefixes + min(once, each)

    def _link_seconds(self, rows: int) -> float:
        share = self.share
        if share.num_cards == 1:
            return 0.0
        sent = 2 * (share.num_cards - 1) / share.num_cards * rows * share.summed_values_per_row * _SUMMED_BYTES
        return 2 * share.shape.num_layers * LINK_LATENCY_S + sent / self.link_bandwidth


ROWS_KNEES: Final = (4, 16, 64, 256)
"""Where the time of a step over its rows may bend downwards."""
_MANY: Final = 256
"""Sequences beyond which each may take longer."""


def features(batch: Batch) -> dict[str, float]:
    """What the time of a step is taken to be a sum of, each with a rate of its own that is not negative."""
    named = {"step": 1.0 if batch.rows else 0.0}
    named |= {f"rows to {knee}": float(min(batch.rows, knee)) for knee in ROWS_KNEES}
    return named | {
        "rows": float(batch.rows),
        "decoding": float(batch.decoding),
        f"decoding over {_MANY}": float(max(0, batch.decoding - _MANY)),
        "distinct": float(batch.distinct),
        "logical": float(batch.logical),
        "pairs": batch.pairs,
        "context": float(batch.context),
        "prefixes": float(batch.prefixes),
        "under way": float(batch.under_way),
        "begun blocks": float(batch.begun_blocks),
        "begun requests": float(batch.begun_requests),
    }


_WEIGHTS: Final = frozenset({"step"})
_KV: Final = frozenset({"distinct", "logical", "context"})


@dataclass(frozen=True)
class TimedCost:
    """An engine whose steps were timed: seconds as a sum of ``features``, each times its rate."""

    rates: Mapping[str, float]

    def step(self, batch: Batch) -> StepTime:
        parts = {name: self.rates.get(name, 0.0) * value for name, value in features(batch).items()}
        fixed = sum(seconds for name, seconds in parts.items() if name in _WEIGHTS)
        kv = sum(seconds for name, seconds in parts.items() if name in _KV)
        return StepTime(fixed, kv, sum(parts.values()) - fixed - kv, 0.0)

"""The shape of a model: how many numbers it holds, reads in a step, and keeps for each token of a context."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from etsearch.boundary.numbers import MOST_TOKENS, check_whole, shown
from etsearch.errors import ConfigError

MOST_CARDS: Final = 4096
"""The most cards that a model can be split over."""


class Precision(StrEnum):
    """How a number is stored. Also found by the names that engines use, such as ``bfloat16``."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"

    @property
    def bytes(self) -> float:
        """Bytes of one number, without the scales that a quantised one has beside it."""
        return _BYTES[self]

    @classmethod
    def _missing_(cls, value: object) -> "Precision":
        found = ({precision.value: precision for precision in cls} | _ALIASES).get(str(value).strip().lower())
        if found is None:
            known = ", ".join((*cls, *_ALIASES))
            raise ConfigError(f"the precision is {shown(value)}; it must be one of {known}")
        return found


_BYTES: Final = {
    Precision.FP32: 4.0,
    Precision.BF16: 2.0,
    Precision.FP16: 2.0,
    Precision.FP8: 1.0,
    Precision.INT8: 1.0,
    Precision.INT4: 0.5,
}
_ALIASES: Final = {
    "float32": Precision.FP32,
    "float": Precision.FP32,
    "bfloat16": Precision.BF16,
    "float16": Precision.FP16,
    "half": Precision.FP16,
    "fp8_e4m3": Precision.FP8,
    "fp8_e5m2": Precision.FP8,
}


@dataclass(frozen=True, slots=True)
class Experts:
    """The experts among which the layers of a mixture choose, for each token anew. Shared ones are none of them.

    Args:
        num_layers: layers that have them.
        num_experts: of one layer, ``E``.
        num_chosen: that one token uses in a layer, ``k``, at most ``E``.
        parameters: of one expert.
    """

    num_layers: int
    num_experts: int
    num_chosen: int
    parameters: int

    def expected_distinct(self, rows: int) -> float:
        """Experts of one layer that ``rows`` tokens use together, if each chooses without regard to the others:
        ``E (1 - (1 - k / E) ** rows)``. Tokens that go alike choose alike, so that this is rather too many.
        """
        if self.num_chosen == self.num_experts:
            return float(self.num_experts if rows else 0)
        return -self.num_experts * math.expm1(rows * math.log1p(-self.num_chosen / self.num_experts))


@dataclass(frozen=True, slots=True)
class Latent:
    """Attention over a compressed context (MLA, DeepSeek-V2, arXiv:2405.04434, section 2.1).

    Args:
        rank: numbers of the vector that keys and values are made of, ``kv_lora_rank``.
        rope_dim: numbers of the key with the position that all heads share, ``qk_rope_head_dim``.
    """

    rank: int
    rope_dim: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What a planner must know of a decoder with a KV cache.

    Args:
        name: what the model is called.
        num_layers: its layers.
        hidden_size: numbers in a token's vector between layers.
        vocab_size: rows of its embedding.
        num_heads: heads that ask, of a layer.
        num_kv_heads: heads of which keys and values are kept, of a layer.
        head_dim: numbers of one head.
        layer_parameters: of all layers and the last norm, the experts of ``experts`` left out.
        head_parameters: of what comes after: the matrix onto the vocabulary, or the head of a reward model.
        is_tied: whether the head is the embedding's matrix.
        experts: the experts that are chosen among; None if there are none.
        latent: the compressed context; None if whole keys and values are kept.
        context_tokens: the longest context that it was made for; None if that is not known.
        notes: what the figures leave out, for a person.
        source: where the figures are from.
        is_verified: whether they were found in a document that the source names.

    Raises:
        ConfigError: a number that is none of a model.
    """

    name: str
    num_layers: int
    hidden_size: int
    vocab_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    layer_parameters: int
    head_parameters: int
    is_tied: bool = False
    experts: Experts | None = None
    latent: Latent | None = None
    context_tokens: int | None = None
    notes: tuple[str, ...] = ()
    source: str = ""
    is_verified: bool = False

    def __post_init__(self) -> None:
        for key in ("num_layers", "hidden_size", "vocab_size", "num_heads", "num_kv_heads", "head_dim"):
            check_whole(f"{key} of {self.name}", getattr(self, key), 1, MOST_TOKENS)
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(
                f"{self.name} has {self.num_heads} heads and {self.num_kv_heads} of keys and values; "
                "the second must divide the first"
            )

    @property
    def embedding_parameters(self) -> int:
        return self.vocab_size * self.hidden_size

    @property
    def num_parameters(self) -> int:
        """All that lie in memory: embedding, layers, head, all experts; a matrix that is tied once."""
        experts = self.experts
        chosen_among = experts.num_layers * experts.num_experts * experts.parameters if experts else 0
        head = 0 if self.is_tied else self.head_parameters
        return self.embedding_parameters + self.layer_parameters + chosen_among + head

    @property
    def active_parameters(self) -> int:
        """Those that one token is multiplied with: layers, its experts, the head. A look-up is none."""
        experts = self.experts
        chosen = experts.num_layers * experts.num_chosen * experts.parameters if experts else 0
        return self.layer_parameters + chosen + self.head_parameters

    def read_parameters(self, rows: int) -> float:
        """Parameters that a step with ``rows`` tokens reads, 1 at least: all but the embedding (one that is tied is
        read as the head), and of experts as many as are expected to be used by any of the tokens.
        """
        check_whole("rows", rows, 1, MOST_TOKENS)
        experts = self.experts
        chosen = experts.num_layers * experts.expected_distinct(rows) * experts.parameters if experts else 0.0
        return self.layer_parameters + self.head_parameters + chosen

    @property
    def kv_values_per_token(self) -> int:
        """Numbers kept for one token of a context, over all layers."""
        if self.latent:
            return self.num_layers * (self.latent.rank + self.latent.rope_dim)
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim

    @property
    def attention_flops_per_context_token(self) -> float:
        """Operations for one token to look at one of its context, over all layers, a product and a sum being two.

        Scores and weighted sum each take a product and a sum per number of a head. A compressed context is looked at as
        it is, as engines do when they decode (the matrices that make keys and values are absorbed into those around).
        """
        if self.latent:
            scores, weighted = self.latent.rank + self.latent.rope_dim, self.latent.rank
            return 2.0 * self.num_layers * self.num_heads * (scores + weighted)
        return 4.0 * self.num_layers * self.num_heads * self.head_dim

    def split(self, num_cards: int) -> "Share":
        """What one of the ``num_cards`` cards of a tensor-parallel group has.

        Raises:
            ConfigError: so many cannot share its heads.
        """
        return Share(self, num_cards)


@dataclass(frozen=True, slots=True)
class Share:
    """What one card of a tensor-parallel group holds and does (Megatron-LM, arXiv:1909.08053, as vLLM and SGLang do).

    Matrices are split evenly; that each card holds the norms, and keys' matrices along with a head of keys and values
    that it shares, is left out: it is little, unless the cards are many times those heads. A head is not split, so that
    with fewer of keys and values than cards each lies on several; a compressed context lies on all.

    Args:
        shape: of the whole model.
        num_cards: of the group, 1 to 4,096.

    Raises:
        ConfigError: the cards do not divide the heads, or neither divides the other of cards and heads of keys and
            values.
    """

    shape: ModelShape
    num_cards: int

    def __post_init__(self) -> None:
        check_whole("the number of cards", self.num_cards, 1, MOST_CARDS)
        heads, kv_heads, cards = self.shape.num_heads, self.shape.num_kv_heads, self.num_cards
        if heads % cards or (not self.shape.latent and kv_heads % cards and cards % kv_heads):
            fitting = [str(n) for n in range(1, heads + 1) if not heads % n and (not kv_heads % n or not n % kv_heads)]
            raise ConfigError(
                f"{self.shape.name} cannot be split over {cards} cards: it has {heads} heads, {kv_heads} of keys and "
                f"values; give {', '.join(fitting)}"
            )

    @property
    def num_parameters(self) -> float:
        return self.shape.num_parameters / self.num_cards

    @property
    def active_parameters(self) -> float:
        return self.shape.active_parameters / self.num_cards

    def read_parameters(self, rows: int) -> float:
        return self.shape.read_parameters(rows) / self.num_cards

    @property
    def kv_values_per_token(self) -> int:
        """Numbers kept on this card for one token of a context."""
        if self.shape.latent:
            return self.shape.kv_values_per_token
        return 2 * self.shape.num_layers * max(1, self.shape.num_kv_heads // self.num_cards) * self.shape.head_dim

    @property
    def attention_flops_per_context_token(self) -> float:
        return self.shape.attention_flops_per_context_token / self.num_cards

    @property
    def summed_values_per_row(self) -> int:
        """Numbers that a step sums up over the cards for each token: a vector after the attention and one after the
        rest of each layer. 0 for one card.
        """
        return 2 * self.shape.num_layers * self.shape.hidden_size if self.num_cards > 1 else 0

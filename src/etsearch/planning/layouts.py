"""What the fields of a Hugging Face ``config.json`` make of a model: its parameters, counted matrix by matrix.

Only architectures whose layout is written here are read; of any other nothing is guessed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from etsearch.boundary.numbers import MOST_TOKENS, check_whole, shown
from etsearch.errors import ConfigError
from etsearch.planning.shapes import Experts, Latent, ModelShape

_MOST_LAYERS: Final = 10_000
_FULL: Final = "full_attention"
_SLIDING: Final = "sliding_attention"


class Config:
    """The fields of a ``config.json``, checked as they are read.

    Args:
        values: the fields.
        where: the file, for messages.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = values
        self.where = where

    def has(self, key: str) -> bool:
        """Whether there is such a field that is not null."""
        return self._values.get(key) is not None

    def whole(self, *keys: str, default: int | None = None, least: int = 1, most: int = MOST_TOKENS) -> int:
        """The whole number in the first of the fields that is there.

        Raises:
            ConfigError: none is there and there is no default, or it is out of range.
        """
        key = next(filter(self.has, keys), None)
        if key is None:
            if default is None:
                raise ConfigError(f"{self.where} lacks the field {' or '.join(keys)}; it is needed to count parameters")
            return default
        value = self._values[key]
        check_whole(f"{self.where}: {key}", value, least, most)
        return int(value)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ConfigError(f"{self.where}: {key} is {shown(value)}; it must be true or false")
        return value

    def text(self, key: str) -> str:
        value = self._values.get(key)
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{self.where}: {key} is {shown(value)}; it must be text")
        return value

    def entries(self, key: str) -> list[Any]:
        """The list in a field; an empty one if there is none."""
        value = self._values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise ConfigError(f"{self.where}: {key} is {shown(value)}; it must be a list")
        return value

    def count(self, key: str) -> int:
        """The entries of the object in a field; 0 if there is none."""
        value = self._values.get(key)
        return len(value) if isinstance(value, Mapping) else 0


class _Bias(Enum):
    """Which projections of the attention have a bias."""

    NONE = auto()
    QKV = auto()
    QKV_IF_ASKED = auto()  # by the field qkv_bias, which is true where it is missing
    ALL_IF_ASKED = auto()  # the output too, by the field attention_bias


class _HeadNorm(Enum):
    """What the norms of queries and keys span."""

    NONE = auto()
    ONE_HEAD = auto()
    ALL_HEADS = auto()


@dataclass(frozen=True, slots=True)
class _Mixture:
    """The layers of a model that choose among experts; in ``beside`` what such a layer has besides."""

    layers: frozenset[int]
    num_experts: int
    num_chosen: int
    expert_size: int
    beside: int


@dataclass(frozen=True, slots=True)
class _Family:
    """How the models of one ``model_type`` are built; ``prefix`` begins the names of their classes."""

    prefix: str
    bias: _Bias = _Bias.NONE
    head_norm: _HeadNorm = _HeadNorm.NONE
    num_norms: int = 2
    is_tied: bool = False
    has_head_dim: bool = False
    has_mlp_bias: bool = False
    slides: bool = False
    is_latent: bool = False
    mixture: Callable[[Config], _Mixture | None] | None = None


def _local_experts(config: Config) -> _Mixture:
    """Mixtral: experts in every layer."""
    hidden, num_experts = config.whole("hidden_size"), config.whole("num_local_experts")
    return _Mixture(
        frozenset(range(_num_layers(config))),
        num_experts,
        config.whole("num_experts_per_tok", most=num_experts),
        config.whole("intermediate_size"),
        hidden * num_experts,
    )


def _qwen_experts(config: Config) -> _Mixture | None:
    """Qwen2-MoE and Qwen3-MoE: experts in every so many layers, and in the former one that is shared, with a gate."""
    num_experts = config.whole("num_experts", "num_local_experts", least=0)
    if not num_experts:
        return None
    hidden = config.whole("hidden_size")
    step = config.whole("decoder_sparse_step", default=1)
    dense = config.entries("mlp_only_layers")
    layers = frozenset(i for i in range(_num_layers(config)) if i not in dense and not (i + 1) % step)
    shared = config.whole("shared_expert_intermediate_size") if config.text("model_type") == "qwen2_moe" else 0
    return _Mixture(
        layers,
        num_experts,
        config.whole("num_experts_per_tok", most=num_experts),
        config.whole("moe_intermediate_size"),
        hidden * num_experts + (3 * hidden * shared + hidden if shared else 0),
    )


def _deepseek_experts(config: Config) -> _Mixture | None:
    """DeepSeek: the first layers dense, then experts and shared ones beside them; V3 corrects its choice by a bias."""
    if not config.has("n_routed_experts") and not config.has("num_local_experts"):
        return None
    hidden, num_experts = config.whole("hidden_size"), config.whole("n_routed_experts", "num_local_experts")
    size = config.whole("moe_intermediate_size")
    first = config.whole("first_k_dense_replace", least=0)
    every = config.whole("moe_layer_freq", default=1)
    shared = 3 * hidden * size * config.whole("n_shared_experts", default=0, least=0)
    correction = num_experts if config.text("model_type") == "deepseek_v3" else 0
    return _Mixture(
        frozenset(i for i in range(first, _num_layers(config)) if not i % every),
        num_experts,
        config.whole("num_experts_per_tok", most=num_experts),
        size,
        hidden * num_experts + correction + shared,
    )


_FAMILIES: Final = {
    "llama": _Family("Llama", _Bias.ALL_IF_ASKED, has_mlp_bias=True),
    "granite": _Family("Granite", _Bias.ALL_IF_ASKED, has_mlp_bias=True),
    "mistral": _Family("Mistral", slides=True),
    "phi3": _Family("Phi3", slides=True),
    "qwen2": _Family("Qwen2", _Bias.QKV),
    "qwen3": _Family("Qwen3", _Bias.ALL_IF_ASKED, _HeadNorm.ONE_HEAD, has_head_dim=True),
    "olmo2": _Family("Olmo2", _Bias.ALL_IF_ASKED, _HeadNorm.ALL_HEADS),
    "gemma": _Family("Gemma", _Bias.ALL_IF_ASKED, is_tied=True, has_head_dim=True),
    "gemma2": _Family("Gemma2", _Bias.ALL_IF_ASKED, num_norms=4, is_tied=True, has_head_dim=True, slides=True),
    "gemma3_text": _Family(
        "Gemma3", _Bias.ALL_IF_ASKED, _HeadNorm.ONE_HEAD, num_norms=4, is_tied=True, has_head_dim=True, slides=True
    ),
    "mixtral": _Family("Mixtral", slides=True, mixture=_local_experts),
    "qwen2_moe": _Family("Qwen2Moe", _Bias.QKV_IF_ASKED, mixture=_qwen_experts),
    "qwen3_moe": _Family("Qwen3Moe", _Bias.ALL_IF_ASKED, _HeadNorm.ONE_HEAD, has_head_dim=True, mixture=_qwen_experts),
    "deepseek_v2": _Family("DeepseekV2", is_latent=True, mixture=_deepseek_experts),
    "deepseek_v3": _Family("DeepseekV3", is_latent=True, mixture=_deepseek_experts),
}

_NO_KV_CACHE: Final = frozenset(
    {
        "bamba",
        "falcon_h1",
        "falcon_mamba",
        "granitemoehybrid",
        "jamba",
        "kimi_linear",
        "lfm2",
        "lfm2_moe",
        "mamba",
        "mamba2",
        "minimax",
        "nemotron_h",
        "olmo_hybrid",
        "qwen3_5",
        "qwen3_5_moe",
        "qwen3_next",
        "recurrent_gemma",
        "rwkv",
        "xlstm",
        "zamba",
        "zamba2",
    }
)
"""Those that keep a state beside or in place of keys and values."""


def read_layout(values: Mapping[str, Any], name: str, where: str) -> ModelShape:
    """The shape of the model that a ``config.json`` describes.

    A config without ``architectures`` is taken for a language model's.

    Args:
        values: its fields.
        name: of the model.
        where: the file, for messages.

    Raises:
        ConfigError: an architecture that is not known, a field that is missing or out of range.
    """
    config = Config(values, where)
    family = _family(config)
    hidden, vocab = config.whole("hidden_size"), config.whole("vocab_size")
    num_layers = _num_layers(config)
    num_heads = config.whole("num_attention_heads")
    latent = Latent(config.whole("kv_lora_rank"), config.whole("qk_rope_head_dim")) if family.is_latent else None
    num_kv_heads = num_heads if family.is_latent else _num_kv_heads(config, num_heads)
    head_dim = config.whole("qk_nope_head_dim") + latent.rope_dim if latent else _head_dim(config, family, num_heads)
    if latent:
        attention = _latent_attention(config, latent)
    else:
        attention = _attention(config, family, num_heads, num_kv_heads, head_dim)
    mixture = family.mixture(config) if family.mixture else None
    head, is_language_model = _head(config, family, hidden, vocab)
    mixed = sorted(mixture.layers) if mixture else []
    layers = num_layers * (attention + family.num_norms * hidden) + hidden
    if len(mixed) < num_layers:
        layers += (num_layers - len(mixed)) * _feed_forward(config, family, hidden)
    experts = None
    if mixture and mixed:
        layers += len(mixed) * mixture.beside
        experts = Experts(len(mixed), mixture.num_experts, mixture.num_chosen, 3 * hidden * mixture.expert_size)
    return ModelShape(
        name=name,
        num_layers=num_layers,
        hidden_size=hidden,
        vocab_size=vocab,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        layer_parameters=layers,
        head_parameters=head,
        is_tied=is_language_model and config.flag("tie_word_embeddings", default=family.is_tied),
        experts=experts,
        latent=latent,
        context_tokens=config.whole("max_position_embeddings", default=0, least=0) or None,
        notes=_notes(config, family),
        source=where,
    )


def _family(config: Config) -> _Family:
    model_type = config.text("model_type")
    family = _FAMILIES.get(model_type)
    kinds = set(map(str, config.entries("layer_types"))) - {_FULL, _SLIDING}
    if family and not kinds and not config.flag("is_encoder_decoder", default=False):
        return family
    if model_type in _NO_KV_CACHE or kinds:
        reason = "keeps a state that is no plain KV cache"
    elif config.flag("is_encoder_decoder", default=False):
        reason = "is an encoder with a decoder"
    else:
        reason = "is built in a way that is not known here"
    raise ConfigError(
        f"{config.where}: a model of the type {shown(model_type)} {reason}, so that its cost cannot be planned; "
        f"known are {', '.join(_FAMILIES)}"
    )


def _num_layers(config: Config) -> int:
    return config.whole("num_hidden_layers", most=_MOST_LAYERS)


def _num_kv_heads(config: Config, num_heads: int) -> int:
    """Of keys and values; configs of the first Llama models, which had as many as of queries, do not tell."""
    default = num_heads if config.text("model_type") in ("llama", "phi3") else None
    return config.whole("num_key_value_heads", default=default, most=num_heads)


def _head_dim(config: Config, family: _Family, num_heads: int) -> int:
    hidden = config.whole("hidden_size")
    if family.has_head_dim or config.has("head_dim"):
        return config.whole("head_dim")
    if hidden % num_heads:
        raise ConfigError(
            f"{config.where}: {num_heads} heads do not divide hidden_size, {hidden}, and there is no head_dim"
        )
    return hidden // num_heads


def _attention(config: Config, family: _Family, num_heads: int, num_kv_heads: int, head_dim: int) -> int:
    """Parameters of one layer's attention: Q, K, V, output, their biases, norms of queries and keys."""
    hidden = config.whole("hidden_size")
    queries, keys = num_heads * head_dim, num_kv_heads * head_dim
    count = 2 * hidden * queries + 2 * hidden * keys
    if family.bias is _Bias.QKV or (family.bias is _Bias.QKV_IF_ASKED and config.flag("qkv_bias", default=True)):
        count += queries + 2 * keys
    elif family.bias is _Bias.ALL_IF_ASKED and config.flag("attention_bias", default=False):
        count += queries + 2 * keys + hidden
    if family.head_norm is _HeadNorm.ONE_HEAD:
        count += 2 * head_dim
    elif family.head_norm is _HeadNorm.ALL_HEADS:
        count += queries + keys
    return count


def _latent_attention(config: Config, latent: Latent) -> int:
    """Parameters of one layer's attention over a compressed context, with norms of what is compressed."""
    hidden, num_heads = config.whole("hidden_size"), config.whole("num_attention_heads")
    nope_dim, value_dim = config.whole("qk_nope_head_dim"), config.whole("v_head_dim")
    queries = num_heads * (nope_dim + latent.rope_dim)
    bias = config.flag("attention_bias", default=False)
    if config.has("q_lora_rank"):
        rank = config.whole("q_lora_rank")
        count = hidden * rank + rank + rank * queries + (rank if bias else 0)
    else:
        count = hidden * queries
    count += hidden * (latent.rank + latent.rope_dim) + latent.rank
    count += latent.rank * num_heads * (nope_dim + value_dim) + num_heads * value_dim * hidden
    return count + (latent.rank + latent.rope_dim + hidden if bias else 0)


def _feed_forward(config: Config, family: _Family, hidden: int) -> int:
    """Parameters of a layer's gate, up and down."""
    size = config.whole("intermediate_size")
    bias = 2 * size + hidden if family.has_mlp_bias and config.flag("mlp_bias", default=False) else 0
    return 3 * hidden * size + bias


def _head(config: Config, family: _Family, hidden: int, vocab: int) -> tuple[int, bool]:
    """Parameters of what comes after the layers, and whether that is the matrix onto the vocabulary."""
    architectures = config.entries("architectures") or [f"{family.prefix}ForCausalLM"]
    name = str(architectures[0])
    labels = config.whole("num_labels", default=config.count("id2label") or 2)
    heads = {
        "ForCausalLM": hidden * vocab,
        "ForSequenceClassification": labels * hidden,
        "ForTokenClassification": labels * (hidden + 1),
        "ForProcessRewardModel": hidden * (hidden + 1) + 2 * (hidden + 1),  # Qwen2.5-Math-PRM: two layers, two classes
        "ForRewardModel": hidden * (hidden + 1) + hidden + 1,  # Qwen2.5-Math-RM: two layers, a value
        "ForPrmModel": hidden + 1,  # Skywork-o1-Open-PRM: a value; its matrix onto the vocabulary is not used
        "Model": 0,
    }
    known = {family.prefix + kind: parameters for kind, parameters in heads.items()}
    if name not in known:
        raise ConfigError(
            f"{config.where}: the architecture {shown(name)} is not known here; known are {', '.join(known)}"
        )
    return known[name], name.endswith("ForCausalLM")


def _notes(config: Config, family: _Family) -> tuple[str, ...]:
    notes = []
    slides = config.has("sliding_window") and config.flag("use_sliding_window", default=family.slides)
    if slides or _SLIDING in config.entries("layer_types"):
        window = f" of {config.whole('sliding_window'):,} tokens" if config.has("sliding_window") else ""
        notes.append(f"layers with a window{window} are counted as if they kept and saw the whole context")
    if config.whole("num_nextn_predict_layers", default=0, least=0):
        notes.append("the layers that predict further tokens are not counted: engines leave them unless they speculate")
    if config.count("quantization_config"):
        notes.append("its weights are quantised; the scales beside them are not counted")
    return tuple(notes)

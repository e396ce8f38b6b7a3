"""A compact Llama in PyTorch, with the parameter names of ``transformers``' LlamaForCausalLM.

Training and rollouts use this one because it is several times faster on a CPU at this size: sequences are
right-padded, so plain causal attention needs no mask, and logits are taken only where a caller wants them.
``training/export.py`` checks that transformers computes the same logits from the same weights.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """The sizes of a model, named as in ``LlamaConfig``."""

    vocab_size: int
    hidden_size: int = 128
    intermediate_size: int = 384
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    max_position_embeddings: int = 512
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-5

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size = shape.hidden_size
        self.num_heads = shape.num_attention_heads
        self.q_proj = nn.Linear(size, size, bias=False)
        self.k_proj = nn.Linear(size, size, bias=False)
        self.v_proj = nn.Linear(size, size, bias=False)
        self.o_proj = nn.Linear(size, size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: "LayerCache | None") -> Tensor:
        batch, length, size = x.shape
        projections = self.q_proj, self.k_proj, self.v_proj
        q, k, v = (p(x).view(batch, length, self.num_heads, -1).transpose(1, 2) for p in projections)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is None:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            k, v, mask = cache.update(k, v)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, size))


class MLP(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden_size, eps=shape.rms_norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden_size, eps=shape.rms_norm_eps)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: "LayerCache | None") -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = nn.RMSNorm(shape.hidden_size, eps=shape.rms_norm_eps)


class Llama(nn.Module):
    """Token ids ``[batch, length]`` to hidden states; the output head is the embedding, transposed."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Trunk(shape)
        head = shape.hidden_size // shape.num_attention_heads
        inverse = shape.rope_theta ** -(torch.arange(0, head, 2) / head)
        angle = torch.outer(torch.arange(shape.max_position_embeddings), inverse).repeat(1, 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Tensor, cache: "Cache | None" = None) -> Tensor:
        if cache is None:
            cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        else:
            positions = cache.positions(ids.shape[1])
            cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        x = self.model.embed_tokens(ids)
        for index, layer in enumerate(self.model.layers):
            x = layer(x, cos, sin, None if cache is None else cache.layers[index])
        return self.model.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.model.embed_tokens.weight)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding, halves convention."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


class LayerCache:
    """Keys and values ``[batch, heads, capacity, head]`` of one layer, written in place."""

    def __init__(self, owner: "Cache", keys: Tensor, values: Tensor) -> None:
        self.owner, self.keys, self.values = owner, keys, values

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        start, stop = self.owner.filled, self.owner.filled + k.shape[2]
        self.keys[:, :, start:stop], self.values[:, :, start:stop] = k, v
        return self.keys[:, :, :stop], self.values[:, :, :stop], self.owner.mask(k.shape[2])


class Cache:
    """The cache of a batch of left-padded prompts: ``padding[b]`` columns at the start of row b are empty."""

    def __init__(self, shape: Shape, padding: Tensor, capacity: int) -> None:
        head = shape.hidden_size // shape.num_attention_heads
        size = (len(padding), shape.num_attention_heads, capacity, head)
        self.padding, self.filled = padding, 0
        self.layers = [LayerCache(self, torch.zeros(size), torch.zeros(size)) for _ in range(shape.num_hidden_layers)]

    def positions(self, length: int) -> Tensor:
        columns = torch.arange(self.filled, self.filled + length)
        return (columns[None] - self.padding[:, None]).clamp(min=0)

    def mask(self, length: int) -> Tensor:
        columns = torch.arange(self.filled + length)
        rows = torch.arange(self.filled, self.filled + length)
        seen = (columns[None, None] <= rows[None, :, None]) & (columns[None, None] >= self.padding[:, None, None])
        own = columns[None, None] == rows[None, :, None]
        return (seen | own)[:, None]

    def keep(self, rows: Tensor) -> None:
        """Drops the other rows of the batch."""
        self.padding = self.padding[rows]
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]

"""Where training starts: attention that can look things up.

From random weights a model of this size needs tens of millions of tokens until heads form that find "the value of this
name": a head of one layer must read what a head of the layer before has moved, and neither is of use without the
other (induction heads; Olsson et al., arXiv:2209.11895). So three heads of the first layer begin by attending one, two
and three tokens back, and the four heads of the second by matching names with what those have moved. All of it is
then trained like any other weight. Without a bias, a head can attend by position only through a direction that all
tokens share; the embeddings begin with one.
"""

import torch
from torch import Tensor

from model import Llama

NUM_BACK = 3
"""Heads of the first layer that attend 1, 2 and 3 tokens back."""
MATCHES = ((0, 1, 0), (1, 2, 0), (1, 0, 1), (3, 0, 1))
"""Heads of the second layer: which token back the query, the key and the value stand for; 0 is the token itself.

The token after this one's last occurrence; the one two after the last token's; the one before the last token's
occurrence; the same for the token three back (the first term of a sum).
"""
EMBEDDING = 0.02
"""Standard deviation of an embedding's own part; the part that all share is as large."""
POSITION_GAIN, MOVE_GAIN, MATCH_GAIN, COPY_GAIN = 0.7, 0.04, 2.4, 0.03


@torch.no_grad()
def begin(model: Llama, seed: int) -> None:
    """Sets the weights of the two first layers and the embeddings; what it does not name stays random."""
    generator = torch.Generator().manual_seed(seed)
    shape, size = model.shape, model.shape.hidden_size
    head = size // shape.num_attention_heads
    common = torch.nn.functional.normalize(torch.randn(size, generator=generator), dim=0)
    embeddings = EMBEDDING * torch.randn(shape.vocab_size, size, generator=generator)
    embeddings -= torch.outer(embeddings @ common, common)
    model.model.embed_tokens.weight.copy_(embeddings + EMBEDDING * size**0.5 * common)

    half = head // 2
    frequency = shape.rope_theta ** -(torch.arange(half) / half)
    quick, slow = frequency > 0.05, frequency < 0.005
    basis = _orthogonal(size, generator)
    basis -= torch.outer(basis @ common, common)
    read = basis[:head]
    """What is moved of a token ``[head, size]``."""
    write = [_orthogonal(size, generator)[:head] for _ in range(NUM_BACK)]
    """Where it goes, by the number of tokens back."""

    first = model.model.layers[0].self_attn
    for index in range(NUM_BACK):
        rows = slice(index * head, (index + 1) * head)
        turn = frequency * (index + 1)
        query = torch.cat([quick.float(), torch.zeros(half)])
        key = torch.cat([quick * turn.cos(), quick * turn.sin()])
        first.q_proj.weight[rows] = POSITION_GAIN * torch.outer(query, common)
        first.k_proj.weight[rows] = POSITION_GAIN * torch.outer(key, common)
        first.v_proj.weight[rows] = read
        first.o_proj.weight[:, rows] = MOVE_GAIN * write[index].T

    second = model.model.layers[1].self_attn
    dimensions = torch.nonzero(slow.repeat(2)).flatten()
    select = torch.zeros(head, head)
    select[dimensions] = _orthogonal(head, generator)[: len(dimensions)]
    """Into the dimensions that the rotary embedding hardly turns: a match must not depend on the distance."""
    source = [read, *write]
    for index, (query_back, key_back, value_back) in enumerate(MATCHES):
        rows = slice(index * head, (index + 1) * head)
        second.q_proj.weight[rows] = MATCH_GAIN * select @ source[query_back]
        second.k_proj.weight[rows] = MATCH_GAIN * select @ source[key_back]
        second.v_proj.weight[rows] = source[value_back]
        second.o_proj.weight[:, rows] = COPY_GAIN * read.T


def _orthogonal(size: int, generator: torch.Generator) -> Tensor:
    """A random orthogonal matrix."""
    return torch.linalg.qr(torch.randn(size, size, generator=generator))[0]

"""Samples many solutions at once from the policy, for rollouts and for its accuracy."""

from collections.abc import Sequence
from pathlib import Path

import torch

import tokenizer
from model import Cache, Llama, Shape


def load(path: Path) -> Llama:
    """The model of a checkpoint, in evaluation mode."""
    state = torch.load(path)
    model = Llama(Shape(**state["shape"]))
    model.load_state_dict(state["model"])
    return model.eval()


@torch.inference_mode()
def sample(
    model: Llama, prefixes: Sequence[list[int]], repeats: int, max_tokens: int, generator: torch.Generator
) -> list[list[int]]:
    """``repeats`` continuations of each prefix at temperature 1, those of one prefix next to each other.

    A continuation stops before the end token or after ``max_tokens``. A prefix is computed once for all repeats.
    """
    longest = max(map(len, prefixes))
    padding = torch.tensor([longest - len(p) for p in prefixes])
    ids = torch.tensor([[tokenizer.PAD] * (longest - len(p)) + p for p in prefixes])
    cache = Cache(model.shape, padding, longest + max_tokens)
    hidden = model(ids, cache)[:, -1]
    cache.filled = longest
    cache.keep(torch.arange(len(prefixes)).repeat_interleave(repeats))
    hidden = hidden.repeat_interleave(repeats, dim=0)
    written: list[list[int]] = [[] for _ in range(len(hidden))]
    rows = torch.arange(len(hidden))
    for _ in range(max_tokens):
        probabilities = torch.softmax(model.logits(hidden), dim=-1)
        tokens = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            written[row].append(token)
        has_ended = torch.tensor([tokenizer.END in written[row][-_KEEP_ENDED:] for row in rows.tolist()])
        if bool(has_ended.all()):
            break
        if float(has_ended.float().mean()) > 0.2:  # copying the cache at every token would cost more than ended rows
            rows, tokens = rows[~has_ended], tokens[~has_ended]
            cache.keep(~has_ended)
        hidden = model(tokens[:, None], cache)[:, -1]
        cache.filled += 1
    return [_until_end(w) for w in written]


_KEEP_ENDED = 200
"""Tokens back in which an ended row is recognised."""


def _until_end(ids: list[int]) -> list[int]:
    return ids[: ids.index(tokenizer.END)] if tokenizer.END in ids else ids


def sample_all(
    model: Llama, prefixes: Sequence[list[int]], repeats: int, max_tokens: int, seed: int, batch: int = 768
) -> list[list[list[int]]]:
    """``sample`` for any number of prefixes, in batches of similar length: the continuations of each prefix."""
    generator = torch.Generator().manual_seed(seed)
    order = sorted(range(len(prefixes)), key=lambda i: len(prefixes[i]))
    out: list[list[list[int]]] = [[] for _ in prefixes]
    size = max(1, batch // repeats)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        texts = sample(model, [prefixes[i] for i in chosen], repeats, max_tokens, generator)
        for place, index in enumerate(chosen):
            out[index] = texts[place * repeats : (place + 1) * repeats]
    return out

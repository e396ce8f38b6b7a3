"""A card timed kernel by kernel with PyTorch: the table that ``etsearch.planning.table`` reads."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from etsearch.errors import MissingDependencyError
from etsearch.planning.models import find_shape
from etsearch.planning.shapes import ModelShape

MODELS: Final = (
    "tkitsers/Llemma-metamath-34b",
    "peiyi9979/mistral-7b-sft",
    "Qwen/Qwen2.5-Math-1.5B-Instruct",
)
"""Whose layers are timed."""
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 384, 512, 1024, 2048, 4096)
SEQUENCES: Final = (16, 64, 256)
CONTEXTS: Final = (512, 1024, 2048)
_ROTATED_BYTES: Final = 1_000_000_000
"""Of weights or KV that take turns, so that none of them is found in the card's cache."""
_MULTIPLE: Final = 64
"""Of which the width of the layers is one; biases and norms are left over."""
_KV_HEADS, _HEAD_DIM, _QUERIES_PER_HEAD = 8, 128, 8


@dataclass(frozen=True)
class _Timer:
    """Seconds of a call on a device, the median of some."""

    torch: Any
    device: Any

    def seconds(self, calls: Sequence[Callable[[], Any]], repeats: int = 7) -> float:
        """Of one call, when they take turns."""
        for call in calls:
            call()
        found = []
        for _ in range(repeats):
            self._wait()
            began = time.perf_counter()
            for call in calls:
                call()
            self._wait()
            found.append((time.perf_counter() - began) / len(calls))
        return statistics.median(found)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            self.torch.cuda.synchronize(self.device)


def time_card(
    device: str = "cuda",
    *,
    models: Sequence[str] = MODELS,
    rows: Sequence[int] = ROWS,
    sequences: Sequence[int] = SEQUENCES,
    contexts: Sequence[int] = CONTEXTS,
    rotated_bytes: int = _ROTATED_BYTES,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """The table of a card, in about two minutes. Made on a CPU in tests only; no card was at hand to run it on.

    Matrix products of one layer in bfloat16, and one layer's attention (PyTorch's own) over KV that no sequence shares
    and that all share.

    Args:
        device: of PyTorch.
        models: whose layers are timed, see ``find_shape``.
        rows: of the products.
        sequences: of the attention.
        contexts: of each of them, in tokens.
        rotated_bytes: of weights or KV that take turns.
        say: told what is done.

    Raises:
        ConfigError: there is no such device.
        MissingDependencyError: PyTorch is not installed.
    """
    try:
        import torch  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("to time a card", "transformers") from error
    from etsearch.models.pytorch import check_device  # noqa: PLC0415

    timer = _Timer(torch, torch.device(check_device(device)))
    linear = {}
    for name in models:
        shape = find_shape(name)
        linear[name] = _layer(timer, shape, rows, rotated_bytes)
        say(f"matrix products of {name}")
    attention = [row for n in sequences for c in contexts for row in _attention(timer, n, c, rotated_bytes)]
    say("attention")
    is_cuda = timer.device.type == "cuda"
    return {
        "what": "Kernels of a decode step in bfloat16, by 'ets plan calibrate': seconds of all matrix products of "
        "a layer by rows, and of a layer's attention (PyTorch's own) by distinct and logical tokens.",
        "device": {
            "device": torch.cuda.get_device_name(timer.device) if is_cuda else "cpu",
            "torch": torch.__version__,
        },
        "linear": linear,
        "attention": attention,
        "attention_bytes_per_token": 2 * _KV_HEADS * _HEAD_DIM * 2,
    }


def _layer(timer: _Timer, shape: ModelShape, rows: Sequence[int], rotated_bytes: int) -> Mapping[str, Any]:
    """All matrix products of one layer, for each number of rows."""
    torch, hidden = timer.torch, shape.hidden_size
    parameters = shape.layer_parameters // shape.num_layers
    queries, keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    wide = _MULTIPLE * round((parameters - hidden * (2 * queries + 2 * keys)) / (3 * hidden * _MULTIPLE))
    sizes = [(hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden)]
    sizes += [(hidden, wide), (hidden, wide), (wide, hidden)]
    size = 2 * sum(a * b for a, b in sizes)
    make = {"dtype": torch.bfloat16, "device": timer.device}
    copies = max(1, -(-rotated_bytes // size))
    weights = [[torch.randn(a, b, **make) for a, b in sizes] for _ in range(copies)]
    found = {}
    for count in rows:
        inputs = {a: torch.randn(count, a, **make) for a, _ in sizes}

        def products(matrices: Sequence[Any], inputs: Mapping[int, Any] = inputs) -> None:
            for matrix in matrices:
                torch.mm(inputs[matrix.shape[0]], matrix)

        calls = [lambda matrices=matrices, run=products: run(matrices) for matrices in weights]
        found[str(count)] = {"layer_s": timer.seconds(calls)}
    return {"layers": shape.num_layers, "layer_weight_bytes": size, "rows": found}


def _attention(timer: _Timer, count: int, context: int, rotated_bytes: int) -> list[Mapping[str, Any]]:
    """One layer's decode attention, once over KV of each sequence's own, once over KV that all of them share."""
    torch = timer.torch
    make = {"dtype": torch.bfloat16, "device": timer.device}
    found: list[Mapping[str, Any]] = []
    for held in (count, 1):
        size = 2 * 2 * held * context * _KV_HEADS * _HEAD_DIM
        copies = max(1, min(64, -(-rotated_bytes // size)))
        caches = [torch.randn(2, held, _KV_HEADS, context, _HEAD_DIM, **make) for _ in range(copies)]
        asked = torch.randn(count, _KV_HEADS * _QUERIES_PER_HEAD, 1, _HEAD_DIM, **make)

        def attend(cache: Any, asked: Any = asked) -> None:
            keys, values = (part.expand(count, -1, -1, -1) for part in cache)
            torch.nn.functional.scaled_dot_product_attention(asked, keys, values, enable_gqa=True)

        calls = [lambda cache=cache, run=attend: run(cache) for cache in caches]
        seconds = timer.seconds(calls)
        found.append(
            {
                "B": count,
                "ctx": context,
                "distinct_tokens": held * context,
                "logical_tokens": count * context,
                "seconds_layer": seconds,
            }
        )
    return found

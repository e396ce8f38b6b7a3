"""Command lines of servers, with the flags that a search needs; pure functions of what is served and where.

Seen to work: vLLM 0.32, SGLang 0.5.23.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from etsearch.errors import ConfigError
from etsearch.launch.serve import ServedModel
from etsearch.prms.families import Head, PrmFamily

VLLM_BLOCK_TOKENS: Final = 16
VLLM_CPU_BLOCK_TOKENS: Final = 32
"""The least that vLLM's CPU kernels have; the default of 128 shares little."""
SGLANG_BLOCK_TOKENS: Final = 1


class Way(Enum):
    """How a model is served, by what a search asks of it."""

    GENERATE = "to generate"
    CLASSIFY = "as a classifier, for pooling"
    """A PRM that ``etsearch.prms.classifier`` has made one."""
    POOL = "as it is, for pooling"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server runs.

    Attributes:
        model: the folder or the name on the hub that it loads.
        name: what requests call the model.
        host, port: where it listens.
        gpus: its GPUs; none on a CPU.
        memory: the share of each of them that it may use; None for the engine's default.
        taken: the share of them that servers have which are started before it.
    """

    model: str
    name: str
    host: str
    port: int
    gpus: tuple[str, ...] = ()
    memory: float | None = None
    taken: float = 0.0


def way_of(engine: str, family: PrmFamily | None, route: str = "auto") -> Way:
    """How a model is served: a generator, which has no family, or a PRM of a family, asked by ``route``.

    Raises:
        ConfigError: the engine has no route for the family.
    """
    if family is None or (family.head is Head.LABELS and route != "pooling"):
        return Way.GENERATE
    if engine == "sglang":
        raise ConfigError(
            f"SGLang has no route for the PRM family {family.name} ({family.head}); serve it with vllm "
            "(docs/guides/prms.md)"
        )
    return Way.POOL if family.head is Head.CLASSES else Way.CLASSIFY


def command(served: ServedModel, place: Place, way: Way, family: PrmFamily | None = None) -> list[str]:
    """The program and its arguments; ``served.options`` come last, where they win."""
    build = _vllm if served.engine == "vllm" else _sglang
    python = str(Path(served.python).expanduser()) if served.python else sys.executable
    return [python, *_without(build(served, place, way, family), served.options), *served.options]


def environment(served: ServedModel, place: Place) -> dict[str, str]:
    """The variables that the server gets beside those that are there."""
    values = {"TOKENIZERS_PARALLELISM": "false"}
    if served.engine == "vllm":
        values["VLLM_NO_USAGE_STATS"] = "1"
    if Path(place.model).is_absolute():
        values["HF_HUB_OFFLINE"] = "1"
    if place.gpus:
        values["CUDA_VISIBLE_DEVICES"] = ",".join(place.gpus)
    elif served.engine == "vllm":
        values |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        values["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or str(_vllm_threads())
    else:
        values["SGLANG_USE_CPU_ENGINE"] = "1"
    return values | served.environment


def _vllm_threads() -> int:
    """Of its worker, on a CPU: one core is left to its scheduler, which spins while it waits for what a step computes.

    A thread that has no core keeps all others waiting, in every matrix product.
    """
    return max(1, len(os.sched_getaffinity(0)) - 1)


def _vllm(served: ServedModel, place: Place, way: Way, family: PrmFamily | None) -> list[str]:
    block = served.block_tokens or (VLLM_BLOCK_TOKENS if place.gpus else VLLM_CPU_BLOCK_TOKENS)
    words = ["-m", "vllm.entrypoints.openai.api_server", "--model", place.model, "--served-model-name", place.name]
    words += ["--host", place.host, "--port", str(place.port), "--dtype", _dtype(served, place)]
    words += ["--block-size", str(block), "--enable-prefix-caching", "--enable-prompt-tokens-details"]
    words += _if("--max-model-len", served.context_tokens) + _if("--gpu-memory-utilization", place.memory)
    if served.tensor_parallel > 1:
        words += ["--tensor-parallel-size", str(served.tensor_parallel)]
    if not place.gpus:
        # A prompt in one piece: on a CPU vLLM 0.32 dies of a request with a seed whose prompt it computes in several
        # (its random generators cannot be set back there).
        words += ["--enforce-eager", "--no-enable-chunked-prefill"]
    if way is Way.CLASSIFY:
        words += ["--runner", "pooling", "--convert", "classify", "--pooler-config", '{"task": "token_classify"}']
    if way is Way.POOL:
        words += ["--runner", "pooling"]
        if family is not None and family.tag_id is not None:
            words += ["--pooler-config", json.dumps({"step_tag_id": family.tag_id, "returned_token_ids": [0, 1]})]
    return words


def _sglang(served: ServedModel, place: Place, way: Way, family: PrmFamily | None) -> list[str]:
    del way
    words = ["-m", "sglang.launch_server", "--model-path", place.model, "--served-model-name", place.name]
    words += ["--host", place.host, "--port", str(place.port), "--dtype", _dtype(served, place)]
    words += ["--page-size", str(served.block_tokens or SGLANG_BLOCK_TOKENS)]
    words += ["--enable-metrics", "--enable-cache-report"]
    words += _if("--context-length", served.context_tokens)
    if place.memory is not None:
        # SGLang's share is one of what is free when it starts.
        words += ["--mem-fraction-static", f"{place.memory / (1 - place.taken):.3g}"]
    if served.tensor_parallel > 1:
        words += ["--tp-size", str(served.tensor_parallel)]
    if not place.gpus:
        words += ["--device", "cpu", "--attention-backend", "torch_native", "--sampling-backend", "pytorch"]
        words += ["--disable-overlap-schedule", "--disable-cuda-graph", "--skip-server-warmup"]
    elif family is None:
        words.append("--enable-deterministic-inference")  # else it obeys no seeds
    return words


def _dtype(served: ServedModel, place: Place) -> str:
    """On a CPU without wide units for it bfloat16 is far slower than float32."""
    return "float32" if served.dtype == "auto" and not place.gpus else served.dtype


def _if(flag: str, value: float | None) -> list[str]:
    return [] if value is None else [flag, f"{value:g}" if isinstance(value, float) else str(value)]


def _without(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """What is built, but for the flags that the options give a value of their own."""
    given = {option.partition("=")[0] for option in options if option.startswith("--")}
    kept: list[str] = []
    for number, word in enumerate(words):
        flag = next(w for w in (*reversed(words[: number + 1]), "") if w.startswith("--") or not w)
        if flag not in given:
            kept.append(word)
    return kept

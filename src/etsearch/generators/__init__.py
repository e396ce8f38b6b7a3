"""Generators: what writes the steps."""

from typing import Any, Final, Literal

from etsearch.generators.base import STEP_BY_STEP, Generator
from etsearch.registry import Entry, Registry
from etsearch.servers.conditions import SETTINGS

__all__ = ["GENERATORS", "STEP_BY_STEP", "Generator"]

GENERATORS: Registry[Generator] = Registry("generator")
"""All generators by name. Add one of your own with ``GENERATORS.register``."""

_LOCAL: Final[dict[str, Any]] = {"extra": "local", "module": "openvino_genai"}
_OPENVINO = ("cache_gb", "num_kv_blocks", "max_num_seqs", "precision")


def _openvino(
    path: str,
    cache_gb: int = 1,
    num_kv_blocks: int | None = None,
    max_num_seqs: int = 256,
    precision: Literal["f32", "bf16", "f16"] | None = None,
) -> Generator:
    from etsearch.generators.openvino import OpenVinoGenerator  # noqa: PLC0415

    return OpenVinoGenerator(
        path, cache_gb=cache_gb, num_kv_blocks=num_kv_blocks, max_num_seqs=max_num_seqs, precision=precision
    )


def _minimath(
    cache_gb: int = 1,
    num_kv_blocks: int | None = None,
    max_num_seqs: int = 256,
    precision: Literal["f32", "bf16", "f16"] | None = "f32",
) -> Generator:
    from etsearch import minimath  # noqa: PLC0415
    from etsearch.generators.openvino import OpenVinoGenerator  # noqa: PLC0415

    return OpenVinoGenerator(
        str(minimath.model_path("policy")),
        cache_gb=cache_gb,
        num_kv_blocks=num_kv_blocks,
        max_num_seqs=max_num_seqs,
        precision=precision,
        read_question=minimath.read_question,
    )


def _vllm(
    address: str,
    tokenizer: str | None = None,
    format: str | None = None,  # noqa: A002 - what it is called everywhere
    log_probabilities: bool = True,
    **conditions: Any,
) -> Generator:
    from etsearch.generators.remote import RemoteOptions  # noqa: PLC0415
    from etsearch.generators.vllm import VllmGenerator  # noqa: PLC0415
    from etsearch.servers.pool import pool_at  # noqa: PLC0415

    return VllmGenerator(pool_at(address, conditions), RemoteOptions(tokenizer, format, log_probabilities))


def _sglang(
    address: str,
    tokenizer: str | None = None,
    format: str | None = None,  # noqa: A002 - as above
    log_probabilities: bool = True,
    **conditions: Any,
) -> Generator:
    from etsearch.generators.remote import RemoteOptions  # noqa: PLC0415
    from etsearch.generators.sglang import SglangGenerator  # noqa: PLC0415
    from etsearch.servers.pool import pool_at  # noqa: PLC0415

    return SglangGenerator(pool_at(address, conditions), RemoteOptions(tokenizer, format, log_probabilities))


def _openai(
    address: str,
    api: Literal["completions", "chat"] = "completions",
    format: str | None = None,  # noqa: A002 - as above
    **conditions: Any,
) -> Generator:
    from etsearch.generators.openai import OpenAiGenerator  # noqa: PLC0415
    from etsearch.generators.remote import RemoteOptions  # noqa: PLC0415
    from etsearch.servers.pool import pool_at  # noqa: PLC0415

    return OpenAiGenerator(pool_at(address, conditions), RemoteOptions(format=format), api=api)


def _scripted(delay_s: float = 0.0) -> Generator:
    from etsearch import minimath  # noqa: PLC0415
    from etsearch.generators.scripted import ScriptedGenerator  # noqa: PLC0415

    return ScriptedGenerator(
        minimath.scripted.write_step, format=minimath.FORMAT, delay_s=delay_s, read_question=minimath.read_problem
    )


GENERATORS.register(
    Entry("minimath", "the shipped miniature model, in process", _minimath, parameters=_OPENVINO, **_LOCAL)
)
GENERATORS.register(
    Entry(
        "openvino",
        "an OpenVINO IR folder or a GGUF file, in process",
        _openvino,
        parameters=_OPENVINO,
        takes_argument="PATH",
        **_LOCAL,
    )
)
_REMOTE = ("tokenizer", "format", "log_probabilities", *SETTINGS)
GENERATORS.register(
    Entry("vllm", "a vLLM server, or replicas", _vllm, _REMOTE, "http://HOST:PORT[/MODEL][,…]", SETTINGS)
)
GENERATORS.register(
    Entry("sglang", "an SGLang server, or replicas", _sglang, _REMOTE, "http://HOST:PORT[,…]", SETTINGS)
)
GENERATORS.register(
    Entry(
        "openai",
        "llama-server, or any server with an OpenAI-compatible API",
        _openai,
        ("api", "format", *SETTINGS),
        "http://HOST:PORT[/v1/MODEL][,…]",
        SETTINGS,
    )
)
GENERATORS.register(
    Entry("scripted", "no model: a program that solves minimath, now and then wrongly", _scripted, ("delay_s",))
)

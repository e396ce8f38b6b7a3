"""Process reward models: what scores the steps."""

from typing import Any, Final, Literal

from etsearch.prms.base import RewardModel
from etsearch.registry import Entry, Registry
from etsearch.servers.conditions import SETTINGS

__all__ = ["REWARD_MODELS", "RewardModel"]

REWARD_MODELS: Registry[RewardModel] = Registry("reward model")
"""All process reward models by name. Add one of your own with ``REWARD_MODELS.register``."""

_LOCAL: Final[dict[str, Any]] = {"extra": "local", "module": "openvino"}


def _openvino(path: str, max_batch: int = 64, family: str | None = None) -> RewardModel:
    from etsearch.prms.openvino import OpenVinoRewardModel  # noqa: PLC0415

    return OpenVinoRewardModel(path, max_batch=max_batch, family=family)


def _minimath(max_batch: int = 64) -> RewardModel:
    from etsearch import minimath  # noqa: PLC0415
    from etsearch.prms.openvino import OpenVinoRewardModel  # noqa: PLC0415

    path = minimath.model_path("prm")
    return OpenVinoRewardModel(path, max_batch=max_batch, read_question=minimath.read_question)


def _transformers(
    path: str,
    max_batch: int = 16,
    family: str | None = None,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
) -> RewardModel:
    from etsearch.prms.transformers import TransformersRewardModel  # noqa: PLC0415

    return TransformersRewardModel(path, family=family, max_batch=max_batch, device=device, precision=precision)


def _vllm(
    address: str,
    family: str | None = None,
    route: Literal["auto", "completions", "generative_scoring", "pooling"] = "auto",
    tokenizer: str | None = None,
    max_batch: int = 64,
    **conditions: Any,
) -> RewardModel:
    from etsearch.prms.remote import PrmOptions  # noqa: PLC0415
    from etsearch.prms.served import vllm_prm  # noqa: PLC0415
    from etsearch.servers.pool import pool_at  # noqa: PLC0415

    return vllm_prm(pool_at(address, conditions), PrmOptions(family, tokenizer, max_batch), route)


def _sglang(
    address: str,
    family: str | None = None,
    tokenizer: str | None = None,
    max_batch: int = 64,
    **conditions: Any,
) -> RewardModel:
    from etsearch.prms.remote import PrmOptions  # noqa: PLC0415
    from etsearch.prms.served import sglang_prm  # noqa: PLC0415
    from etsearch.servers.pool import pool_at  # noqa: PLC0415

    return sglang_prm(pool_at(address, conditions), PrmOptions(family, tokenizer, max_batch))


def _openai(
    address: str,
    family: str | None = "judge",
    tokenizer: str | None = None,
    api: Literal["completions", "chat"] = "chat",
    max_batch: int = 16,
    **conditions: Any,
) -> RewardModel:
    from etsearch.prms.remote import PrmOptions  # noqa: PLC0415
    from etsearch.prms.served import openai_prm  # noqa: PLC0415
    from etsearch.servers.pool import pool_at  # noqa: PLC0415

    return openai_prm(pool_at(address, conditions), PrmOptions(family, tokenizer, max_batch), api)


def _log_probability() -> RewardModel:
    from etsearch.prms.log_probability import LogProbabilityRewardModel  # noqa: PLC0415

    return LogProbabilityRewardModel()


def _scripted(delay_s: float = 0.0) -> RewardModel:
    from etsearch import minimath  # noqa: PLC0415
    from etsearch.prms.scripted import ScriptedRewardModel  # noqa: PLC0415

    return ScriptedRewardModel(minimath.scripted.judge, delay_s=delay_s)


REWARD_MODELS.register(
    Entry("minimath", "the shipped miniature model, in process", _minimath, parameters=("max_batch",), **_LOCAL)
)
REWARD_MODELS.register(
    Entry(
        "openvino",
        "an OpenVINO IR folder of a PRM of any family, in process",
        _openvino,
        parameters=("family", "max_batch"),
        takes_argument="PATH",
        **_LOCAL,
    )
)
REWARD_MODELS.register(
    Entry(
        "transformers",
        "a Hugging Face folder of a PRM of any family, in process",
        _transformers,
        parameters=("family", "max_batch", "device", "precision"),
        takes_argument="PATH",
        extra="transformers",
        module="transformers",
    )
)
REWARD_MODELS.register(
    Entry(
        "vllm",
        "a PRM on a vLLM server, or replicas",
        _vllm,
        ("family", "route", "tokenizer", "max_batch", *SETTINGS),
        "http://HOST:PORT[/MODEL][,…]",
        SETTINGS,
    )
)
REWARD_MODELS.register(
    Entry(
        "sglang",
        "a label PRM on an SGLang server, or replicas",
        _sglang,
        ("family", "tokenizer", "max_batch", *SETTINGS),
        "http://HOST:PORT[,…]",
        SETTINGS,
    )
)
REWARD_MODELS.register(
    Entry(
        "openai",
        "a label PRM on llama-server, or any model as a judge",
        _openai,
        ("family", "api", "tokenizer", "max_batch", *SETTINGS),
        "http://HOST:PORT[/v1/MODEL][,…]",
        SETTINGS,
    )
)
REWARD_MODELS.register(
    Entry("log_probability", "no model: the generator's own length-normalised probability", _log_probability)
)
REWARD_MODELS.register(Entry("scripted", "no model: a checker of minimath with noise", _scripted, ("delay_s",)))

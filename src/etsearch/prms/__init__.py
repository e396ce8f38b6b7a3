"""Process reward models: what scores the steps."""

from etsearch.prms.base import RewardModel
from etsearch.registry import Entry, Registry

__all__ = ["REWARD_MODELS", "RewardModel"]

REWARD_MODELS: Registry[RewardModel] = Registry("reward model")
"""All process reward models by name. Add one of your own with ``REWARD_MODELS.register``."""

_LOCAL = {"extra": "local", "module": "openvino"}


def _openvino(path: str, max_batch: int = 64) -> RewardModel:
    from etsearch.prms.openvino import OpenVinoRewardModel  # noqa: PLC0415

    return OpenVinoRewardModel(path, max_batch=max_batch)


def _minimath(max_batch: int = 64) -> RewardModel:
    from etsearch import minimath  # noqa: PLC0415
    from etsearch.prms.openvino import OpenVinoRewardModel  # noqa: PLC0415

    path = minimath.model_path("prm")
    return OpenVinoRewardModel(path, max_batch=max_batch, read_question=minimath.read_question)


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
        "an OpenVINO IR folder of a label PRM, in process",
        _openvino,
        parameters=("max_batch",),
        takes_argument="PATH",
        **_LOCAL,
    )
)
REWARD_MODELS.register(
    Entry("log_probability", "no model: the generator's own length-normalised probability", _log_probability)
)
REWARD_MODELS.register(Entry("scripted", "no model: a checker of minimath with noise", _scripted, ("delay_s",)))

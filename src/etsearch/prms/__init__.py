"""Process reward models (PRMs): what scores the steps."""

from etsearch.prms.base import RewardModel
from etsearch.registry import Registry

__all__ = ["REWARD_MODELS", "RewardModel"]

REWARD_MODELS: Registry[RewardModel] = Registry("reward model", "etsearch.reward_models", RewardModel)
"""All process reward models by name: those that packages declare as entry points, ours among them."""

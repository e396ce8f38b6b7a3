"""Reward models made of others, by their specifications."""

from typing import Annotated

from etsearch.prms import REWARD_MODELS
from etsearch.prms.curve import CalibratedRewardModel, Curve
from etsearch.prms.ensemble import EnsembleRewardModel, Rule
from etsearch.prms.noisy import NoisyRewardModel
from etsearch.registry import split


def noisy(inner: Annotated[str, "PRM"], sd: float = 1.0, seed: int = 0) -> NoisyRewardModel:
    """Another reward model, made worse on purpose: noise on the logits of its rewards.

    Args:
        inner: the reward model, as ``--prm`` takes it.
        sd: standard deviation of the noise, in logits, 0 to 100.
        seed: of the noise, 0 to 2^63 - 1; equal steps keep equal rewards.
    """
    return NoisyRewardModel(REWARD_MODELS.create(inner), sd, seed)


def calibrated(inner: Annotated[str, "PRM"], curve: str = "curve.json") -> CalibratedRewardModel:
    """Another reward model whose rewards are made probabilities.

    Args:
        inner: the reward model, as ``--prm`` takes it.
        curve: the file that ``ets calibrate`` wrote.
    """
    read = Curve.read(curve)
    return CalibratedRewardModel(REWARD_MODELS.create(inner), read)


def ensemble(members: Annotated[str, "PRM+PRM…"], rule: Rule = "mean") -> EnsembleRewardModel:
    """Several reward models as one.

    Args:
        members: the reward models, as ``--prm`` takes them, with a plus between them.
        rule: over a step's rewards: their mean, the least, the median, or the geometric mean (product).
    """
    return EnsembleRewardModel([REWARD_MODELS.create(member) for member in split(members, "+")], rule)

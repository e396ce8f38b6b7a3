"""A reward model made worse on purpose, to see what a strategy does with a poor one."""

import hashlib
import math
from dataclasses import replace
from statistics import NormalDist
from typing import Final, final

from etsearch.boundary.numbers import LARGEST_SEED, check_number, check_whole
from etsearch.prms.around import Around
from etsearch.prms.base import RewardModel
from etsearch.prms.rewards import sigmoid
from etsearch.types import Identity, Scores, Trajectory

_NEAREST: Final = 1e-9
"""How near to 0 and 1 a reward is taken to be: its logit is finite."""
_NORMAL: Final = NormalDist()


@final
class NoisyRewardModel(Around):
    """Another reward model's rewards with noise on their logits.

    ``r' = sigmoid(logit(r) + sd z)``, where ``z`` is standard normal and a function of the seed, the question and the
    steps up to the one that is scored alone: equal steps keep equal rewards, in any batch and any run.

    Args:
        inner: the reward model.
        sd: standard deviation of the noise, in logits, 0 to 100.
        seed: of the noise, 0 to 2^63 - 1.
    """

    def __init__(self, inner: RewardModel, sd: float, seed: int = 0) -> None:
        check_number("sd", sd, 0, 100)
        check_whole("seed", seed, 0, LARGEST_SEED)
        super().__init__(inner)
        self._sd, self._seed = sd, seed

    @property
    def identity(self) -> Identity:
        """The model's, and what was added."""
        inner = self._inner.identity
        return replace(inner, name=f"{inner.name}, noise of sd {self._sd:g}, seed {self._seed}")

    async def score(self, trajectory: Trajectory, first: int) -> Scores:
        """Rewards of the steps ``first`` to last; see :class:`~etsearch.prms.base.RewardModel`."""
        scores = await self._inner.score(trajectory, first)
        digest = hashlib.sha256(f"{self._seed} {trajectory.question}".encode("utf-8", "surrogatepass"))
        rewards = []
        for number, step in enumerate(trajectory.steps):
            digest.update(b"\0" + step.text.encode("utf-8", "surrogatepass"))
            if number >= first:
                rewards.append(self._with_noise(scores.rewards[number - first], digest.digest()))
        return Scores(tuple(rewards), scores.num_tokens)

    def _with_noise(self, reward: float, digest: bytes) -> float:
        z = _NORMAL.inv_cdf((int.from_bytes(digest[:6], "big") + 0.5) / 2**48)
        kept = min(1 - _NEAREST, max(_NEAREST, reward))
        return float(sigmoid(math.log(kept / (1 - kept)) + self._sd * z))

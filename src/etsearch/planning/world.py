"""Trees that were never written: the search itself, on a generator and a reward model that only draw.

``DrawnWorld`` draws steps from a few plain numbers. ``RecordedWorld`` draws the steps of a recorded tree once more,
with the rewards that stand there, so that another strategy can be asked what it would have grown. Both are parts like
any others: the loop, the strategies and the clusters are the real ones, and only tokens and rewards are made up.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etsearch.boundary.numbers import check_number, check_whole
from etsearch.embedders import Embedder
from etsearch.errors import ConfigError, RewardError
from etsearch.loop.parts import Parts
from etsearch.loop.search import search
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.planning.trace import SearchTrace
from etsearch.strategies import Strategy
from etsearch.tree import ROOT
from etsearch.types import (
    Continuation,
    EngineStats,
    FinishReason,
    GenerateRequest,
    Identity,
    Problem,
    PromptFormat,
    Scores,
    Trajectory,
)

_STEP: Final = PromptFormat("{question}", "\n", ends=())
"""A step ends with a newline, a solution with the end of sequence."""
_MOST_IDEAS: Final = 10_000
"""Ideas of a step, and ways to put one; what is rarer than the last counts as it."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What trees look like, in plain numbers.

    Attributes:
        prompt_tokens: of the question, 1 to 10^6.
        steps: of a solution, on average, 1 to 1,000.
        steps_sd: its standard deviation, 0 to 1,000.
        step_tokens: of a step, on average, 1 to 10^5.
        step_tokens_sd: its standard deviation, 0 to 10^5.
        same_idea: how likely two continuations of one step are to say the same, above 0 and below 1.
        same_text: how likely they are to say it in the same words, if they do, above 0 and below 1.
        reward: of a step in the middle, which half are above, above 0 and below 1.
        reward_sd: how far apart the rewards of two continuations of one step are, on the scale of log odds, 0 to 20.
        reward_memory: how far a step's reward follows that of the step before, 0 to 1.
    """

    prompt_tokens: int = 150
    steps: float = 10.0
    steps_sd: float = 3.0
    step_tokens: float = 40.0
    step_tokens_sd: float = 20.0
    same_idea: float = 0.25
    same_text: float = 0.1
    reward: float = 0.6
    reward_sd: float = 1.0
    reward_memory: float = 0.8

    def __post_init__(self) -> None:
        check_whole("prompt_tokens", self.prompt_tokens, 1, 10**6)
        check_number("steps", self.steps, 1, 1000)
        check_number("steps_sd", self.steps_sd, 0, 1000)
        check_number("step_tokens", self.step_tokens, 1, 1e5)
        check_number("step_tokens_sd", self.step_tokens_sd, 0, 1e5)
        for name in ("same_idea", "same_text", "reward"):
            check_number(name, getattr(self, name), 0, 1, above=True)
            if getattr(self, name) == 1:
                raise ConfigError(f"{name} is 1; it must be below 1")
        check_number("reward_sd", self.reward_sd, 0, 20)
        check_number("reward_memory", self.reward_memory, 0, 1)

    def in_words(self) -> str:
        """All its numbers."""
        return ", ".join(f"{f.name} {getattr(self, f.name):g}" for f in fields(self))


def read_assumptions(text: str, default: Assumptions) -> Assumptions:
    """The assumptions that ``steps=12,step_tokens=50`` names, and those of ``default`` for the rest.

    Raises:
        ConfigError: a name that is none of them, a value that is no number or out of range.
    """
    values: dict[str, float] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = entry.partition("=")
        known = [f.name for f in fields(Assumptions)]
        if not equals or name not in known:
            raise ConfigError(f"{entry!r} is nothing that can be assumed; write NAME=NUMBER, NAMEs: {', '.join(known)}")
        try:
            values[name] = int(value) if name == "prompt_tokens" else float(value)
        except ValueError:
            raise ConfigError(f"{name} is {value!r}; it must be a number") from None
    return replace(default, **values)  # type: ignore[arg-type]


def _rng(*what: object) -> random.Random:
    digest = hashlib.blake2b(repr(what).encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest))


def _geometric(rng: random.Random, same: float) -> int:
    """A number from 0, such that two of them are equal with this probability."""
    log_ratio = math.log1p(-same) - math.log1p(same)
    return int(min(_MOST_IDEAS, math.log(1 - rng.random()) / log_ratio))


class DrawnWorld:
    """Generator, reward model and embedder of one made-up problem.

    A step is an idea and one way to put it; what can follow depends on the ideas so far, so that two trajectories that
    said the same in other words can go on alike. Everything is a function of the seed.
    """

    format = _STEP
    identity = Identity("drawn trees", engine="planning")

    def __init__(self, assumed: Assumptions, seed: int) -> None:
        self.assumed, self._seed = assumed, seed
        self._log_odds = math.log(assumed.reward / (1 - assumed.reward))
        variance = math.log(1 + (assumed.step_tokens_sd / assumed.step_tokens) ** 2)
        self._length_mean, self._length_sd = math.log(assumed.step_tokens) - variance / 2, math.sqrt(variance)
        self._ideas: dict[tuple[int, ...], tuple[int, ...]] = {}
        """The ideas on the path to every prefix that was written."""

    async def encode(self, text: str) -> list[int]:
        return [0] * len(text.split())

    async def encode_prompt(self, question: str) -> list[int]:
        del question
        return [0] * self.assumed.prompt_tokens

    async def stats(self) -> EngineStats:
        return EngineStats()

    async def aclose(self) -> None:
        """Nothing to stop."""

    async def generate(self, request: GenerateRequest) -> list[Continuation]:
        ideas = self._ideas.get(request.prefix, ())
        rng = random.Random(request.seed)
        return [self._step(request, ideas, rng) for _ in range(request.num_continuations)]

    def _step(self, request: GenerateRequest, ideas: tuple[int, ...], rng: random.Random) -> Continuation:
        idea, wording = _geometric(rng, self.assumed.same_idea), _geometric(rng, self.assumed.same_text)
        path = (*ideas, idea)
        drawn = _rng(self._seed, "words", path, wording)
        length = max(1, round(math.exp(drawn.gauss(self._length_mean, self._length_sd))))
        reason = FinishReason.END if self._ends(path) else FinishReason.STEP
        if length >= request.max_tokens:
            length, reason = request.max_tokens, FinishReason.LENGTH
        name = _rng(self._seed, "name", path, wording).getrandbits(60) + 1
        ids = (name, *(0,) * (length - 1))
        self._ideas[request.prefix + ids] = path
        chain = "/".join(map(str, path))
        text = f"{chain}#{wording}" + ("" if reason is FinishReason.END else "\n")
        if reason is FinishReason.END:
            text += f" The answer is {_rng(self._seed, 'answer', path).randrange(5)}."
        return Continuation(ids, text, reason)

    def _ends(self, path: tuple[int, ...]) -> bool:
        """Whether a solution ends with this step: the number of its steps is drawn from what is left at every step."""
        depth, assumed = len(path), self.assumed
        if assumed.steps_sd == 0:  # the two whole numbers around it, such that it is their mean
            return depth + 1 - assumed.steps > _rng(self._seed, "end", path).random()
        left = _above(depth - 0.5, assumed.steps, assumed.steps_sd)
        after = _above(depth + 0.5, assumed.steps, assumed.steps_sd)
        hazard = 1.0 if left <= 1e-12 else 1 - after / left
        return _rng(self._seed, "end", path).random() < hazard

    async def score(self, trajectory: Trajectory, first: int) -> Scores:
        rewards, odds = [], self._log_odds
        for number, step in enumerate(trajectory.steps):
            odds = self._log_odds + self.assumed.reward_memory * (odds - self._log_odds)
            said = step.text.partition(" The")[0].strip()
            odds += (
                self.assumed.reward_sd / math.sqrt(2) * _rng(self._seed, "reward", said.partition("#")[0]).gauss(0, 1)
            )
            words = 0.2 * self.assumed.reward_sd * _rng(self._seed, "nuance", said).gauss(0, 1)
            if number >= first:
                rewards.append(1 / (1 + math.exp(-max(-30.0, min(30.0, odds + words)))))
        return Scores(tuple(rewards), sum(len(step.token_ids) for step in trajectory.steps))

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """A direction of its own for every idea, whatever the words."""
        ideas = [text.partition("#")[0] for text in texts]
        order = {idea: place for place, idea in enumerate(dict.fromkeys(ideas))}
        rows = np.zeros((len(texts), len(order)), dtype=np.float32)
        rows[np.arange(len(texts)), [order[idea] for idea in ideas]] = 1.0
        return rows


def _above(value: float, mean: float, sd: float) -> float:
    return 0.5 * math.erfc((value - mean) / (sd * math.sqrt(2)))


class RecordedWorld:
    """Generator and reward model that draw the steps of one recorded tree again.

    A step's continuations are drawn, with replacement, from those that are recorded under it; under one that the
    recorded search did not grow, from those under the step of the same depth whose reward is nearest and that has some.

    Raises:
        ConfigError: there is no step, or one has no reward.
    """

    format = _STEP
    identity = Identity("a recorded tree", engine="planning")

    def __init__(self, state: SearchState) -> None:
        self._state, self._tree = state, state.tree
        rewards = self._tree.rewards[1:]
        if not len(rewards):
            raise ConfigError("this tree cannot be grown by another strategy: it has no steps")
        if np.isnan(rewards).any():
            raise ConfigError(
                "this tree cannot be grown by another strategy: some steps of it have no reward. "
                "Take the trees of a search that scores every step"
            )
        self._at: dict[tuple[int, ...], int] = {self._tree.prefix(ROOT): ROOT}
        self._under: dict[int, list[int]] = {}
        for node in range(1, len(self._tree)):
            self._under.setdefault(self._tree.step_above(node), []).append(node)
        self._depth = self._tree.depth

    async def encode(self, text: str) -> list[int]:
        return [0] * len(text.split())

    async def encode_prompt(self, question: str) -> list[int]:
        del question
        return list(self._tree.prefix(ROOT))

    async def stats(self) -> EngineStats:
        return EngineStats()

    async def aclose(self) -> None:
        """Nothing to stop."""

    async def generate(self, request: GenerateRequest) -> list[Continuation]:
        donor = self._donor(self._at[request.prefix])
        rng = random.Random(request.seed)
        drawn = rng.choices(self._under[donor], k=request.num_continuations)
        return [self._again(request, node) for node in drawn]

    def _donor(self, step: int) -> int:
        if step in self._under or step == ROOT:
            return step
        depth, reward = self._depth[step], self._tree.reward(step)
        others = [other for other in self._under if other != ROOT and self._depth[other] == depth]
        if not others:  # deeper than anything that was grown: what ended there ends here too
            others = [other for other in self._under if other != ROOT] or [ROOT]
        return min(others, key=lambda other: (abs(self._depth[other] - depth), abs(self._tree.reward(other) - reward)))

    def _again(self, request: GenerateRequest, node: int) -> Continuation:
        step = self._tree.original(node)
        written = self._tree.continuation(step)
        self._at[request.prefix + written.token_ids] = step
        reason = FinishReason.END if node in self._state.ended else written.finish_reason
        return Continuation(written.token_ids, written.text, reason, written.log_probability)

    async def score(self, trajectory: Trajectory, first: int) -> Scores:
        prefix = self._tree.prefix(ROOT)
        rewards = []
        for number, step in enumerate(trajectory.steps):
            prefix += step.token_ids
            if prefix not in self._at:
                raise RewardError(f"step {number} is none of the recorded tree's", retryable=False)
            if number >= first:
                rewards.append(self._tree.reward(self._at[prefix]))
        return Scores(tuple(rewards), len(prefix))


async def grow(
    world: DrawnWorld | RecordedWorld,
    strategy: Strategy,
    settings: SearchSettings,
    name: str,
    embedder: Embedder | None = None,
) -> SearchTrace:
    """The trace of a search in such a world.

    Args:
        world: writes and scores the steps.
        strategy: chooses.
        settings: of the search.
        name: of its problem.
        embedder: places steps, for clusters; by default the world's own, which knows what is the same idea.
    """
    if embedder is None and isinstance(world, DrawnWorld):
        embedder = world
    result = await search(Problem(name, id=name), Parts(world, world, strategy, embedder), settings)
    return SearchTrace.of(SearchState.of(result), name, scores_steps=strategy.needs_rewards)

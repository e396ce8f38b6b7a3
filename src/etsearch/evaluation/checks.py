"""What a generator and a reward model really do, tried before a run that would be spoilt by it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from etsearch.boundary.files import to_path
from etsearch.errors import EtsearchError
from etsearch.generators import Generator
from etsearch.loop.settings import Limits
from etsearch.models.codec import Codec
from etsearch.prms import REWARD_MODELS, RewardModel
from etsearch.prms.classifier import original
from etsearch.prms.families import PrmFamily
from etsearch.types import Continuation, Finding, FinishReason, GenerateRequest, Level, Step, Trajectory

QUESTION: Final = (
    "Of keys there are 7 more than the red cars. The apples number 9 more than the keys. There are 13 red cars. "
    "What is the count of apples?"
)
"""Every model can read it, the miniature ones too."""
RIGHT: Final = "Of keys there are 7 more than the red cars: 13 + 7 = 20 keys.\n"
WRONG: Final = "Of apples there are 9 more than the keys: 13 + 9 = 22 apples.\n"
CLEARLY: Final = 0.02
"""Difference of rewards from which on a model tells a right step from a wrong one."""
TOLERANCE: Final = 0.03
"""Difference of rewards that computing in bfloat16 explains."""
EXACT: Final = 1e-3
_SHARE_OF_HITS: Final = 0.5


@runtime_checkable
class TellsOfItself(Protocol):
    """What a part may say beside: what it knows of itself that matters for a search, without being tried."""

    def findings(self, longest_tokens: int) -> Sequence[Finding]:
        """What it knows; ``longest_tokens`` are those of a trajectory that a search may write."""
        ...


@runtime_checkable
class HasCodec(Protocol):
    """What a generator may give beside: its tokenizer, so that ids can be read back."""

    @property
    def codec(self) -> Codec: ...


@runtime_checkable
class OfFamily(Protocol):
    """What a reward model may say beside, so that it can be compared with a plain implementation."""

    @property
    def family(self) -> PrmFamily:
        """How it is read."""
        ...

    @property
    def source_folder(self) -> Path | None:
        """The Hugging Face files of a model that runs elsewhere, where they lie on this machine."""
        ...


async def check_generator(generator: Generator) -> AsyncIterator[Finding]:
    """Tries a generator: one finding after the other. What fails is a finding, too."""
    identity = generator.identity
    yield Finding("generator", f"{identity.name} on {identity.engine or 'no engine that tells'}")
    for finding in _own_findings(generator):
        yield finding
    try:
        prefix = tuple(await generator.encode_prompt(QUESTION))
        yield Finding("prompt", f"{len(prefix)} tokens", f"steps end with {generator.format.step_delimiter!r}")
        ask = GenerateRequest(prefix, 4, 256, (generator.format.step_delimiter,), 1)
        some = await generator.generate(ask)
        for finding in (_several(some), _delimiter(some, ask), _log_probabilities(some)):
            yield finding
        yield await _seeds(generator, ask, some)
        yield await _round_trip(generator, some)
        yield await _hits(generator, prefix, some)
    except EtsearchError as error:
        yield Finding("request", f"failed: {type(error).__name__}", str(error), Level.BAD)


def _own_findings(part: object) -> Sequence[Finding]:
    return part.findings(Limits().max_tokens) if isinstance(part, TellsOfItself) else ()


def _several(some: list[Continuation]) -> Finding:
    distinct = len({c.text for c in some})
    if distinct == 1 and some[0].text:
        means = "the branches of a node are all equal; the server uses one seed for all, or samples greedily"
        return Finding("several continuations", f"{len(some)} came, all equal", means, Level.BAD)
    return Finding("several continuations", f"{len(some)} came, {distinct} different")


def _delimiter(some: list[Continuation], ask: GenerateRequest) -> Finding:
    stop = ask.stop[0]
    steps = [c for c in some if c.finish_reason is FinishReason.STEP]
    if any(not c.text.endswith(stop) for c in steps):
        return Finding("step delimiter", "cut off", "the PRM would read steps run together", Level.BAD)
    if not steps:
        means = (
            f"in {ask.max_tokens} tokens the model wrote no {stop!r}; give a prompt format that suits it (format=FILE)"
        )
        return Finding("step delimiter", "never written", means, Level.NOTE)
    return Finding("step delimiter", f"ends {len(steps)} of {len(some)} continuations, and stays in them")


def _log_probabilities(some: list[Continuation]) -> Finding:
    if any(c.log_probability is None for c in some):
        return Finding("log probabilities", "none", "the reward 'log_probability' cannot be used", Level.NOTE)
    return Finding("log probabilities", f"from {min(c.log_probability or 0 for c in some):.1f} nats a step")


async def _seeds(generator: Generator, ask: GenerateRequest, some: list[Continuation]) -> Finding:
    again = await generator.generate(ask)
    same = sum(a.text == b.text for a, b in zip(some, again, strict=True))
    if same < len(some) // 2:
        means = "a run cannot be repeated; SGLang needs --enable-deterministic-inference for it"
        return Finding("seeds", f"{same} of {len(some)} continuations came again", means, Level.NOTE)
    return Finding("seeds", f"{same} of {len(some)} continuations came again")


async def _round_trip(generator: Generator, some: list[Continuation]) -> Finding:
    if isinstance(generator, HasCodec):
        read = [await asyncio.to_thread(generator.codec.decode_now, c.token_ids) for c in some]
        if wrong := [(c.text, text) for c, text in zip(some, read, strict=True) if text != c.text]:
            means = f"the ids of {wrong[0][0][-40:]!r} spell {wrong[0][1][-40:]!r}; is the tokenizer the model's?"
            return Finding("tokenizer", "ids and text differ", means, Level.NOTE)
    equal = [list(c.token_ids) == await generator.encode(c.text) for c in some]
    means = "" if all(equal) else "no harm: a step keeps the ids that were sampled"
    return Finding("tokenizer", f"{sum(equal)} of {len(some)} steps are tokenised as they were sampled", means)


async def _hits(generator: Generator, prefix: tuple[int, ...], some: list[Continuation]) -> Finding:
    """What a long prefix that was there before finds in the cache."""
    longest = max(some, key=lambda c: len(c.token_ids))
    long = prefix + longest.token_ids * max(1, 256 // max(1, len(longest.token_ids)))
    ask = GenerateRequest(long[:400], 1, 1, (), 0)
    await generator.generate(ask)
    before = await generator.stats()
    await generator.generate(ask)
    after = await generator.stats()
    if after.prefix_hit_tokens is None or before.prefix_hit_tokens is None:
        return Finding("a repeated prefix", "hits are not told", "the report cannot show them", Level.NOTE)
    hits = after.prefix_hit_tokens - before.prefix_hit_tokens
    found = f"{hits} of {len(ask.prefix)} tokens were in the cache"
    if hits < _SHARE_OF_HITS * len(ask.prefix):
        means = "branches do not share; use prefix caching, and a smaller block size on vLLM (--block-size)"
        return Finding("a repeated prefix", found, means, Level.BAD if hits == 0 else Level.NOTE)
    return Finding("a repeated prefix", found)


async def check_reward_model(prm: RewardModel, twin: RewardModel) -> AsyncIterator[Finding]:
    """Tries a reward model; ``twin`` is another instance of it, which has scored nothing yet."""
    identity = prm.identity
    yield Finding("reward model", f"{identity.name} on {identity.engine or 'no engine that tells'}")
    for finding in _own_findings(prm):
        yield finding
    right, wrong = (Trajectory(QUESTION, (Step(step), Step("The answer is 29."))) for step in (RIGHT, WRONG))
    try:
        together = [scores.rewards for scores in await asyncio.gather(prm.score(right, 0), prm.score(wrong, 0))]
        alone = (await twin.score(Trajectory(QUESTION, right.steps[:1]), 0)).rewards
    except EtsearchError as error:
        yield Finding("score", f"failed: {type(error).__name__}", str(error), Level.BAD)
        return
    good, bad = together[0][0], together[1][0]
    level = Level.OK if good - bad > CLEARLY else Level.NOTE
    means = "" if level is Level.OK else "it hardly tells them apart; is it read as its family is?"
    yield Finding("a right and a wrong step", f"{good:.4f} and {bad:.4f}", means, level)
    difference = abs(alone[0] - good)
    level = Level.OK if difference <= TOLERANCE else Level.BAD
    means = "" if level is Level.OK else "a step's reward depends on what is scored beside it, or on later steps"
    yield Finding("alone and in a batch", f"differ by {difference:.1e}", means, level)


def open_reference(prm: RewardModel, given: str) -> tuple[RewardModel, Path] | None:
    """The same PRM by transformers, and its folder: the one that was given, or that of the PRM's own files.

    A classifier is compared with what it was made of. None if there is no folder, or if none was given and transformers
    is not installed.

    Raises:
        ConfigError: the folder holds no such model.
        MissingDependencyError: a folder was given, and transformers is not installed.
    """
    family, found = (prm.family, prm.source_folder) if isinstance(prm, OfFamily) else (None, None)
    folder = to_path(given, "the reference") if given else found and original(found)
    if folder is None or (not given and not REWARD_MODELS.entry("transformers").is_available):
        return None
    from etsearch.prms.transformers import TransformersRewardModel  # noqa: PLC0415

    return TransformersRewardModel(folder, family=family), folder


async def check_reference(prm: RewardModel, reference: RewardModel, folder: Path) -> AsyncIterator[Finding]:
    """Compares rewards with those of a plain implementation over the model's own files."""
    steps = [Step(RIGHT), Step(WRONG), Step("So\nthere are 29 apples.\n"), Step("The answer is 29.")]
    asked = [Trajectory(QUESTION, tuple(steps[: n + 1])) for n in range(len(steps))]
    asked += [Trajectory(QUESTION, (step,)) for step in steps]
    try:
        found = await asyncio.gather(*(prm.score(trajectory, 0) for trajectory in asked))
        wanted = await asyncio.gather(*(reference.score(trajectory, 0) for trajectory in asked))
    except EtsearchError as error:
        yield Finding("transformers", f"failed: {type(error).__name__}", str(error), Level.BAD)
        return
    pairs = [p for f, w in zip(found, wanted, strict=True) for p in zip(f.rewards, w.rewards, strict=True)]
    worst = max(abs(a - b) for a, b in pairs)
    level = Level.OK if worst <= EXACT else Level.NOTE if worst <= TOLERANCE else Level.BAD
    means = {
        Level.OK: "",
        Level.NOTE: "as much as half precision explains",
        Level.BAD: "the server computes something else: another family, model, tokenizer or head",
    }[level]
    yield Finding("transformers", f"rewards of {folder.name} differ by {worst:.1e} at most", means, level)

"""The engines of a gateway: each with its market and its watch, shared by all profiles that name it."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from etsearch.embedders import EMBEDDERS
from etsearch.generators import GENERATORS, Generator
from etsearch.loop import Parts
from etsearch.loop.watch import EngineWatch
from etsearch.prms import REWARD_MODELS
from etsearch.serving.config import MarketSettings, Profile
from etsearch.sharing import Market
from etsearch.strategies import STRATEGIES


@dataclass(frozen=True)
class Engine:
    """A generator, and what its searches share."""

    name: str
    generator: Generator
    market: Market
    watch: EngineWatch


@dataclass(frozen=True)
class Serving:
    """A profile at work."""

    name: str
    profile: Profile
    parts: Parts
    engine: Engine


async def open_all(
    profiles: Mapping[str, Profile], market: MarketSettings, stack: AsyncExitStack
) -> dict[str, Serving]:
    """Makes the parts of all profiles, each part once however many name it; the stack closes them.

    Raises:
        ConfigError, MissingDependencyError: a part that cannot be made.
    """
    made: dict[tuple[str, str], Any] = {}

    def part(registry: Any, specification: str) -> Any:
        place = (registry.kind, specification)
        if place not in made:
            made[place] = registry.create(specification)
            stack.push_async_callback(made[place].aclose)
        return made[place]

    engines: dict[str, Engine] = {}
    serving = {}
    for name, profile in profiles.items():
        generator = part(GENERATORS, profile.generator)
        if profile.generator not in engines:
            shared = Market(**market.model_dump())
            watch = EngineWatch(generator, shared.observe)
            engines[profile.generator] = Engine(f"engine-{len(engines) + 1}", generator, shared, watch)
        parts = Parts(
            generator,
            None if profile.prm == "none" else part(REWARD_MODELS, profile.prm),
            STRATEGIES.create(profile.strategy),
            part(EMBEDDERS, profile.embedder),
        )
        parts.check(profile.search)
        serving[name] = Serving(name, profile, parts, engines[profile.generator])
    return serving

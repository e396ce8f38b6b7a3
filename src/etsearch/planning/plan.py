"""What a run will cost: its arms on cards, at several numbers of searches in flight."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Final, Protocol

import numpy as np

from etsearch.boundary.numbers import MOST_TOKENS, check_number, check_whole
from etsearch.embedders import EMBEDDERS, Embedder
from etsearch.errors import ConfigError, RecordError
from etsearch.evaluation.run.folder import Run, read_tree
from etsearch.evaluation.run.recipe import Arm, Recipe
from etsearch.loop.settings import SearchSettings
from etsearch.planning.cost import CardCost
from etsearch.planning.engine_table import EngineTable
from etsearch.planning.hardware import Card, find_card
from etsearch.planning.models import find_shape
from etsearch.planning.policy import EnginePolicy, card_defaults, find_policy
from etsearch.planning.scorer import Reading
from etsearch.planning.shapes import ModelShape, Precision, Share
from etsearch.planning.simulate import Client, Machine, SimulatedRun, simulate
from etsearch.planning.table import CardTable, constants_of, shipped_table
from etsearch.planning.trace import SearchTrace
from etsearch.planning.world import Assumptions, DrawnWorld, RecordedWorld, grow
from etsearch.strategies import STRATEGIES

WORKSPACE_SHARE: Final = 0.03
"""Of a card's memory, which activations, graphs and the engine itself take beside weights and KV."""


class RunsOn(Protocol):
    """What searches are to run on."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def price(self) -> float | None:
        """Of a card for an hour."""
        ...

    @property
    def cards_used(self) -> int:
        """How many there are of it."""
        ...

    def machine(self) -> Machine:
        """The same for the simulation. Raises ConfigError if a model does not fit."""
        ...

    def in_words(self) -> str:
        """What it is, on one line."""
        ...

    def trust(self) -> Iterator[str]:
        """How far its figures can be trusted."""
        ...


@dataclass(frozen=True)
class TimedSetup:
    """An engine that was timed where it runs.

    Attributes:
        table: what was timed.
        kv_tokens: what its KV cache holds, 1 to 2^30.
        price: of the machine for an hour; None without.
    """

    table: EngineTable
    kv_tokens: int
    price: float | None = None

    def __post_init__(self) -> None:
        check_whole("the tokens of the KV cache", self.kv_tokens, 1, MOST_TOKENS)

    name: ClassVar[str] = "as timed"
    cards_used: ClassVar[int] = 1

    @classmethod
    def of(cls, table: EngineTable, kv_tokens: int | None = None, price: float | None = None) -> "TimedSetup":
        """With the cache that it had when it was timed, where none is given.

        Raises:
            ConfigError: it did not tell, or a size outside its range.
        """
        kv_tokens = table.cache_tokens if kv_tokens is None else kv_tokens
        if kv_tokens is None:
            raise ConfigError("the engine did not tell what its KV cache held when it was timed; give --cache-tokens")
        return cls(table, kv_tokens, price)

    def machine(self) -> Machine:
        return self.table.machine(self.kv_tokens)

    def in_words(self) -> str:
        about = self.table.about
        return (
            f"an engine ({self.table.engine}) as timed on {about.get('cpu', 'a machine')}, {self.kv_tokens:,} KV tokens"
        )

    def trust(self) -> Iterator[str]:
        errors = f"{self.table.generator.error:.0%} (generator) and {self.table.prm.error:.0%} (PRM)"
        yield f"as timed: of single batches that the fit did not see the median error is {errors}"
        timed_with = self.table.cache_tokens
        if timed_with and not timed_with / 2 <= self.kv_tokens <= 2 * timed_with:
            yield (
                f"it was timed with a cache of {timed_with:,} tokens; an engine may take another time for a block of a "
                "larger or smaller one: time it as it will run"
            )


@dataclass(frozen=True)
class Setup:
    """What the searches are to run on.

    Attributes:
        card: the generator's.
        model, prm: the models; no ``prm`` is one that takes no time.
        weights, kv: precision of both models' weights, and of the KV cache.
        num_cards: over which the generator is spread by tensor parallelism.
        memory: the share of a card's memory that the engine may take, above 0 and at most 1.
        engine: whose scheduling it is, see ``find_policy``.
        block_tokens, max_sequences, step_tokens: how it was started, see ``EnginePolicy``; its defaults on that card
            where nothing is said.
        prm_shares: whether the PRM is on the generator's card; else it has one of the same kind for itself.
        prm_cache: whether the PRM's server finds what lies above a step in its KV cache, which is taken to hold it;
            else it reads every trajectory from its beginning, as vLLM's pooling routes do.
        reads_shared_once: whether attention reads what sequences share once for all of them.
        step_s: seconds that the engine's scheduler and sampler add to a step, 0 to 3,600.
        price: of a card for an hour; None without.
        table: the card's own measurements.
        client: what the search loop takes.
    """

    card: Card
    model: ModelShape
    prm: ModelShape | None = None
    weights: Precision = Precision.BF16
    kv: Precision = Precision.BF16
    num_cards: int = 1
    memory: float = 0.9
    engine: str = "vllm"
    block_tokens: int | None = None
    max_sequences: int | None = None
    step_tokens: int | None = None
    prm_shares: bool = False
    prm_cache: bool = True
    reads_shared_once: bool = False
    step_s: float = 0.001
    price: float | None = None
    table: CardTable | None = None
    client: Client = field(default_factory=lambda: Client(request_s=0.0002, draw_s=0.00005))

    def __post_init__(self) -> None:
        check_number("the share of the memory", self.memory, 0, 1, above=True)
        check_number("step_s", self.step_s, 0, 3600)
        if self.price is not None:
            check_number("the price", self.price, 0, 1e6)
        _ = self.policy  # which checks its values
        if self.num_cards > 1 and not self.card.link_bandwidth:
            raise ConfigError(f"{self.card.name} has no link to others of its kind; plan for one card, or for another")

    @property
    def policy(self) -> EnginePolicy:
        """How the engine schedules there."""
        given = {name: getattr(self, name) for name in ("block_tokens", "max_sequences", "step_tokens")}
        told = {name: value for name, value in given.items() if value is not None}
        return find_policy(self.engine, **card_defaults(self.engine, self.card.memory_bytes, self.card.name) | told)

    @property
    def cards_used(self) -> int:
        """Cards of the generator and of the PRM."""
        return self.num_cards + (1 if self.prm is not None and not self.prm_shares else 0)

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.card.name

    def trust(self) -> Iterator[str]:
        """How far figures of this card and of these models can be trusted."""
        if constants_of(self.card, self.table).is_measured:
            errors = (self.table or shipped_table()).cross_validate()
            linear, attention = (float(np.median(np.abs(errors[kernel]))) for kernel in ("linear", "attention"))
            yield (
                f"{self.name}: fitted to steps timed on one; of those that a fit did not see the median error is "
                f"{linear:.0%} (matrix products) and {attention:.0%} (attention)"
            )
        else:
            yield (
                f"{self.name}: never timed; its data sheet in relation to the H100 that was. Ratios between strategies "
                "move less than hours do"
            )
        for model in (self.model, *([self.prm] if self.prm else [])):
            yield from (f"{model.name}: {note}" for note in model.notes)

    def in_words(self) -> str:
        """What it is, on one line."""
        spread = f" over {self.num_cards} cards" if self.num_cards > 1 else ""
        where = "on the same card" if self.prm_shares else "on a card of its own"
        prm = "no PRM" if self.prm is None else f"{self.prm.name} {where}"
        kernel = ", pages that are shared read once" if self.reads_shared_once else ""
        engine = f"{self.engine}{kernel}, weights {self.weights}, KV {self.kv}"
        return f"{self.card.name}{spread}: {self.model.name} ({engine}); {prm}"

    def cache_tokens(self) -> int:
        """KV tokens that there is room for beside the weights.

        Raises:
            ConfigError: none.
        """
        share = self.model.split(self.num_cards)
        held = share.num_parameters * self.weights.bytes
        if self.prm is not None and self.prm_shares:
            held += self.prm.num_parameters * self.weights.bytes
        room = self.card.memory_bytes * (self.memory - WORKSPACE_SHARE) - held
        tokens = int(room // (share.kv_values_per_token * self.kv.bytes))
        if tokens < 1:
            also = " with its PRM" if self.prm is not None and self.prm_shares else ""
            raise ConfigError(
                f"{self.model.name}{also} does not fit: it takes {held / 1e9:,.1f} GB of weights on each card, and of "
                f"the {self.card.memory_bytes / 1e9:,.1f} GB of {self.card.name} {self.memory:.0%} may be used. Take "
                "more cards (--cards), a card with more memory, a lower precision (--weights), or a card for the PRM"
            )
        return tokens

    def machine(self) -> Machine:
        """The same for the simulation."""
        return Machine(
            self._cost(self.model.split(self.num_cards)),
            self.policy,
            self.cache_tokens(),
            None if self.prm is None else self._cost(self.prm.split(1)),
            Reading("cache" if self.prm_cache else "none"),
            self.client,
            together=0.5 if self.prm_shares else 1.0,
        )

    def _cost(self, share: Share) -> CardCost:
        constants = constants_of(self.card, self.table)
        step_s, once, link = self.step_s, self.reads_shared_once, self.card.link_bandwidth
        return CardCost(share, constants, self.weights, self.kv, step_s, once, link)


@dataclass(frozen=True)
class PlannedArm:
    """A strategy at a width on a card.

    Attributes:
        card, strategy, width: which.
        in_flight: searches at once.
        run: what the simulation found.
        kv_tokens: mean of the searches' KV tokens summed over depths.
        price: of a thousand searches; None without a price.
    """

    card: str
    strategy: str
    width: int
    in_flight: int
    run: SimulatedRun
    kv_tokens: float
    price: float | None

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON; times in seconds, KV in tokens."""
        run = self.run
        parts = {f"{name}_s": seconds for name, seconds in run.time._asdict().items()}
        return {
            "card": self.card,
            "strategy": self.strategy,
            "width": self.width,
            "in_flight": self.in_flight,
            "searches": len(run.latencies),
            "per_hour": run.per_hour,
            "latency_mean_s": float(np.mean(run.latencies)),
            "latency_p95_s": run.latency(0.95),
            "seconds": run.seconds,
            "step_s": run.time.total / max(1, run.counts.num_steps),
            **parts,
            "recompute_s": run.recompute_s,
            "prm_s": run.prm_s,
            "client_s": run.client_s,
            "engine_s": run.engine_s,
            "mean_waiting": run.waiting_seconds / run.seconds if run.seconds else 0.0,
            "mean_rows": run.rows_sum / max(1, run.counts.num_steps),
            "kv_tokens": self.kv_tokens,
            "mean_kv": run.mean_kv,
            "cache_tokens": run.cache_tokens,
            "generated_tokens": run.generated_tokens,
            "prm_tokens": run.prm_tokens,
            "price_per_thousand": self.price,
            **asdict(run.counts),
        }


@dataclass(frozen=True)
class Plan:
    """What a run will cost, and how far that can be trusted.

    Attributes:
        arms: every strategy at every width, card and number of searches in flight.
        trust: sentences.
        num_problems: of the run; of None it is not known.
    """

    arms: tuple[PlannedArm, ...]
    trust: tuple[str, ...]
    num_problems: int | None = None

    def best(self) -> tuple[PlannedArm, ...]:
        """Of every card, strategy and width the number in flight that solves most problems an hour."""
        found: dict[tuple[str, str, int], PlannedArm] = {}
        for arm in self.arms:
            key = (arm.card, arm.strategy, arm.width)
            if key not in found or arm.run.per_hour > found[key].run.per_hour:
                found[key] = arm
        return tuple(found.values())

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"trust": list(self.trust), "problems": self.num_problems, "arms": [arm.plain() for arm in self.arms]}


@dataclass(frozen=True)
class Trees:
    """The searches that are simulated, arm by arm.

    Attributes:
        label, width: of the arm.
        traces: of its searches.
    """

    label: str
    width: int
    traces: tuple[SearchTrace, ...]


def drawn_trees(recipe: Recipe, assumed: Assumptions, count: int) -> Iterator[Trees]:
    """So many trees of every arm of a recipe, grown in worlds that are the same for all arms.

    Raises:
        ConfigError: a count outside 1 to 100,000; a strategy that cannot be made.
    """
    check_whole("the number of trees", count, 1, 100_000)
    for arm in recipe.arms():
        yield Trees(arm.label, arm.width, tuple(asyncio.run(_drawn(recipe, arm, assumed, count))))


async def _drawn(recipe: Recipe, arm: Arm, assumed: Assumptions, count: int) -> list[SearchTrace]:
    traces = []
    for number in range(count):
        settings = recipe.settings(arm.width, number, arm.search)
        world = DrawnWorld(assumed, number)
        traces.append(await grow(world, arm.strategy, settings, f"problem {number + 1}"))
    return traces


def recorded_trees(run: Run, strategies: Sequence[str], width: int | None, limit: int | None) -> Iterator[Trees]:
    """The trees of a run as they stand; or those that other strategies would have grown of them.

    Args:
        run: whose trees are here.
        strategies: specifications; a label of the run's own, or none at all, is its searches as they were.
        width: only trees of this width.
        limit: at most so many of each arm, 1 to 100,000.

    Raises:
        RecordError: the run holds no such tree.
    """
    if limit is not None:
        check_whole("the number of trees", limit, 1, 100_000)
    labels = list(dict.fromkeys(record.strategy for record in run.with_trees(width=width)))
    for wanted in strategies or labels:
        of = wanted if wanted in labels else _to_grow_from(run, labels)
        records = run.with_trees(of, width)
        for each in sorted({record.width for record in records}):
            chosen = [record for record in records if record.width == each][:limit]
            states = [(record, read_tree(run.path, record.key).state) for record in chosen]
            if wanted in labels:
                scores = {label: STRATEGIES.create(spec).needs_rewards for label, spec in _specifications(run).items()}
                traces = [SearchTrace.of(s, r.problem, scores_steps=scores.get(wanted, True)) for r, s in states]
            else:
                embedder = EMBEDDERS.create(run.recipe.embedder)
                jobs = [(run.settings(record), record.problem, state) for record, state in states]
                traces = asyncio.run(_regrown(wanted, jobs, embedder))
            yield Trees(wanted, each, tuple(traces))


def _specifications(run: Run) -> Mapping[str, str]:
    return {arm.label: arm.specification for arm in run.recipe.arms()}


def _to_grow_from(run: Run, labels: Sequence[str]) -> str:
    """The arm that grew most and chose at every step: what others would have grown is drawn of its steps."""
    known = _specifications(run)
    scored = [label for label in labels if label in known and STRATEGIES.create(known[label]).needs_rewards]
    if not scored:
        raise RecordError(
            f"{run.path} holds no tree of a search that scores every step; another strategy cannot be tried on it"
        )
    return "rebase" if "rebase" in scored else scored[0]


async def _regrown(
    specification: str, jobs: Sequence[tuple[SearchSettings, str, Any]], embedder: Embedder
) -> list[SearchTrace]:
    strategy = STRATEGIES.create(specification)
    try:
        return [
            await grow(RecordedWorld(state), strategy, settings, problem, embedder) for settings, problem, state in jobs
        ]
    finally:
        await embedder.aclose()


def plan(
    trees: Sequence[Trees],
    setups: Sequence[RunsOn],
    in_flight: Sequence[int],
    num_searches: int,
    *,
    trust: Sequence[str] = (),
    num_problems: int | None = None,
    on_arm: Callable[[PlannedArm], None] = lambda _: None,
) -> Plan:
    """Simulates every arm on every card.

    Args:
        trees: of the arms; of each they are gone through again until there are enough searches.
        setups: what they run on.
        in_flight: numbers of searches at once.
        num_searches: of every arm, 1 to 10^6.
        trust: what is to be said of the trees.
        num_problems: of the run, for hours and price.
        on_arm: called with every arm that is done.

    Raises:
        ConfigError: no tree; a model that does not fit a card.
    """
    check_whole("the number of searches", num_searches, 1, 10**6)
    if not trees:
        raise ConfigError("there is no tree to simulate; give a recipe with strategies, or a run that holds trees")
    arms = []
    for setup in setups:
        machine = setup.machine()
        for of_arm in trees:
            repeats = -(-num_searches // len(of_arm.traces))
            traces = (of_arm.traces * repeats)[:num_searches]
            for number in in_flight:
                run = simulate(traces, machine, number)
                hours = run.seconds / 3600 / len(traces)
                price = None if setup.price is None else 1000 * hours * setup.price * setup.cards_used
                kv = float(np.mean([trace.kv_tokens for trace in traces]))
                arms.append(PlannedArm(setup.name, of_arm.label, of_arm.width, number, run, kv, price))
                on_arm(arms[-1])
    return Plan(tuple(arms), (*trust, *_trust(setups)), num_problems)


def _trust(setups: Sequence[RunsOn]) -> Iterator[str]:
    """How far the figures can be trusted, as far as engines, cards and models go."""
    yield from dict.fromkeys(sentence for setup in setups for sentence in setup.trust())
    yield "simulated: nothing here was run. docs/planner.md says how far off it was where it could be compared"


def setup_of(recipe: Recipe, card: str, model: str = "", prm: str = "", **values: Any) -> Setup:
    """What a recipe runs on, on a card.

    Args:
        recipe: its key ``serve`` says which models, and which engine.
        card: a name or a file, see ``find_card``.
        model: in place of the recipe's generator, see ``find_shape``.
        prm: in place of its PRM; ``none`` is one that takes no time.
        values: other values of the set-up.

    Raises:
        ConfigError: no model is named, or one is not known.
    """
    models = recipe.serve.models if recipe.serve else {}
    served = {role: models[role].model for role in ("generator", "prm") if role in models}
    model, prm = model or served.get("generator", ""), prm or served.get("prm", "")
    if not model:
        raise ConfigError("the recipe does not say which model it serves; give one with --model, and --prm-model")
    if "generator" in models:
        values.setdefault("engine", models["generator"].engine)
        values.setdefault("block_tokens", models["generator"].block_tokens)
    has_prm = prm not in ("", "none") and recipe.prm != "none"
    return Setup(find_card(card), find_shape(model), find_shape(prm) if has_prm else None, **values)


def run_hours(recipe: Recipe, setup: Setup, num_problems: int) -> float:
    """Hours that a whole recipe takes, every arm after the other, from a few drawn trees of each arm.

    Raises:
        ConfigError: a model that does not fit.
    """
    setup.cache_tokens()
    assumed = Assumptions(steps=recipe.assumed.depths, step_tokens=recipe.assumed.step_tokens)
    in_flight = recipe.concurrency[0]
    found = plan(list(drawn_trees(recipe, assumed, 2)), [setup], [in_flight], 2 * in_flight)
    return sum(num_problems * len(recipe.seeds) / arm.run.per_hour for arm in found.arms)

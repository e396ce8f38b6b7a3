"""``ets plan``: what a run will cost, simulated; ``ets plan calibrate``: what a step costs here, timed."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from typer.core import TyperGroup

from etsearch.api import open_parts
from etsearch.boundary.files import write_whole
from etsearch.boundary.numbers import shown
from etsearch.cli.eval import make_recipe, numbers
from etsearch.cli.terminal import make_console, say, say_aside
from etsearch.errors import ConfigError, EtsearchError
from etsearch.evaluation.run.environment import environment
from etsearch.evaluation.run.folder import Run, read_run
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.runner import dataset_of
from etsearch.planning.calibrate import time_engine
from etsearch.planning.engine_table import EngineTable
from etsearch.planning.hardware import cards
from etsearch.planning.page import best_table, write_page
from etsearch.planning.plan import Plan, RunsOn, Setup, TimedSetup, Trees, drawn_trees, plan, recorded_trees, setup_of
from etsearch.planning.policy import POLICIES, find_policy
from etsearch.planning.shapes import Precision
from etsearch.planning.table import read_table
from etsearch.planning.time_card import time_card
from etsearch.planning.world import Assumptions, read_assumptions
from etsearch.registry import split
from etsearch.strategies import STRATEGIES

_WIDE: Final = 200
"""Columns of a table that goes to a file."""
_MaxSequences = Annotated[
    int | None, typer.Option(help="Sequences that a step computes at most, as the server was started.")
]
_StepTokens = Annotated[int | None, typer.Option(help="Tokens that a step computes at most, likewise.")]
_QUESTIONS: Final = 12
"""Problems whose questions are put to an engine that is timed."""
_NO_LIST: Final[list[str]] = []


class _PlanByDefault(TyperGroup):
    """``ets plan RECIPE`` is ``ets plan run RECIPE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args.insert(0, "run")
        return list(super().parse_args(ctx, args))


planning = typer.Typer(
    cls=_PlanByDefault, no_args_is_help=True, help="Say what a run will cost on a card, by simulation; nothing is run."
)


@dataclass(frozen=True)
class _Target:
    """What is planned: a recipe, or a run whose trees are here."""

    recipe: Recipe
    run: Run | None


@planning.command("run")
def run_plan(
    target: Annotated[str, typer.Argument(help="A recipe (.yaml), or the folder of a run, whose trees are used.")],
    overrides: Annotated[
        list[str], typer.Argument(metavar="[KEY=VALUE]...", help="Values in place of the recipe's.")
    ] = _NO_LIST,
    gpu: Annotated[str, typer.Option(help=f"Cards: {', '.join(cards())}, or a .yaml of your own.")] = "h100-nvl",
    cards_each: Annotated[int, typer.Option("--cards", help="Cards that the generator is spread over.")] = 1,
    model: Annotated[str, typer.Option(help="The generator: a folder with config.json, or a known name.")] = "",
    prm_model: Annotated[str, typer.Option(help="The PRM, likewise; 'none' for one that takes no time.")] = "",
    weights: Annotated[str, typer.Option(help=f"Precision of weights: {', '.join(Precision)}.")] = "bf16",
    kv: Annotated[str, typer.Option(help="Precision of the KV cache.")] = "bf16",
    memory: Annotated[float, typer.Option(help="Share of a card's memory that may be used.")] = 0.9,
    engine: Annotated[str, typer.Option(help="Whose scheduling: vllm or sglang; by default the recipe's.")] = "",
    max_sequences: _MaxSequences = None,
    step_tokens: _StepTokens = None,
    prm_on: Annotated[str, typer.Option(help="'own' card for the PRM, or 'shared' with the generator.")] = "own",
    prm_cache: Annotated[bool, typer.Option(help="Whether the PRM's server reuses its KV cache.")] = True,
    kernel: Annotated[
        str, typer.Option(help="Attention: 'paged', or 'tree', which reads a shared page once.")
    ] = "paged",
    strategy: Annotated[str, typer.Option(help="Strategies in place of the recipe's or the run's.")] = "",
    width: Annotated[str, typer.Option(help="Widths in place of the recipe's; of a run, one of its own.")] = "",
    concurrency: Annotated[str, typer.Option(help="Searches in flight, such as '4,8,16,32'.")] = "",
    searches: Annotated[int, typer.Option(help="Searches that are simulated of each arm.")] = 64,
    trees: Annotated[int, typer.Option(help="Trees that are drawn of each arm; of a run, read at most.")] = 4,
    assume: Annotated[
        str, typer.Option(help="What drawn trees are like: 'steps=12,step_tokens=50,same_idea=0.2'.")
    ] = "",
    price: Annotated[float | None, typer.Option(help="Of a card for an hour.")] = None,
    table: Annotated[Path | None, typer.Option(help="The card's own measurements, of 'ets plan calibrate'.")] = None,
    calibrated: Annotated[
        Path | None, typer.Option(help="An engine that 'ets plan calibrate' timed, in place of cards and models.")
    ] = None,
    cache_tokens: Annotated[
        int | None,
        typer.Option(help="With --calibrated: what its KV cache holds; by default what it held when it was timed."),
    ] = None,
    to_json: Annotated[Path | None, typer.Option("--json", help="Write every figure there.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write one HTML page with plots there.")] = None,
) -> None:
    """Say what a recipe, or the trees of a run, would cost on a card."""
    what = _target(target, overrides, strategy, width)
    setups: list[Setup] | list[TimedSetup]
    if calibrated:
        setups = [TimedSetup.of(EngineTable.read(calibrated), cache_tokens, price)]
    else:
        values: dict[str, Any] = {
            "weights": Precision(weights),
            "kv": Precision(kv),
            "num_cards": cards_each,
            "memory": memory,
            "prm_shares": _choice("--prm-on", prm_on, ("own", "shared")) == "shared",
            "prm_cache": prm_cache,
            "reads_shared_once": _choice("--kernel", kernel, ("paged", "tree")) == "tree",
            "price": price,
            "table": read_table(table) if table else None,
            "max_sequences": max_sequences,
            "step_tokens": step_tokens,
            **({"engine": engine} if engine else {}),
        }
        setups = [setup_of(what.recipe, name, model, prm_model, **values) for name in split(gpu)]
    for setup in setups:
        setup.machine()  # what does not fit is said before anything is grown
    in_flight = numbers("concurrency", concurrency) if concurrency else list(what.recipe.concurrency)
    console = make_console(wide=_WIDE)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        grown, told = _trees(what, strategy, width, assume, trees, progress)
        bar = progress.add_task("simulating", total=len(grown) * len(setups) * len(in_flight))
        found = plan(
            grown,
            setups,
            in_flight,
            searches,
            trust=told,
            num_problems=_num_problems(what),
            on_arm=lambda _: progress.advance(bar),
        )
    _show(console, found, setups)
    if to_json:
        write_whole(to_json, json.dumps(found.plain(), indent=1).encode())
    if page:
        write_page(found, _about(setups), page)
        say_aside(page)


def _target(target: str, overrides: list[str], strategy: str, width: str) -> _Target:
    folder = Path(target)
    if folder.is_dir():
        if overrides:
            raise ConfigError(f"{overrides[0]!r} sets a value of a recipe, and {target!r} is the folder of a run")
        run = read_run(folder)
        return _Target(run.recipe, run)
    if not target.endswith((".yaml", ".yml")):
        raise ConfigError(f"{shown(target)} is neither a recipe (.yaml) nor the folder of a run")
    given: dict[str, Any] = {}
    if strategy:
        given["strategies"] = split(strategy)
    if width:
        given["widths"] = numbers("width", width)
    return _Target(make_recipe(target, overrides, given), None)


def _choice(option: str, given: str, choices: tuple[str, ...]) -> str:
    if given not in choices:
        raise ConfigError(f"{option} is {shown(given)}; give {' or '.join(choices)}")
    return given


def _trees(
    what: _Target, strategy: str, width: str, assume: str, count: int, progress: Progress
) -> tuple[list[Trees], list[str]]:
    if what.run is not None:
        if assume:
            raise ConfigError("--assume is for trees that are drawn, and those of the run are recorded; leave it out")
        wanted = numbers("width", width) if width else [None]
        bar = progress.add_task("reading trees", total=None)
        grown = [t for w in wanted for t in recorded_trees(what.run, split(strategy) if strategy else [], w, count)]
        progress.remove_task(bar)
        return grown, [f"trees: those of {what.run.path}; strategies that it did not run draw from its steps again"]
    taken = what.recipe.assumed
    assumed = read_assumptions(assume, Assumptions(steps=taken.depths, step_tokens=taken.step_tokens))
    grown = []
    bar = progress.add_task("growing trees", total=len(list(what.recipe.arms())))
    for one in drawn_trees(what.recipe, assumed, count):
        grown.append(one)
        progress.advance(bar)
    return grown, [f"trees: drawn, {count} of each arm, with {assumed.in_words()}; your problems may be otherwise"]


def _num_problems(what: _Target) -> int | None:
    """Problems of the run, times its seeds; None where the data are not here."""
    recipe = what.recipe
    try:
        count = len(dataset_of(recipe).problems)
    except EtsearchError:
        return recipe.limit * len(recipe.seeds) if recipe.limit else None
    return count * len(recipe.seeds)


def _show(console: Console, found: Plan, setups: Sequence[RunsOn]) -> None:
    made = best_table(found)
    table = Table(box=None, header_style="bold", title="; ".join(_about(setups)), title_justify="left")
    for name in made.header:
        table.add_column(name, justify="left" if name in ("card", "strategy") else "right", no_wrap=True)
    for row in made.rows:
        table.add_row(*row)
    console.print(table)
    say(made.note)
    for sentence in found.trust:
        say(f"- {sentence}")


def _about(setups: Sequence[RunsOn]) -> list[str]:
    return [setup.in_words() for setup in setups]


@planning.command("calibrate")
def calibrate(
    out: Annotated[Path, typer.Option(help="Where the table is written.")],
    generator: Annotated[str, typer.Option(help="See 'ets generators'.")] = "minimath",
    prm: Annotated[str, typer.Option(help="With it, see 'ets prms'.")] = "minimath",
    engine: Annotated[str, typer.Option(help=f"Whose scheduling it is: {', '.join(POLICIES)}.")] = "embedded",
    max_sequences: _MaxSequences = None,
    step_tokens: _StepTokens = None,
    data: Annotated[
        str, typer.Option(help="Questions that the models can read, see 'ets datasets'.")
    ] = "minimath:test",
    rounds: Annotated[
        int, typer.Option(help="How often a batch is timed, a short one three times as often; the median counts.")
    ] = 3,
    device: Annotated[
        str, typer.Option(help="Time the kernels of a card with PyTorch instead, such as 'cuda': for --table.")
    ] = "",
) -> None:
    """Time single batches of an engine and a PRM where they run: what 'ets plan RUN --calibrated' takes."""
    if device:
        write_whole(out, (json.dumps(time_card(device, say=say_aside), indent=1) + "\n").encode())
        say(out)
        return
    policy = find_policy(engine, max_sequences=max_sequences, step_tokens=step_tokens)
    problems = list(dataset_of(Recipe.of({"data": data, "strategies": ["rebase"]})).problems[:_QUESTIONS])

    async def timed() -> EngineTable:
        async with open_parts(generator, prm, STRATEGIES.create("rebase"), "lexical") as parts:
            model = parts.reward_model
            if model is None:
                raise ConfigError("a reward model is timed too; name one with --prm")
            return await time_engine(
                parts.generator,
                model,
                problems,
                engine=engine,
                policy=policy,
                rounds=rounds,
                about=environment(),
                say=say_aside,
            )

    table = asyncio.run(timed())
    table.write(out)
    errors = f"{table.generator.error:.0%} (generator) and {table.prm.error:.0%} (PRM)"
    say(f"{out}: of batches that the fit did not see the median error is {errors}")

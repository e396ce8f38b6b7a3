"""``ets eval``: strategies over a data set, kept search by search."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from etsearch.cli.progress import ProgressView
from etsearch.cli.settings import read_settings, takes_settings
from etsearch.cli.terminal import complain, make_console, say, stop_code
from etsearch.cluster import ClusterSettings, ray_crew
from etsearch.errors import ConfigError, EtsearchError
from etsearch.evaluation.run.dryrun import describe
from etsearch.evaluation.run.recipe import EXAMPLE, Recipe
from etsearch.evaluation.run.runner import Outcome, dataset_of, evaluate
from etsearch.loop.settings import lay_over
from etsearch.planning.plan import run_hours, setup_of
from etsearch.registry import split

_NO_LIST: list[str] = []


@takes_settings(but=("width", "seed"), default="as the recipe says, else ")
def evaluation(
    target: Annotated[str, typer.Argument(help="A recipe (.yaml), or a data set such as 'minimath:test'.")],
    overrides: Annotated[
        list[str], typer.Argument(metavar="[KEY=VALUE]...", help=f"Values in place of the recipe's: {EXAMPLE}")
    ] = _NO_LIST,
    strategy: Annotated[str, typer.Option(help="Strategies, such as 'best_of_n,beam(keep=4),rebase,ets'.")] = "",
    width: Annotated[str, typer.Option(help="Widths, such as '16,64,256'.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds, such as '0,1,2'.")] = "",
    concurrency: Annotated[str, typer.Option(help="Searches in flight; several with --throughput.")] = "",
    limit: Annotated[int | None, typer.Option(help="Only the first so many problems.")] = None,
    levels: Annotated[str, typer.Option(help="Only problems of these levels, such as '4,5'.")] = "",
    shuffle: Annotated[int | None, typer.Option(help="Shuffle the problems with this seed.")] = None,
    generator: Annotated[str, typer.Option(help="See 'ets generators'.")] = "",
    prm: Annotated[str, typer.Option(help="See 'ets prms'; 'none' for a plain majority of best-of-N.")] = "",
    embedder: Annotated[str, typer.Option(help="What clusters steps.")] = "",
    out: Annotated[str, typer.Option(help="The run's folder; by default runs/NAME.")] = "",
    throughput: Annotated[bool, typer.Option("--throughput", help="One strategy after the other, timed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run, and run nothing.")] = False,
    gpu: Annotated[str, typer.Option(help="With --dry-run: say how long it takes on this card, see 'ets plan'.")] = "",
    price: Annotated[float | None, typer.Option(help="With --gpu: of a card for an hour.")] = None,
    resume_clean: Annotated[
        bool, typer.Option("--resume-clean", help="Half-done searches begin anew; damaged lines are set aside.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run again what failed.")] = False,
    ray: Annotated[
        str, typer.Option(help="Run on a Ray cluster: HOST:PORT, 'auto', or 'local' for one of this machine alone.")
    ] = "",
    ray_workers: Annotated[
        int | None, typer.Option(help="Workers there; by default as many as its nodes have room for.")
    ] = None,
    ray_cpus: Annotated[float | None, typer.Option(help="CPUs of a worker. By default 1.")] = None,
    ray_gpus: Annotated[float | None, typer.Option(help="GPUs of a worker. By default 0.")] = None,
    **settings: Any,
) -> None:
    """Run strategies over a data set and keep every search.

    The same command goes on where a run was stopped, however it was stopped.
    """
    lists = {"widths": width, "seeds": seeds, "concurrency": concurrency}
    given: dict[str, Any] = {key: numbers(key, text) for key, text in lists.items() if text}
    texts = {"generator": generator, "prm": prm, "embedder": embedder, "out": out}
    given |= {key: text for key, text in texts.items() if text}
    given |= {key: value for key, value in (("limit", limit), ("shuffle", shuffle)) if value is not None}
    given |= read_settings(settings)
    if strategy:
        given["strategies"] = split(strategy)
    if levels:
        given["levels"] = [text.strip() for text in levels.split(",")]
    if throughput:
        given["measure"] = "throughput"
    recipe = make_recipe(target, overrides, given)
    cluster = read_cluster(ray, {"workers": ray_workers, "cpus": ray_cpus, "gpus": ray_gpus})
    if (gpu and not dry_run) or (price is not None and not gpu):
        raise ConfigError("--gpu is for --dry-run, which says how long a run takes there, and --price for --gpu")
    if dry_run:
        say(describe(recipe))
        if gpu:
            say(planned(recipe, gpu, price))
        return
    if run(make_console(), recipe, clean=resume_clean, retry_failed=retry_failed, cluster=cluster).num_failed:
        raise typer.Exit(1)


def planned(recipe: Recipe, gpu: str, price: float | None) -> str:
    """A line on how long a recipe takes on a card, simulated, and what that costs."""
    try:
        problems = len(dataset_of(recipe).problems)
    except EtsearchError:
        if not recipe.limit:
            raise
        problems = recipe.limit
    setup = setup_of(recipe, gpu, price=price)
    hours = run_hours(recipe, setup, problems)
    cost = "" if price is None else f", {hours * setup.cards_used * price:,.2f} at {price:g} a card and hour"
    return f"on {setup.in_words()}: {hours:,.1f} hours on {setup.cards_used} cards{cost} (simulated; see 'ets plan')"


def read_cluster(address: str, given: dict[str, Any]) -> ClusterSettings | None:
    """The cluster that the options name; None without an address. Raises ConfigError if one is of no use alone."""
    told = {name: value for name, value in given.items() if value is not None}
    if told and not address:
        raise ConfigError(f"--ray-{next(iter(told))} is for a run on a cluster; give its address with --ray")
    return ClusterSettings(address, **told) if address else None


def run(
    console: Console, recipe: Recipe, *, clean: bool, retry_failed: bool, cluster: ClusterSettings | None = None
) -> Outcome:
    """Runs a recipe, here or on a cluster, under a live view and says what came of it."""
    with ProgressView(console, recipe) as view:
        try:
            outcome = asyncio.run(
                evaluate(
                    recipe,
                    crew=ray_crew(recipe, cluster, view.say) if cluster else None,
                    asked={"arguments": sys.argv[1:]},
                    clean=clean,
                    retry_failed=retry_failed,
                    on_start=view.start,
                    on_progress=view.update,
                )
            )
        except KeyboardInterrupt:
            complain(f"stopped; what was done is in {recipe.folder}, and the same command goes on from there")
            raise typer.Exit(stop_code()) from None
    for notice in outcome.notices:
        console.print(f"[yellow]{escape(notice)}[/]", highlight=False)
    done = f"{outcome.num_done} searches done, {outcome.num_failed} failed: {outcome.path}"
    console.print(escape(done), highlight=False)
    if outcome.num_failed:
        console.print("'--retry-failed' runs the failed ones again", highlight=False)
    return outcome


def make_recipe(target: str, overrides: list[str], given: dict[str, Any]) -> Recipe:
    """The recipe of a file with other values in place of its own, or of a data set and options."""
    if target.endswith((".yaml", ".yml")):
        recipe = Recipe.load(Path(target), overrides)
        return Recipe.of(lay_over(recipe.plain(), given), f"the recipe {target}") if given else recipe
    if overrides:
        raise ConfigError(f"{overrides[0]!r} sets a value of a recipe, and {target!r} is none; use the options")
    if "strategies" not in given:
        raise ConfigError("no strategy is named; give --strategy, such as --strategy best_of_n,rebase,ets")
    name = "".join(c if c.isalnum() else "-" for c in target)
    return Recipe.of({"name": name, "data": target, **given}, "the options")


def numbers(what: str, text: str) -> list[int]:
    """The whole numbers of an option such as '16,64'."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{what} is {text!r}; give whole numbers with commas between them") from None

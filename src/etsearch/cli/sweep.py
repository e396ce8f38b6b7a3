"""``ets sweep``: settings over a grid on validation problems, and the choice among them."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from etsearch.cli.eval import make_recipe, numbers, run
from etsearch.cli.terminal import make_console, say
from etsearch.errors import ConfigError
from etsearch.evaluation.datasets import DATASETS
from etsearch.evaluation.report.results import Results
from etsearch.evaluation.run.dryrun import describe
from etsearch.evaluation.sweep import check_validation, grid_recipe, sweep_points, table, write_sweep
from etsearch.registry import split

_NO_LIST: list[str] = []


def sweep(
    target: Annotated[
        str, typer.Argument(help="A validation set, a recipe (.yaml), or the folder of a run to choose from.")
    ],
    strategy: Annotated[str, typer.Option(help="What is sweep_points.")] = "ets",
    grid: Annotated[
        list[str], typer.Option(help="A setting and its values: 'lambda_b=1,1.25,1.5'; repeatable.")
    ] = _NO_LIST,
    cluster_threshold: Annotated[str, typer.Option(help="Thresholds to sweep, a run for each: '0.05,0.1'.")] = "",
    width: Annotated[str, typer.Option(help="Widths, such as '16,64'.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds, such as '0,1'.")] = "",
    limit: Annotated[int | None, typer.Option(help="Only the first so many problems.")] = None,
    out: Annotated[str, typer.Option(help="The run's folder.")] = "",
    chosen_for: Annotated[str, typer.Option(help="The data set of the recipe that is written.")] = "",
    resume_clean: Annotated[bool, typer.Option("--resume-clean", help="See 'ets eval'.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="See 'ets eval'.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run, and run nothing.")] = False,
) -> None:
    """Run a strategy over a grid of settings beside REBASE, and write the choice as a recipe.

    The rule is the paper's: the largest lambda_b whose accuracy is within 0.2 points of REBASE's, on validation.
    """
    console = make_console()
    if (Path(target) / "run.json").exists():
        if given := [name for name, value in (("--grid", grid), ("--width", width), ("--limit", limit)) if value]:
            raise ConfigError(
                f"{given[0]} goes with a run that is to be made; {target} is made, and is only chosen from"
            )
        _choose(console, Path(target), chosen_for)
        return
    given_values: dict[str, Any] = {"strategies": ["rebase"]}
    given_values |= {k: numbers(k, text) for k, text in (("widths", width), ("seeds", seeds)) if text}
    given_values |= {"limit": limit} if limit is not None else {}
    given_values |= {"out": out} if out else {}
    recipe = make_recipe(target, [], given_values)
    values = dict(_axis(text) for text in grid)
    recipes = []
    for threshold in split(cluster_threshold) if cluster_threshold else [str(recipe.search.cluster_threshold)]:
        folder = f"{recipe.folder}-threshold-{threshold}" if cluster_threshold else str(recipe.folder)
        changed = {**recipe.plain(), "cluster_threshold": threshold, "out": folder}
        recipes.append(grid_recipe(type(recipe).of(changed, "the sweep"), strategy, values))
    num_failed = 0
    for one in recipes:
        if dry_run:
            say(describe(one))
            continue
        num_failed += run(console, one, clean=resume_clean, retry_failed=retry_failed).num_failed
        _choose(console, one.folder, chosen_for)
    if num_failed:
        raise typer.Exit(1)


def _choose(console: Console, path: Path, chosen_for: str) -> None:
    results = Results.read([path])
    data = results.runs[0].recipe.data
    check_validation(data)
    is_ours = DATASETS.parse(data).name in ("minimath", "expressions")
    to_test = data.replace(":validation", ":test") if is_ours else data
    files = write_sweep(results, path / "sweep", chosen_for or to_test)
    for notice in results.runs[0].notices:
        console.print(notice, highlight=False, markup=False)
    console.print(table(sweep_points(results)).markdown("#"), highlight=False, markup=False, soft_wrap=True)
    if not chosen_for and not is_ours:
        console.print("the recipe names the validation set; give the test set with --chosen-for", highlight=False)
    for file in files:
        console.print(str(file), highlight=False, markup=False)


def _axis(text: str) -> tuple[str, list[str]]:
    key, equals, values = text.partition("=")
    if not equals or not values.strip():
        raise ConfigError(f"{text!r} is no axis of a grid; write a setting and its values, such as 'lambda_b=1,1.25'")
    return key.strip(), split(values)

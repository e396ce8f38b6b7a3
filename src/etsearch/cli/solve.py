"""``ets solve``: one problem, one search, or several side by side."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from etsearch import minimath
from etsearch.api import aggregation_named, opened
from etsearch.cli.live import LiveView
from etsearch.cli.show import show, show_comparison
from etsearch.errors import ConfigError, RecordError, UnavailableError
from etsearch.loop import run_search
from etsearch.loop.result import SearchResult
from etsearch.loop.settings import Limits, SearchSettings
from etsearch.loop.state import SearchState
from etsearch.registry import parse, split
from etsearch.strategies import STRATEGIES, Strategy
from etsearch.types import Problem, Sampling

_DEFAULT_LIMITS = Limits()


def solve(
    question: Annotated[str, typer.Argument(help="The problem; '-' reads it from standard input.")] = "",
    example: Annotated[bool, typer.Option("--example", help="Solve a problem of the miniature world.")] = False,
    number: Annotated[int, typer.Option(help=f"Which example, 1 to {minimath.EXAMPLES}.")] = 1,
    strategy: Annotated[str, typer.Option(help="See 'ets strategies'; settings as in 'beam(keep=4)'.")] = "ets",
    compare: Annotated[str, typer.Option(help="Several strategies side by side, such as 'rebase,ets'.")] = "",
    width: Annotated[int, typer.Option(help="Continuations sampled at each depth (N).")] = 16,
    generator: Annotated[str, typer.Option(help="See 'ets engines'.")] = "minimath",
    prm: Annotated[str, typer.Option(help="See 'ets prms'; 'none' for a plain majority of best-of-N.")] = "minimath",
    embedder: Annotated[str, typer.Option(help="What clusters steps; see 'ets embedders'.")] = "lexical",
    lambda_b: Annotated[float | None, typer.Option(help="Weight of the KV-budget term (ETS).")] = None,
    lambda_d: Annotated[float | None, typer.Option(help="Weight of the diversity term (ETS).")] = None,
    kv_budget: Annotated[
        str | None, typer.Option(help="Most KV tokens at any depth, or a share of the engine's cache: '4000', '50%'.")
    ] = None,
    kv_target: Annotated[float | None, typer.Option(help="KV tokens a depth, on average over the search.")] = None,
    balance_temperature: Annotated[float | None, typer.Option(help="T_R of REBASE and ETS.")] = None,
    cluster_threshold: Annotated[float, typer.Option(help="Cosine distance at which clusters are cut.")] = 0.05,
    aggregation: Annotated[str, typer.Option(help="Vote by the rewards' last, min, prod, mean, or majority.")] = "last",
    cut_votes: Annotated[bool, typer.Option(help="Whether a trajectory that a limit cut votes.")] = True,
    merge: Annotated[bool, typer.Option(help="Draws of one step cost once.")] = True,
    early_stop: Annotated[bool, typer.Option(help="Stop once no vote to come can change the answer.")] = True,
    speculate: Annotated[bool, typer.Option(help="Idle places of the engine write ahead.")] = False,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    max_depth: Annotated[int, typer.Option(help="Most steps of a trajectory.")] = _DEFAULT_LIMITS.max_depth,
    max_step_tokens: Annotated[int, typer.Option(help="Most tokens of a step.")] = _DEFAULT_LIMITS.max_step_tokens,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of a trajectory.")] = _DEFAULT_LIMITS.max_tokens,
    state: Annotated[
        Path, typer.Option(help="Where a search is kept if its server stays away; with --resume, gone on from.")
    ] = Path("ets-search.json"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search that was kept.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Search for the answer to one problem, and say what the search cost."""
    problem = _problem(question, number if example else None)
    given = {
        "lambda_b": lambda_b,
        "lambda_d": lambda_d,
        "kv_budget": kv_budget,
        "kv_target": kv_target,
        "balance_temperature": balance_temperature,
    }
    strategies = _strategies(compare or strategy, {k: v for k, v in given.items() if v is not None})
    if not compare and len(strategies) > 1:
        raise ConfigError(f"--strategy takes one strategy, not {strategy!r}; use --compare for several")
    settings = SearchSettings(
        width=width,
        seed=seed,
        aggregation=aggregation_named(aggregation),
        cluster_threshold=cluster_threshold,
        cut_votes=cut_votes,
        merge=merge,
        early_stop=early_stop,
        speculate=speculate,
        sampling=Sampling(temperature=temperature),
        limits=Limits(max_depth, max_step_tokens, max_tokens),
    )
    console = Console(quiet=as_json)
    if example:
        console.print(f"[bold]{problem.question}[/]\n", highlight=False)
    kept = _kept(state, strategies, settings) if resume else None
    try:
        results = asyncio.run(_search(problem, generator, prm, strategies, embedder, settings, console, kept))
    except UnavailableError as error:
        if not compare:
            _keep(error, state, next(iter(strategies)), settings)
        raise
    if as_json:
        _print_json(results, is_comparison=bool(compare))
    elif compare:
        show_comparison(console, results)
    else:
        name, result = next(iter(results.items()))
        show(console, result, name)
    if example:
        console.print(f"[dim]The right answer is {problem.answer}.[/]", highlight=False)
    if any(result.answer is None for result in results.values()):
        raise typer.Exit(1)


def _problem(question: str, example: int | None) -> Problem:
    if example is not None:
        if question:
            raise ConfigError("give a question or --example, not both")
        return minimath.example(example)
    try:
        text = sys.stdin.read() if question == "-" else question
    except UnicodeDecodeError as error:
        raise ConfigError(f"standard input is no text in {error.encoding}: {error.reason}") from error
    if not text.strip():
        raise ConfigError("the question is empty; give the text of a problem, '-' for standard input, or --example")
    return Problem(text.strip())


def _strategies(names: str, given: dict[str, Any]) -> dict[str, Strategy]:
    """The strategies of a list such as ``beam(keep=4),ets``; each takes those of the given settings that it has."""
    specifications = split(names)
    taken = {s: [k for k in given if k in STRATEGIES.entry(parse(s).name).parameters] for s in specifications}
    for key in given:
        if not any(key in keys for keys in taken.values()):
            raise ConfigError(f"--{key.replace('_', '-')} is no setting of {names}; see 'ets strategies'")
    return {s: STRATEGIES.create(s, {k: given[k] for k in taken[s]}) for s in specifications}


async def _search(
    problem: Problem,
    generator: str,
    prm: str,
    strategies: dict[str, Strategy],
    embedder: str,
    settings: SearchSettings,
    console: Console,
    kept: SearchState | None,
) -> dict[str, SearchResult]:
    results = {}
    async with opened(generator, None if prm == "none" else prm, embedder) as (writer, judge, placer):
        for name, strategy in strategies.items():
            with LiveView(console, f"{name}, width {settings.width}") as view:
                results[name] = await run_search(
                    problem,
                    generator=writer,
                    reward_model=judge,
                    strategy=strategy,
                    settings=settings,
                    embedder=placer,
                    on_event=view.listen,
                    resume=kept,
                )
    return results


def _keep(error: UnavailableError, path: Path, strategy: str, settings: SearchSettings) -> None:
    """Writes the search that a server's absence ended, and says so in the error."""
    if isinstance(error.state, SearchState) and error.state.depths:
        asked = {"strategy": strategy, "width": settings.width, "seed": settings.seed}
        path.write_text(json.dumps({**asked, "state": error.state.to_dict()}), encoding="utf-8")
        depths = len(error.state.depths)
        error.args = (f"{error}. The search up to depth {depths} is in {path}: the same command with --resume goes on",)


def _kept(path: Path, strategies: dict[str, Strategy], settings: SearchSettings) -> SearchState:
    """The search that was kept, which must be the one that is asked for."""
    if len(strategies) > 1:
        raise ConfigError("--resume goes on with one search; --compare runs several")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = {key: values[key] for key in ("strategy", "width", "seed")}
        state = SearchState.from_dict(values["state"])
    except (OSError, ValueError, TypeError, KeyError, RecordError) as error:
        raise ConfigError(f"there is no search to go on with in {path}: {error}; give its file with --state") from error
    asked = {"strategy": next(iter(strategies)), "width": settings.width, "seed": settings.seed}
    if found != asked:
        raise ConfigError(f"the search in {path} is another one: {found}, not {asked}; give what it was begun with")
    return state


def _print_json(results: dict[str, SearchResult], *, is_comparison: bool) -> None:
    objects = [{"strategy": name, **result.to_dict()} for name, result in results.items()]
    typer.echo(json.dumps({"searches": objects} if is_comparison else objects[0], ensure_ascii=False))

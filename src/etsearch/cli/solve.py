"""``ets solve``: one problem, one search, or several side by side."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from etsearch import minimath
from etsearch.answers import Aggregation
from etsearch.api import open_parts
from etsearch.boundary.plain import write_json
from etsearch.cli.kept import KeptSearch
from etsearch.cli.live import LiveView
from etsearch.cli.messages import read_messages
from etsearch.cli.settings import read_settings, takes_settings
from etsearch.cli.show import has_answer, show, show_comparison
from etsearch.cli.terminal import complain, make_console, stop_code
from etsearch.embedders import EMBEDDERS
from etsearch.errors import ConfigError, UnavailableError
from etsearch.generators import GENERATORS
from etsearch.loop.events import Event, Selected
from etsearch.loop.result import SearchResult
from etsearch.loop.search import search
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.prms import REWARD_MODELS
from etsearch.registry import Registry, Source, sources, split
from etsearch.strategies import STRATEGIES, Strategy
from etsearch.types import Problem


@takes_settings()
def solve(
    question: Annotated[str, typer.Argument(help="The problem; '-' reads it from standard input.")] = "",
    example: Annotated[bool, typer.Option("--example", help="Solve a problem of the miniature world.")] = False,
    messages: Annotated[
        Path | None,
        typer.Option(
            help="A conversation in place of the question: a JSON list of role and content, the question last."
        ),
    ] = None,
    number: Annotated[int, typer.Option(help=f"Which example, 1 to {minimath.EXAMPLES}.")] = 1,
    strategy: Annotated[str, typer.Option(help="See 'ets strategies'; settings as in 'beam(keep=4)'.")] = "ets",
    compare: Annotated[str, typer.Option(help="Several strategies side by side, such as 'rebase,ets'.")] = "",
    generator: Annotated[str, typer.Option(help="See 'ets generators'.")] = "minimath",
    prm: Annotated[str, typer.Option(help="See 'ets prms'; 'none' for a plain majority of best-of-N.")] = "minimath",
    embedder: Annotated[str, typer.Option(help="What clusters steps; see 'ets embedders'.")] = "lexical",
    lambda_b: Annotated[float | None, typer.Option(help="Weight of the KV-budget term (ETS).")] = None,
    lambda_d: Annotated[float | None, typer.Option(help="Weight of the diversity term (ETS).")] = None,
    kv_budget: Annotated[
        str | None, typer.Option(help="Most KV tokens at any depth, or a share of the engine's cache: '4000', '50%'.")
    ] = None,
    kv_target: Annotated[float | None, typer.Option(help="KV tokens a depth, on average over the search.")] = None,
    balance_temperature: Annotated[float | None, typer.Option(help="T_R of REBASE and ETS.")] = None,
    state: Annotated[
        Path, typer.Option(help="Where a search is kept if its server stays away; with --resume, gone on from.")
    ] = Path("ets-search.json"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search that was kept.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    **settings: Any,
) -> None:
    """Search for the answer to one problem, and say what the search cost."""
    problem = _problem(question, number if example else None, messages)
    given = {
        "lambda_b": lambda_b,
        "lambda_d": lambda_d,
        "kv_budget": kv_budget,
        "kv_target": kv_target,
        "balance_temperature": balance_temperature,
    }
    names = split(compare or strategy)
    strategies = _strategies(names, {k: v for k, v in given.items() if v is not None})
    if not compare and len(strategies) > 1:
        raise ConfigError(f"--strategy takes one strategy, not {strategy!r}; use --compare for several")
    asked = SearchSettings.of(read_settings(settings))
    console = make_console(quiet=as_json)
    if example:
        console.print(f"[bold]{problem.question}[/]\n", highlight=False)
    kept = KeptSearch(state, names[0], asked, _sources(generator, prm, embedder, names))
    resumed = kept.read() if resume else None
    if resume and len(names) > 1:
        raise ConfigError("--resume goes on with one search; --compare runs several")
    with _keeping(None if compare else kept, resumed) as last:
        results = asyncio.run(_search(problem, generator, prm, strategies, embedder, asked, console, last))
    if as_json:
        _print_json(results, is_comparison=bool(compare))
    elif compare:
        show_comparison(console, results)
    else:
        name, result = next(iter(results.items()))
        show(console, result, name)
    if example:
        console.print(f"[dim]The right answer is {problem.answer}.[/]", highlight=False)
    if not all(_is_answered(result, asked) for result in results.values()):
        raise typer.Exit(1)


def _is_answered(result: SearchResult, asked: SearchSettings) -> bool:
    """Whether the search gave what was asked for: an answer that is stated, or with best_reward a text."""
    wants_text = asked.aggregation is Aggregation.BEST_REWARD
    return result.answer is not None or (wants_text and has_answer(result))


def _problem(question: str, example: int | None, messages: Path | None) -> Problem:
    if sum((bool(question), example is not None, messages is not None)) > 1:
        raise ConfigError("give a question, --messages or --example, and only one of them")
    if example is not None:
        return minimath.example(example)
    if messages is not None:
        return read_messages(messages)
    try:
        text = sys.stdin.read() if question == "-" else question
    except UnicodeDecodeError as error:
        raise ConfigError(f"standard input is no text in {error.encoding}: {error.reason}") from error
    if not text.strip():
        raise ConfigError(
            "the question is empty; give the text of a problem, '-' for standard input, --messages, or --example"
        )
    return Problem(text.strip())


def _strategies(names: list[str], given: dict[str, Any]) -> dict[str, Strategy]:
    """The strategies of these names; each takes those of the given settings that it has."""
    settings_of = {name: STRATEGIES.entry(STRATEGIES.parse(name).name).settings for name in names}
    for key in given:
        if not any(key in known for known in settings_of.values()):
            raise ConfigError(f"--{key.replace('_', '-')} is no setting of {', '.join(names)}; see 'ets strategies'")
    return {
        name: STRATEGIES.create(name, {key: value for key, value in given.items() if key in known})
        for name, known in settings_of.items()
    }


def _sources(generator: str, prm: str, embedder: str, strategies: list[str]) -> dict[str, Source]:
    """The files of the parts that are named by their place."""
    named: list[tuple[Registry[Any], str]] = [
        (GENERATORS, generator),
        (REWARD_MODELS, prm),
        (EMBEDDERS, embedder),
        *((STRATEGIES, s) for s in strategies),
    ]
    return sources((registry, text) for registry, text in named if text != "none")


@dataclass
class _Last:
    """The state of the search after the last depth that is over."""

    state: SearchState | None

    def listen(self, event: Event) -> None:
        if isinstance(event, Selected) and event.state.expansions:
            self.state = event.state.before(event.state.mark())


@contextmanager
def _keeping(kept: KeptSearch | None, resumed: SearchState | None) -> Iterator[_Last]:
    """Keeps a search that its server or its user ends too early, and says where."""
    last = _Last(resumed)
    try:
        yield last
    except UnavailableError as error:
        if kept and (told := kept.write(error.state)):
            error.args = (f"{error}. {told}",)
        raise
    except KeyboardInterrupt:
        complain(f"stopped. {kept.write(last.state) if kept else ''}".strip())
        raise typer.Exit(stop_code()) from None


async def _search(
    problem: Problem,
    generator: str,
    prm: str,
    strategies: dict[str, Strategy],
    embedder: str,
    settings: SearchSettings,
    console: Console,
    last: "_Last",
) -> dict[str, SearchResult]:
    results, resumed = {}, last.state
    first = next(iter(strategies.values()))
    async with open_parts(generator, None if prm == "none" else prm, first, embedder) as parts:
        for name, strategy in strategies.items():
            with LiveView(console, f"{name}, width {settings.width}") as view:

                def listen(event: Event, view: LiveView = view) -> None:
                    last.listen(event)
                    view.listen(event)

                chosen = parts.with_strategy(strategy)
                results[name] = await search(problem, chosen, settings, on_event=listen, resume=resumed)
    return results


def _print_json(results: dict[str, SearchResult], *, is_comparison: bool) -> None:
    objects = [{"strategy": name, **result.to_dict()} for name, result in results.items()]
    typer.echo(write_json({"searches": objects} if is_comparison else objects[0]))

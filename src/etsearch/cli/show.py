"""How a search result looks on a terminal."""

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from etsearch.loop.result import SearchResult
from etsearch.types import EndReason, EngineFigures

_MAX_VOTES = 5


def show(console: Console, result: SearchResult, name: str) -> None:
    """Prints the answer, the votes if there are any, the winning steps and what the search cost."""
    if result.answer is not None:
        console.print(f"[bold green]Answer: {escape(result.answer)}[/]")
    elif has_answer(result):
        console.print("[bold yellow]No answer is stated.[/] This is the best trajectory:")
    else:
        console.print(f"[bold red]No answer.[/] {result.stop_reason.message}")
    if has_answer(result):
        _show_votes(console, result)
        _show_steps(console, result)
    is_cut = any(t.end_reason is EndReason.LENGTH for t in result.trajectories)
    for note in result.notes if is_cut else ():
        console.print(f"[yellow]{escape(note)}[/]", highlight=False)
    for failure in result.failures[:3]:
        console.print(f"[yellow]failed: {failure.request} of node {failure.node}: {escape(failure.reason)}[/]")
    console.print()
    console.print(cost_table({name: result}))
    console.print(f"[dim]{result.stop_reason.message}[/]")


def has_answer(result: SearchResult) -> bool:
    """Whether a trajectory that did not fail is the answer, be it one that states none."""
    return result.best is not None and result.best.end_reason is not EndReason.FAILED


def _show_votes(console: Console, result: SearchResult) -> None:
    if not result.votes:
        return
    total = sum(vote.weight for vote in result.votes) or 1.0
    table = Table("vote", "weight", "trajectories", box=None, pad_edge=False, header_style="bold")
    for vote in result.votes[:_MAX_VOTES]:
        table.add_row(escape(vote.answer), f"{vote.weight:.2f} ({vote.weight / total:.0%})", str(vote.count))
    if len(result.votes) > _MAX_VOTES:
        table.add_row("…", f"{sum(v.weight for v in result.votes[_MAX_VOTES:]):.2f}", "")
    console.print(table)


def _show_steps(console: Console, result: SearchResult) -> None:
    best = result.best
    if best is None:
        return
    table = Table("reward", "winning steps", box=None, pad_edge=False, header_style="bold")
    for text, reward in zip(best.steps, best.rewards, strict=True):
        table.add_row("–" if math.isnan(reward) else f"{reward:.3f}", escape(text.strip()))
    console.print()
    console.print(table)


def cost_table(results: Mapping[str, SearchResult]) -> Table:
    """What searches cost, a column each."""
    table = Table("cost", box=None, pad_edge=False, header_style="bold")
    for name in results:
        table.add_column(name, justify="right")
    for label, values in _cost_rows(list(results.values())):
        table.add_row(label, *values)
    return table


def _cost_rows(results: Sequence[SearchResult]) -> list[tuple[str, list[str]]]:
    usages = [r.usage for r in results]
    ratios = [u.kv_tokens_unshared / u.kv_tokens if u.kv_tokens else 1.0 for u in usages]
    busy = ("generate", "score", "select")
    return [
        ("continuations sampled", [f"{u.num_calls:,}" for u in usages]),
        ("tokens generated", [f"{u.generated_tokens + u.dropped_tokens:,}" for u in usages]),
        ("tokens read by the PRM", [f"{u.prm_tokens + u.dropped_prm_tokens:,}" for u in usages]),
        ("KV tokens, summed over depths", [f"{u.kv_tokens:,}" for u in usages]),
        ("… if nothing were shared", [f"{u.kv_tokens_unshared:,} ({x:.1f}×)" for u, x in zip(usages, ratios)]),  # noqa: B905
        ("KV tokens at the peak", [f"{u.peak_kv_tokens:,}" for u in usages]),
        *_engine_rows([r.engine for r in results]),
        *((f"seconds: {phase}", [f"{u.seconds[phase]:.2f}" for u in usages]) for phase in busy),
        ("seconds in all", [f"{u.seconds['total']:.2f}" for u in usages]),
    ]


def _engine_rows(engines: Sequence[EngineFigures]) -> list[tuple[str, list[str]]]:
    """What the engine measured, as far as any of the searches has it; of the cache, why it has not."""
    rows: dict[str, list[float | str | None]] = {
        "… as the engine measured it": [_peak(e) for e in engines],
        "prefix tokens found in its cache": [_share(e.prefix_hit_tokens, e.prefix_query_tokens) for e in engines],
        "preemptions": [e.num_preemptions for e in engines],
    }
    return [
        (label, ["–" if v is None else v if isinstance(v, str) else f"{v:,.0f}" for v in values])
        for label, values in rows.items()
        if any(v is not None for v in values)
    ]


def _peak(engine: EngineFigures) -> float | str | None:
    """The peak of the cache, or why there is none: no look showed it in use. None where the engine tells no use."""
    if engine.peak_cache_tokens is None and engine.cache_capacity_tokens is not None:
        return "too short or small to see"
    return engine.peak_cache_tokens


def _share(part: int | None, whole: int | None) -> str | None:
    return f"{part:,} of {whole:,}" if part is not None and whole else None


def show_comparison(console: Console, results: Mapping[str, SearchResult]) -> None:
    """Prints several searches of one problem side by side."""
    table = Table("", box=None, pad_edge=False, header_style="bold")
    for name in results:
        table.add_column(name, justify="right")
    table.add_row("answer", *(escape(r.answer or "none") for r in results.values()))
    table.add_row("its share of the votes", *(_winner_share(r) for r in results.values()))
    for label, values in _cost_rows(list(results.values())):
        table.add_row(label, *values)
    console.print(table)


def _winner_share(result: SearchResult) -> str:
    total = sum(vote.weight for vote in result.votes)
    return f"{result.votes[0].weight / total:.0%}" if total else "–"

"""The part of docs/results.md on what goes beyond the paper: its tables, and the figures in its prose."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from etsearch.evaluation.report.results import Cell, Results
from etsearch.evaluation.report.statistics import mean
from etsearch.evaluation.report.tables import gains, points, share_wasted, times

TITLES = {
    "gains": "Width 64: each gain alone, and together",
    "gains-256": "Width 256, with a cache of 4,096 tokens",
    "speculation": "One search alone, with and without writing ahead",
}
RUNS = tuple(TITLES)
SETTINGS = {
    "plain": "rebase, as its paper has it",
    "stop": "rebase, early stop alone",
    "merged": "rebase, merged alone",
    "both": "rebase",
    "paper": "ets, as its paper has it",
    "ets": "ets",
    "tokens": "ets, cost in tokens",
    "budget": "ets, a budget",
    "target": "ets, a target",
    "together": "together",
}


def tables(runs: Mapping[str, Results]) -> Iterator[str]:
    """One table a run; what must be known to read them stands over the first."""
    for number, (name, results) in enumerate(runs.items()):
        table = replace(gains(results), title=TITLES[name])
        yield (table if number == 0 else replace(table, note="")).markdown("###")


def figures(runs: Mapping[str, Results]) -> dict[str, str]:
    """``at64_merged_kv`` and the like: a setting against the first one of its run; ``ahead_16``: of a width."""
    found = {}
    for prefix, name in (("at64", "gains"), ("at256", "gains-256")):
        results = runs[name]
        first = results.timed_cells()[0]
        for slug, label in SETTINGS.items():
            cell = first._replace(strategy=label)
            if cell in results.cells:
                found |= {f"{prefix}_{slug}_{k}": v for k, v in _figures(results, cell, first).items()}
    for width in sorted({cell.width for cell in runs["speculation"].timed_cells()}):
        found[f"ahead_{width}"] = _ahead(runs["speculation"], width)
    return found


def _figures(results: Results, cell: Cell, first: Cell) -> dict[str, str]:
    written = results.reduction(cell, first, "kv_tokens_written")
    return {
        "accuracy": f"{100 * results.accuracy(cell).value:.1f}",
        "points": points(results.gain(cell, first)),
        "kv": times(results.reduction(cell, first)),
        "written": f"{written.value:.2f}×",
        "rate": f"{results.speedup(cell, first):.2f}×",
        **{k: f"{mean(results.cost(cell, f'num_{k}')).value:,.0f}" for k in ("requests", "scores", "calls")},
    }


def _ahead(results: Results, width: int) -> str:
    parts = []
    for cell in (c for c in results.timed_cells() if c.width == width and c.strategy.endswith(", written ahead")):
        plain = cell._replace(strategy=cell.strategy.removesuffix(", written ahead"))
        seconds = [mean(results.values(c, lambda r: r.seconds["total"])).value for c in (cell, plain)]
        parts.append(
            f"`{plain.strategy}` {seconds[0] / seconds[1]:.2f} times as long, {share_wasted(results, cell):.0%} wasted"
        )
    return ", ".join(parts)

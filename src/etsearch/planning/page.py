"""A plan as a table, and as one HTML page with plots. The page needs the extra ``report``."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from etsearch.boundary.files import write_whole
from etsearch.evaluation.report.pages import page
from etsearch.evaluation.report.plots import COLORS, pyplot
from etsearch.evaluation.report.tables import Table
from etsearch.planning.plan import Plan, PlannedArm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PARTS: Final = ("weights", "KV", "arithmetic", "overhead", "again")


def best_table(plan: Plan) -> Table:
    """Every card, strategy and width at its best number of searches in flight."""
    has_price = any(arm.price is not None for arm in plan.arms)
    header = ["card", "strategy", "width", "in flight", "problems/h", "vs first", "latency s", "p95", "step ms"]
    header += ["weights", "KV", "arithmetic", "again", "PRM busy", "waiting", "KV in use", "cache", "preempted"]
    header += ["hours"] * (plan.num_problems is not None) + ["price"] * has_price
    best = plan.best()
    rows = []
    for arm in best:
        first = next(other for other in best if (other.card, other.width) == (arm.card, arm.width))
        rows.append(_row(arm, first, plan.num_problems, has_price=has_price))
    note = (
        "Shares are of the engine's time: reading weights, reading KV, arithmetic beyond both, and what of all of it "
        "went to tokens that had been computed before. PRM busy: a share of the run. Waiting: sequences. KV in tokens."
    )
    return Table("Simulated, at the best number of searches in flight", tuple(header), rows, note)


def all_table(plan: Plan) -> Table:
    """Problems an hour by searches in flight."""
    flights = sorted({arm.in_flight for arm in plan.arms})
    by_arm: dict[tuple[str, str, int], dict[int, PlannedArm]] = {}
    for arm in plan.arms:
        by_arm.setdefault((arm.card, arm.strategy, arm.width), {})[arm.in_flight] = arm
    rows = [
        (card, strategy, str(width), *(f"{arms[n].run.per_hour:,.0f}" if n in arms else "–" for n in flights))
        for (card, strategy, width), arms in by_arm.items()
    ]
    return Table("Problems an hour, by searches in flight", ("card", "strategy", "width", *map(str, flights)), rows)


def _row(arm: PlannedArm, first: PlannedArm, problems: int | None, *, has_price: bool) -> tuple[str, ...]:
    run, time = arm.run, arm.run.time
    total = time.total or 1.0
    row = [
        arm.card,
        arm.strategy,
        str(arm.width),
        str(arm.in_flight),
        f"{run.per_hour:,.0f}",
        f"{run.per_hour / first.run.per_hour:.2f}×",
        f"{sum(run.latencies) / len(run.latencies):,.0f}",
        f"{run.latency(0.95):,.0f}",
        f"{1000 * total / run.counts.num_steps:.1f}",
        *(f"{part / total:.0%}" for part in (time.weights, time.kv, time.arithmetic, run.recompute_s)),
        f"{run.prm_s / run.seconds:.0%}",
        f"{run.waiting_seconds / run.seconds:,.0f}",
        f"{run.mean_kv:,.0f}",
        f"{run.cache_tokens:,}",
        f"{run.counts.num_preemptions:,}",
    ]
    if problems is not None:
        row.append(f"{problems / run.per_hour:,.1f}")
    if has_price:
        each = 0.0 if arm.price is None else arm.price / 1000
        row.append(f"{each:.3f} each" if problems is None else f"{each * problems:,.2f}")
    return tuple(row)


def write_page(plan: Plan, about: Sequence[str], path: Path) -> None:
    """Writes the page.

    Args:
        plan: what is shown.
        about: what was planned, a line each.
        path: of the page.

    Raises:
        MissingDependencyError: the extra ``report`` is not installed.
    """
    images = {f"{name}.png": _png(draw(plan)) for name, draw in _PLOTS.items()}
    shown = [f"![{name.replace('-', ' ')}]({name}.png)" for name in _PLOTS]
    parts = ["# What it will cost", "\n".join(f"- {line}" for line in about), best_table(plan).markdown()]
    parts += [shown[0], shown[1], all_table(plan).markdown(), shown[2], "## How far this can be trusted"]
    parts.append("\n".join(f"- {line}" for line in plan.trust))
    write_whole(path, page("\n\n".join(parts), images).encode())


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, bbox_inches="tight")
    pyplot().close(figure)
    return content.getvalue()


def _name(arm: PlannedArm, plan: Plan) -> str:
    several = {other.card for other in plan.arms}
    card = f"{arm.card}, " if len(several) > 1 else ""
    return f"{card}{arm.strategy} @ {arm.width}"


def _throughput(plan: Plan) -> "Figure":
    """Problems an hour at the best number in flight."""
    best = plan.best()
    figure, ax = pyplot().subplots(figsize=(9, 0.7 + 0.34 * len(best)))
    names = [_name(arm, plan) for arm in best]
    ax.barh(names, [arm.run.per_hour for arm in best], color=COLORS[0])
    for place, arm in enumerate(best):
        ax.text(arm.run.per_hour, place, f" {arm.run.per_hour:,.0f} with {arm.in_flight} in flight", va="center")
    ax.invert_yaxis()
    ax.margins(x=0.25)
    ax.set_xlabel("problems an hour (simulated)")
    return cast("Figure", figure)


def _time(plan: Plan) -> "Figure":
    """Where the engine's time goes, seconds a search."""
    best = plan.best()
    figure, ax = pyplot().subplots(figsize=(9, 1.0 + 0.34 * len(best)))
    names = [_name(arm, plan) for arm in best]
    left = [0.0] * len(best)
    for place, part in enumerate(_PARTS):
        values = [_seconds(arm)[part] for arm in best]
        ax.barh(names, values, left=left, color=COLORS[place], label=part)
        left = [a + b for a, b in zip(left, values, strict=True)]
    ax.invert_yaxis()
    ax.set_xlabel("engine's seconds a search (simulated); 'again' is what had been computed before")
    ax.legend(fontsize=8, ncols=len(_PARTS), loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False)
    return cast("Figure", figure)


def _seconds(arm: PlannedArm) -> Mapping[str, float]:
    """Seconds a search by part, with what was computed again apart from the rest."""
    run, count = arm.run, len(arm.run.latencies)
    whole = 1 - run.recompute_s / run.time.total if run.time.total else 1.0
    time = run.time
    parts = dict(zip(_PARTS, (time.weights, time.kv, time.arithmetic, time.overhead), strict=False))
    return {**{name: whole * part / count for name, part in parts.items()}, "again": run.recompute_s / count}


def _memory(plan: Plan) -> "Figure":
    """KV tokens in use over time."""
    figure, ax = pyplot().subplots(figsize=(9, 4.2))
    best = plan.best()[: len(COLORS)]
    for place, arm in enumerate(best):
        line = arm.run.timeline
        step = max(1, len(line) // 400)
        moments, tokens = zip(*line[::step], strict=True)
        ax.plot(moments, tokens, color=COLORS[place], linewidth=1, label=_name(arm, plan))
    for cache in {arm.run.cache_tokens for arm in best}:
        ax.axhline(cache, color="#000000", linewidth=0.8, linestyle=":")
    ax.set_xlabel("seconds (simulated)")
    ax.set_ylabel("KV tokens in use; dotted: what the cache holds")
    ax.legend(fontsize=8)
    ax.grid(visible=True, alpha=0.25)
    return cast("Figure", figure)


_PLOTS: Final[Mapping[str, Callable[[Plan], "Figure"]]] = {
    "problems-an-hour": _throughput,
    "where-the-time-goes": _time,
    "memory": _memory,
}

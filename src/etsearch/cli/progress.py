"""The live table of a run; plain lines where the output is no terminal."""

import time
from collections import defaultdict
from typing import Final

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from etsearch.cli.live import TerminalView
from etsearch.evaluation.run.folder import RunWriter
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.record import SearchRecord
from etsearch.evaluation.run.runner import Progress

LINE_EVERY_S: Final = 15.0
"""Pause between two plain lines."""


class ProgressView(TerminalView):
    """Shows how far a run is."""

    def __init__(self, console: Console, recipe: Recipe) -> None:
        self._console, self._recipe = console, recipe
        self._last_line = 0.0
        super().__init__(console, refresh_per_second=4)

    def start(self, writer: RunWriter) -> None:
        """Says where the run is and what is there already."""
        for notice in writer.notices:
            self.say(notice)
        writer.notices.clear()
        if writer.records:
            self._console.print(f"{writer.path}: {len(writer.records)} searches are there already", highlight=False)

    def say(self, notice: str) -> None:
        """Says what a person should know at once."""
        self._console.print(f"[yellow]{escape(notice)}[/]", highlight=False)

    def update(self, progress: Progress) -> None:
        """Takes the state of the run after a change."""
        if self._live:
            self._live.update(self.render(progress))
            return
        now = time.monotonic()
        if now - self._last_line >= LINE_EVERY_S or progress.done == progress.total:
            self._last_line = now
            self._console.print(_line(progress), highlight=False)

    def render(self, progress: Progress) -> Group:
        """What the terminal shows now."""
        table = Table("strategy", "width", "done", "failed", "right so far", "KV tokens", box=None, header_style="bold")
        by_cell: dict[tuple[int, str], list[SearchRecord]] = defaultdict(list)
        for record in progress.records.values():
            by_cell[record.width, record.strategy].append(record)
        for cell in self._recipe.arms():
            records = by_cell[cell.width, cell.label]
            done = [r for r in records if r.status == "done"]
            right = sum(r.right["corrected"] for r in done) / len(done) if done else None
            table.add_row(
                escape(cell.label),
                str(cell.width),
                str(len(done)),
                str(len(records) - len(done)),
                "–" if right is None else f"{right:.1%}",
                f"{sum(r.usage['kv_tokens'] for r in done) / len(done):,.0f}" if done else "–",
            )
        shown: list[Table | Text] = [table, Text(_line(progress), style="dim")]
        if progress.nodes:
            nodes = Table("node", "workers", "in flight", "searches done", box=None, header_style="bold")
            for node in progress.nodes:
                counts = (node.workers, node.in_flight, node.searches)
                nodes.add_row(escape(node.name), *map(str, counts))
            shown.append(nodes)
        return Group(*shown)


def _line(progress: Progress) -> str:
    done = progress.done
    rate = progress.searches / progress.seconds if progress.seconds > 0 else 0.0
    left = (progress.total - done) / rate if rate > 0 else None
    parts = [
        f"{done:,} of {progress.total:,} searches",
        f"{60 * rate:.1f} a minute",
        "time left unknown" if left is None else f"{_duration(left)} left",
        f"{progress.tokens / max(progress.seconds, 1e-9):,.0f} tokens a second",
    ]
    if progress.cache_use is not None:
        parts.append(f"KV cache {progress.cache_use:.1%} in use")
    if progress.nodes:
        parts.append(", ".join(f"{n.name}: {n.workers} workers, {n.searches} done" for n in progress.nodes))
    return "; ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

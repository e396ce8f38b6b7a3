"""The live view of a search on a terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from etsearch.loop.events import Completed, Event, Expanded, Scored, Selected

_LINES_OF_BEST = 8


class TerminalView:
    """What a terminal shows while something goes on; nothing where the output is none."""

    def __init__(self, console: Console, refresh_per_second: float) -> None:
        live = Live(console=console, transient=True, refresh_per_second=refresh_per_second)
        self._live = live if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()


class LiveView(TerminalView):
    """Shows a search depth by depth while it runs; does nothing where the output is no terminal."""

    def __init__(self, console: Console, title: str) -> None:
        self._title = title
        self._rows: list[tuple[str, ...]] = []
        self._now = [0, 0, 0, 0]
        """Of the depth under way: its number, steps written, steps scored, trajectories completed so far."""
        self._best = ""
        super().__init__(console, refresh_per_second=8)

    def listen(self, event: Event) -> None:
        """Takes one event of the search."""
        match event:
            case Expanded(depth=depth, continuations=continuations):
                if depth != self._now[0]:
                    self._now[:3] = [depth, 0, 0]
                self._now[1] += len(continuations)
            case Scored(count=count):
                self._now[2] += count
            case Completed():
                self._now[3] += 1
            case Selected():
                self._add(event)
        if self._live:
            self._live.update(self.render())

    def _add(self, event: Selected) -> None:
        summary = event.summary
        counts = (summary.depth, len(summary.nodes), summary.num_kept, summary.num_clusters, summary.num_completed)
        self._rows.append((*("–" if c is None else f"{c:,}" for c in counts), f"{summary.kv_tokens:,}"))
        self._best = event.best_text or self._best

    def render(self) -> Group:
        """What the terminal shows now."""
        table = Table(title=self._title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for header in ("depth", "frontier", "kept", "clusters", "completed", "KV tokens"):
            table.add_column(header, justify="right")
        for row in self._rows:
            table.add_row(*row)
        depth, written, scored, completed = self._now
        now = f"depth {depth}: {written} steps written, {scored} scored; {completed} trajectories completed"
        best = "\n".join(self._best.strip().splitlines()[-_LINES_OF_BEST:])
        return Group(table, Text(now, style="dim"), Text(best, style="cyan"))

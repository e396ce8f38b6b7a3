"""``ets view``: recorded searches as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from etsearch.boundary.files import write_whole
from etsearch.cli.terminal import say, say_aside
from etsearch.errors import RecordError
from etsearch.evaluation.run.folder import of_problem, read_run, read_tree
from etsearch.viewer import make_page, to_view

_MOST = 24
"""Searches of one page."""


def view(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    problem: Annotated[str, typer.Argument(help="Id of a problem, or its end; by default the first.")] = "",
    strategy: Annotated[str, typer.Option(help="Only this strategy.")] = "",
    width: Annotated[int | None, typer.Option(help="Only this width.")] = None,
    seed: Annotated[int | None, typer.Option(help="Only this seed.")] = None,
    out: Annotated[Path | None, typer.Option(help="The page; by default RUN/view.html.")] = None,
) -> None:
    """Write one HTML page, which needs no network, with the searches of a problem."""
    read = read_run(run)
    for notice in read.notices:
        say_aside(notice)
    records = read.with_trees(strategy, width, seed)
    chosen = of_problem(records, problem)
    if not chosen:
        known = ", ".join(list(dict.fromkeys(r.problem for r in records))[:8]) or "none"
        raise RecordError(f"{run} holds no such search of {problem or 'any problem'}; problems there: {known} …")
    searches = []
    for record in chosen[:_MOST]:
        stored = read_tree(run, record.key)
        in_flight = f", {record.in_flight} in flight" if record.in_flight else ""
        title = f"{record.strategy}, width {record.width}, seed {record.seed}{in_flight}: {record.problem}"
        searches.append(
            to_view(
                title, stored.state, read.settings(record), stored.stop_reason, record.gold, record.right["corrected"]
            )
        )
    path = out or run / "view.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, make_page(searches).encode())
    if len(chosen) > _MOST:
        say(f"{_MOST} of {len(chosen)} searches; choose with --strategy, --width or --seed")
    say(path)

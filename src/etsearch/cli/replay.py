"""``ets replay``: another strategy on recorded trees."""

import asyncio
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from etsearch.cli.terminal import make_console, say_aside
from etsearch.errors import RecordError
from etsearch.evaluation.replay import ReplayedDepth, open_embedder, replay_tree
from etsearch.evaluation.run.folder import Run, first_problems, read_run, read_tree
from etsearch.evaluation.run.record import SearchRecord
from etsearch.strategies import STRATEGIES


def replay(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    strategy: Annotated[str, typer.Option(help="What is asked, such as 'ets(lambda_b=1.5)'.")],
    of: Annotated[str, typer.Option(help="Whose trees, such as 'rebase'; by default all.")] = "",
    width: Annotated[int | None, typer.Option(help="Only trees of this width.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the trees of the first so many problems.")] = None,
) -> None:
    """Say what another strategy would have kept at each depth of the recorded trees; no model is run."""
    read = read_run(run)
    for notice in read.notices:
        say_aside(notice)
    STRATEGIES.create(strategy)
    records = first_problems(read.with_trees(of, width), limit)
    if not records:
        raise RecordError(f"{run} holds no such tree; see what it holds with 'ets report {run}'")
    depths = asyncio.run(_replay(read, records, strategy))
    table = Table(
        box=None, header_style="bold", title=f"{strategy} on {len(records)} recorded trees", title_justify="left"
    )
    for name in ("depth", "trees", "frontier", "kept", "kept then", "in both", "KV kept", "KV kept then", "ms"):
        table.add_column(name, justify="right")
    for number in sorted({d.depth for d in depths}):
        table.add_row(str(number), *_row([d for d in depths if d.depth == number]))
    table.add_row("all", *_row(depths), style="bold")
    make_console().print(table)


def _row(depths: list[ReplayedDepth]) -> list[str]:
    names = ("num_open", "kept", "kept_then", "shared", "kv_tokens", "kv_tokens_then")
    means = [f"{np.mean([getattr(d, name) for d in depths]):,.1f}" for name in names]
    return [str(len(depths)), *means, f"{1000 * np.mean([d.seconds for d in depths]):.2f}"]


async def _replay(run: Run, records: list[SearchRecord], strategy: str) -> list[ReplayedDepth]:
    embedder = open_embedder(run)
    depths: list[ReplayedDepth] = []
    try:
        for record in records:
            depths += await replay_tree(
                read_tree(run.path, record.key),
                STRATEGIES.create(strategy),
                run.settings(record),
                embedder,
                cache_tokens=record.cache_tokens,
            )
    finally:
        await embedder.aclose()
    return depths

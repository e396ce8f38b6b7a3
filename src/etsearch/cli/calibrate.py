"""``ets calibrate``: a reward model's rewards as probabilities."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from etsearch.cli.terminal import make_console, say, say_aside
from etsearch.evaluation.curves import Labelled, Steps, fit_curve
from etsearch.evaluation.run.folder import read_run


def calibrate(
    run: Annotated[Path, typer.Argument(help="Folder of a run on validation problems, with its trees.")],
    out: Annotated[Path, typer.Option(help="The curve.")] = Path("curve.json"),
    steps: Annotated[Steps, typer.Option(help="Rewards of all steps of a trajectory, or of its last one.")] = "all",
) -> None:
    """Fit a curve from a run's rewards to how often they were right, for --prm 'calibrated(curve=FILE):PRM'."""
    read = read_run(run)
    for notice in read.notices:
        say_aside(notice)
    curve, raw, unseen = fit_curve(read, steps)
    table = Table(box=None, header_style="bold", title=f"{len(raw.rewards):,} rewards", title_justify="left")
    for name in ("", "mean", "right", "Brier", "calibration error", "AUC"):
        table.add_column(name, justify="right" if name else "left")
    for name, labelled in (("as they are", raw), ("calibrated, on unseen problems", unseen)):
        table.add_row(name, *_row(labelled))
    make_console().print(table)
    curve.write(out)
    say(f"{out}: --prm 'calibrated(curve={out}):{read.recipe.prm}'")


def _row(labelled: Labelled) -> list[str]:
    if not labelled.rewards:
        return ["–"] * 5
    means = (sum(labelled.rewards), sum(labelled.right))
    figures = (*(value / len(labelled.rewards) for value in means), labelled.brier, labelled.calibration_error)
    return [*(f"{value:.3f}" for value in figures), f"{labelled.auc:.3f}"]

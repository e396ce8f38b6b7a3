"""``ets report`` and ``ets grade``: what a run came to."""

from pathlib import Path
from typing import Annotated

import typer

from etsearch.cli.terminal import say
from etsearch.evaluation.grading import DEFAULT_GRADER, GRADERS
from etsearch.evaluation.regrade import regrade
from etsearch.evaluation.report.pages import write_report
from etsearch.evaluation.report.results import Results
from etsearch.evaluation.report.tables import disagreements
from etsearch.evaluation.run.folder import read_run


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs that belong together.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; by default RUN/report.")] = None,
    grader: Annotated[str, typer.Option(help=f"Whose verdicts count: {', '.join(GRADERS)}.")] = DEFAULT_GRADER,
) -> None:
    """Write the tables and plots of runs as Markdown and as one HTML page."""
    for path in write_report(Results.read(runs, grader), out or runs[0] / "report"):
        say(path)


def grade(run: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Grade the answers of a run again, without running anything, and list what the graders disagree on."""
    changed = regrade(run)
    results = Results.read([run])
    total = len(read_run(run).records)
    say(f"{total} searches graded, {changed} verdicts changed")
    for name in GRADERS:
        right = sum(r.right[name] for records in results.cells.values() for r in records)
        say(f"{name}: {right} right")
    table = disagreements(results, most=10**6)
    say(table.title)
    for problem, answer, gold, verdicts, count in table.rows:
        say(f"  {problem}: {answer} against {gold}: {verdicts} ({count} searches)")

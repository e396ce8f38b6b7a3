"""The command line: ``ets``."""

import sys

import typer

from etsearch import __version__
from etsearch.cli.calibrate import calibrate
from etsearch.cli.check import check
from etsearch.cli.eval import evaluation
from etsearch.cli.lists import datasets, embedders, generators, prms, strategies
from etsearch.cli.plan import planning
from etsearch.cli.replay import replay
from etsearch.cli.report import grade, report
from etsearch.cli.serve import key, serve
from etsearch.cli.solve import solve
from etsearch.cli.sweep import sweep
from etsearch.cli.terminal import complain, prepare, say
from etsearch.cli.up import down, up
from etsearch.cli.view import view
from etsearch.errors import ConfigError, EtsearchError, MissingDependencyError, RecordError

_BAD_INPUT = (ConfigError, MissingDependencyError, RecordError)
"""Errors before anything was begun."""

app = typer.Typer(
    help="Efficient tree search for LLM inference-time scaling.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(solve)
app.command()(serve)
app.command()(key)
app.command()(check)
app.command()(up)
app.command()(down)
app.command("eval")(evaluation)
app.add_typer(planning, name="plan")
app.command()(report)
app.command()(grade)
app.command()(sweep)
app.command()(view)
app.command()(replay)
app.command()(calibrate)
app.command()(strategies)
app.command()(generators)
app.command()(prms)
app.command()(embedders)
app.command()(datasets)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"ets {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    del version


def main() -> None:
    """Runs the command line; an error is one message and exit code 2 (bad input) or 1."""
    try:
        prepare(sys.argv[1:])
        app()
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error)
        raise SystemExit(2) from None
    except EtsearchError as error:
        complain(error)
        raise SystemExit(2 if isinstance(error, _BAD_INPUT) else 1) from None

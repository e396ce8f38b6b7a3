"""The terminal: what is written to it, how a command is stopped from it, what its arguments may hold."""

import logging
import signal
import sys
from collections.abc import Iterable, Sequence
from types import FrameType
from typing import Final, final

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from etsearch.boundary.numbers import shown
from etsearch.boundary.texts import clean_message, hide_secrets, is_readable, show_controls
from etsearch.errors import ConfigError

STOPPED: Final = 130
"""The exit code of a command that was stopped from the keyboard: 128 and the number of the signal."""


@final
class Terminal(Console):
    """A console on which control characters of texts, which may come from a model or a server, are shown as text."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See ``Console.render``."""
        for segment in super().render(renderable, options):
            is_plain = segment.control or segment.text.isprintable() or segment.text == "\n"
            yield segment if is_plain else Segment(show_controls(segment.text), segment.style)


def make_console(*, quiet: bool = False, wide: int | None = None) -> Terminal:
    """A console on standard output; of ``wide`` columns where that is no terminal, if they are given."""
    console = Terminal(quiet=quiet)
    return console if console.is_terminal or wide is None else Terminal(quiet=quiet, width=wide)


def say(text: object) -> None:
    """Prints a line."""
    typer.echo(show_controls(str(text)))


def say_aside(text: object) -> None:
    """Prints a line on standard error."""
    typer.echo(show_controls(str(text)), err=True)


def complain(error: object) -> None:
    """Says what went wrong, on one line of standard error."""
    sys.stderr.write(f"ets: {clean_message(str(error))}\n")


def prepare(arguments: Sequence[str]) -> None:
    """Makes ready what a command writes to, and how it is stopped.

    Raises:
        ConfigError: an argument is no UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")  # of a terminal that cannot show a letter
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would tell every request
    for number in _stops():
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup does, so that a run outlives its terminal
            signal.signal(number, _stop)
    for argument in arguments:
        if not is_readable(argument):
            raise ConfigError(f"the argument {shown(argument)} holds a byte that is no UTF-8; write it in UTF-8")


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"ets: {show_controls(hide_secrets(super().format(record)))}"


_stopped_by: list[int] = []


def _stops() -> list[int]:
    """The signals that end a command as Ctrl-C does: of a system that shuts down, of a terminal that is closed."""
    return [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _stop(number: int, frame: FrameType | None) -> None:
    """Does what Ctrl-C does, whoever listens to it."""
    del frame
    if _stopped_by:
        return
    _stopped_by.append(number)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells do to what they run in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def stop_code() -> int:
    """The exit code of a command that was stopped: 128 and the number of the signal."""
    return 128 + _stopped_by[0] if _stopped_by else STOPPED

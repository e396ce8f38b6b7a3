"""Makes docs/cli.md, the help of every command: ``python tools/make_cli_help.py`` (or: make cli-help)."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FILE = Path(__file__).parents[1] / "docs" / "cli.md"
HEAD = """# The command line

What `ets COMMAND --help` prints, for every command. Made by `make cli-help`; a test compares it with the commands.
"""
PLAIN = {"COLUMNS": "110", "TERMINAL_WIDTH": "110", "TYPER_USE_RICH": "0", "NO_COLOR": "1", "LANG": "C.UTF-8"}


def help_of(*command: str) -> str:
    """What a command prints for ``--help``."""
    run = [sys.executable, "-m", "etsearch", *command, "--help"]
    done = subprocess.run(run, capture_output=True, text=True, check=True, timeout=100, env={**os.environ, **PLAIN})
    return re.sub(r"^Usage: .*?etsearch", "Usage: ets", done.stdout.strip())


def listed(text: str) -> list[str]:
    """The commands that a help names, in its order."""
    return re.findall(r"^  (\w[\w-]*)", text.partition("Commands:")[2], re.MULTILINE)


def commands() -> list[str]:
    """The commands, in the order of the help."""
    return listed(help_of())


def document() -> str:
    """The whole page."""
    names = commands()
    with ThreadPoolExecutor(2) as pool:
        helps = [
            ((), help_of()),
            *(((name,), text) for name, text in zip(names, pool.map(help_of, names), strict=True)),
        ]
        within = [(*command, name) for command, text in helps[1:] for name in listed(text)]
        helps += zip(within, pool.map(lambda words: help_of(*words), within), strict=True)
    blocks = [f"## `{' '.join(('ets', *command))}`\n\n```text\n{text}\n```\n" for command, text in helps]
    return "\n".join([HEAD, *blocks])


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")

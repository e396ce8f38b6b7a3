"""docs/cli.md is what the commands print."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_help_in_the_documents_is_that_of_the_commands():
    spec = importlib.util.spec_from_file_location("make_cli_help", ROOT / "tools" / "make_cli_help.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    names = maker.commands()
    assert {"solve", "eval", "strategies", "generators", "prms", "embedders", "datasets"} < set(names)
    there = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert words(maker.document()) == words(there), "run 'make cli-help'"


def words(text):
    """What is said; where lines break, and how types are written, is Typer's, and differs by its version."""
    return re.sub(r"<[\w|]+>|\b(INTEGER|FLOAT|TEXT|PATH)\b", "", text).split()

"""Public data sets that do not ship with the project; a test that needs one is skipped, loudly, where it is missing."""

import json
import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("ETSEARCH_DATA", Path(__file__).parents[2] / "shared" / "data"))


def data_rows(name):
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"NOT RUN: {path.name} is missing; set ETSEARCH_DATA to the folder that holds it")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

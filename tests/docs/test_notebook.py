"""The notebook runs, cell by cell, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "walkthrough.ipynb"


def cells():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


@pytest.mark.model
def test_the_notebook_runs(tmp_path):
    pytest.importorskip("openvino_genai", reason="needs the extra 'local'")
    code = "\n\n".join("".join(cell["source"]) for cell in cells() if cell["cell_type"] == "code")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=110, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "walkthrough.html").stat().st_size > 10_000
    assert "thrift" in done.stdout


def test_it_is_kept_without_what_it_printed():
    assert all(not cell["outputs"] for cell in cells() if cell["cell_type"] == "code")

"""Parts in a file, named by its path, run through every command that reads a specification."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import etsearch
from etsearch import minimath
from etsearch.errors import ConfigError
from etsearch.evaluation.run.folder import read_run
from etsearch.loop.events import Selected
from etsearch.loop.settings import SearchSettings
from etsearch.strategies import STRATEGIES
from tests.doubles import world
from tests.doubles.http import running
from tests.doubles.vllm import VllmDouble
from tests.outside import parts as outside

PARTS = (
    "--generator",
    "./parts.py:steady(delay_s=0.001)",
    "--prm",
    "./parts.py:Lengths",
    "--embedder",
    "./parts.py:Hashes",
)
EVAL = ("eval", "./parts.py:few(count=3):validation", *PARTS, "--width", "4", "--no-early-stop", "--out", "run")
BY_FILE = ("--strategy", "rebase,./parts.py:Halving(keep=2)")


ODD = """class Odd:
    def __init__(self):
        1 / 0

def two(a, b):
    return a, b

number = 7
"""


@pytest.fixture
def home(tmp_path):
    """A folder with the file, as a user has it."""
    shutil.copy(outside.__file__, tmp_path / "parts.py")
    return tmp_path


def ets(home, *arguments):
    command = [sys.executable, "-m", "etsearch", *arguments]
    return subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=100, check=False)


def test_solve(home):
    done = ets(home, "solve", "--example", "--strategy", "./parts.py:Halving(keep=3)", *PARTS, "--width", "8", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["strategy"] == "./parts.py:Halving(keep=3)"
    assert any(depth["figures"].get("kept", 0) >= 3 for depth in result["depths"])


def test_a_module_is_named_likewise(home):
    asked = ("--strategy", "parts:Halving(keep=3)", "--generator", "scripted", "--prm", "parts:Lengths(scale=50)")
    done = ets(home, "solve", "--example", *asked)
    assert done.returncode == 0, done.stderr
    (home / "pack").mkdir()
    shutil.copy(home / "parts.py", home / "pack" / "mine.py")
    done = ets(home, "solve", "--example", "--strategy", "pack.mine:Halving", "--generator", "scripted", *asked[4:])
    assert done.returncode == 0, done.stderr


def test_compare_and_lists(home):
    done = ets(home, "solve", "--example", "--compare", "rebase,./parts.py:Halving", *PARTS)
    assert done.returncode == 0, done.stderr
    assert "./parts.py:Halving" in done.stdout
    done = ets(home, "strategies", "./parts.py:Halving")
    assert done.returncode == 0, done.stderr
    assert "nodes kept at least" in done.stdout


def test_eval_replay_report_and_a_resumed_run(home):
    done = ets(home, *EVAL, *BY_FILE, "--limit", "2")
    assert done.returncode == 0, done.stderr
    run = read_run(home / "run")
    assert set(run.manifest.sources) == {
        f"./parts.py:{name}" for name in ("Halving", "steady", "Lengths", "Hashes", "few")
    }
    source = run.manifest.sources["./parts.py:Halving"]
    assert source.path == "./parts.py"
    assert len(source.sha256) == 64
    done = ets(home, *EVAL, *BY_FILE)
    assert done.returncode == 0, done.stderr
    assert len(read_run(home / "run").records) == 6
    done = ets(home, "replay", "run", "--strategy", "./parts.py:Halving(keep=2)", "--of", "rebase")
    assert done.returncode == 0, done.stderr
    assert "3 recorded trees" in done.stdout
    (home / "parts.py").unlink()  # what was recorded is read without it
    assert ets(home, "report", "run").returncode == 0
    assert ets(home, "view", "run").returncode == 0


def test_a_resumed_run_refuses_another_file(home):
    assert ets(home, *EVAL, *BY_FILE, "--limit", "1").returncode == 0
    text = (home / "parts.py").read_text()
    (home / "parts.py").write_text(text + "\n# changed\n")
    before = (home / "run" / "searches.jsonl").read_bytes()
    done = ets(home, *EVAL, *BY_FILE)
    assert done.returncode == 2
    assert "./parts.py:Halving was changed: the sha256 of its file was" in done.stderr
    assert (home / "run" / "searches.jsonl").read_bytes() == before
    done = ets(home, "replay", "run", "--strategy", "rebase")
    assert done.returncode == 2
    assert "./parts.py:Hashes was changed" in done.stderr
    (home / "parts.py").write_text(text)
    assert ets(home, *EVAL, *BY_FILE).returncode == 0


def test_a_recipe_names_them_too(home):
    (home / "own.yaml").write_text(
        "data: ./parts.py:few:validation\ngenerator: scripted\nprm: ./parts.py:Lengths(scale=50)\nwidths: [4]\n"
        "strategies: [rebase, {strategy: './parts.py:Halving', label: ours, at: {4: {keep: 3}}}]\n"
    )
    done = ets(home, "eval", "own.yaml")
    assert done.returncode == 0, done.stderr
    cells = read_run(home / "runs" / "own").manifest.cells
    assert cells["ours @ 4"] == "./parts.py:Halving(keep=3)"


def test_sweep(home):
    asked = ("--strategy", "./parts.py:Halving", "--grid", "keep=1,2", "--width", "4", "--out", "swept")
    (home / "base.yaml").write_text(
        "data: minimath:validation\nstrategies: [rebase]\ngenerator: scripted\nprm: scripted\nlimit: 4\n"
    )
    done = ets(home, "sweep", "base.yaml", *asked)
    assert done.returncode == 0, done.stderr
    assert "./parts.py:Halving(keep=1)" in done.stdout
    assert (home / "swept" / "sweep" / "chosen.yaml").is_file()


def test_check(home):
    done = ets(home, "check", "--generator", "./parts.py:steady(delay_s=0.001)", "--prm", "./parts.py:Lengths")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lengths on none" in done.stdout


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("./gone.py:Halving", "the file ./gone.py cannot be read"),
        ("./parts.py:Having", "./parts.py defines no 'Having'; it defines Halving"),
        ("./parts.py:Halving(keap=2)", "has no setting 'keap'; its settings: keep"),
        ("./parts.py:Halving(keep=0)", "keep is 0; it must be at least 1"),
        ("./parts.py:Halving(keep=two)", "'keep' of the strategy './parts.py:Halving' is 'two'"),
        ("./parts.py:Halving:/x", "write the strategy as './parts.py:Halving', not"),
        ("./parts.py:Lengths", "gives no strategy: Lengths has no needs_clusters, no needs_rewards, no select"),
        ("./raises.py:Halving", "the file ./raises.py failed: RuntimeError: not today"),
        ("./half.py:Halving", "the file ./half.py failed: SyntaxError"),
        ("gone.module:Halving", "the module gone.module cannot be imported"),
        (
            "./odd.py:Odd",
            "'./odd.py:Odd' failed when it was made (odd.py, line 3): ZeroDivisionError: division by zero",
        ),
        ("./odd.py:two", "takes a, b without defaults; a specification gives one"),
        ("./odd.py:number", "is no class and no function but 7"),
    ],
)
def test_what_cannot_be_used_is_named(home, monkeypatch, specification, message):
    monkeypatch.chdir(home)
    (home / "raises.py").write_text("raise RuntimeError('not today')\n")
    (home / "half.py").write_text("class Halving(\n")
    (home / "odd.py").write_text(ODD)
    with pytest.raises(ConfigError) as caught:
        STRATEGIES.create(specification)
    assert message in str(caught.value)


def test_it_is_one_line_and_exit_code_two(home):
    done = ets(home, "solve", "--example", "--strategy", "./gone.py:Halving", "--generator", "scripted")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the file ./gone.py cannot be read" in done.stderr


def test_from_python(home, monkeypatch):
    monkeypatch.chdir(home)
    result = etsearch.solve(
        minimath.example(3), strategy="./parts.py:Halving(keep=2)", generator="scripted", prm="scripted", width=8
    )
    assert result.answer == minimath.example(3).answer
    assert STRATEGIES.create("./parts.py:Halving") == STRATEGIES.create("./parts.py:Halving(keep=1)")


def test_a_kept_search_refuses_another_file(home, monkeypatch):
    """``ets solve --resume``: the state of a search whose server went away knows the file of its strategy."""
    from etsearch.cli.kept import KeptSearch
    from etsearch.errors import UnavailableError

    monkeypatch.chdir(home)
    states = []
    options = {"strategy": "./parts.py:Halving", "generator": "scripted", "prm": "scripted", "width": 8}

    def listen(event):
        if isinstance(event, Selected):
            states.append(event.state)

    asyncio.run(etsearch.search(minimath.example(3), on_event=listen, **options))
    error = UnavailableError("away")
    error.state = states[0]

    def kept():
        source = STRATEGIES.source("./parts.py:Halving")
        return KeptSearch(Path("kept.json"), "./parts.py:Halving", SearchSettings(8), {"./parts.py:Halving": source})

    assert "--resume goes on" in kept().write(error.state)
    assert kept().read().tree.question == minimath.example(3).question
    Path("parts.py").write_text(Path("parts.py").read_text() + "\n")
    with pytest.raises(ConfigError, match=r"cannot go on: ./parts.py:Halving was changed"):
        kept().read()


def test_parts_in_a_file_beside_a_server(home):
    """The door is the same where others are behind servers."""
    folder = world.folder(home / "model")
    with running(VllmDouble(folder)) as server:
        asked = ("--generator", f"vllm:{server.url}", "--prm", "./parts.py:Lengths", "--strategy", "./parts.py:Halving")
        done = ets(home, "solve", "--example", *asked)
    assert done.returncode == 0, done.stderr

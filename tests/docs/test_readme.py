"""Every block of the README does what it says."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.gateways import Process

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    shlex.split(line, comments=True)
    for language, text in BLOCKS
    for line in text.splitlines()
    if language == "bash" and shlex.split(line, comments=True)
]


def test_every_block_is_of_a_kind_that_is_run():
    assert {language for language, _ in BLOCKS} == {"bash", "python"}
    assert {command[0] for command in COMMANDS} == {"make", "pip", "ets"}


@pytest.mark.parametrize("code", [code for code in PYTHON if "openai" not in code])
def test_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "None" not in done.stdout
    assert "is wrong" not in done.stdout


@pytest.mark.model
@pytest.mark.parametrize("code", [code for code in PYTHON if "openai" in code])
def test_python_that_asks_a_gateway(code, tmp_path):
    pytest.importorskip("openvino_genai", reason="needs the extra 'local'")
    with Process(tmp_path, market={}, profiles={"ets": {}}) as gateway:
        code = code.replace("http://127.0.0.1:8000", gateway.url)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("The answer is 17.")


ON_RUNS = ("eval", "report", "view", "replay")
"""Commands that work on runs: one after the other, as they stand."""


def on_servers(command):
    """Commands on servers: continuous integration starts these, and runs the commands as they stand."""
    return any("http://" in part for part in command)


@pytest.mark.parametrize("command", [c for c in COMMANDS if on_servers(c)], ids=" ".join)
def test_commands_on_servers_are_run_by_continuous_integration(command):
    assert " ".join(command[1:]) in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def run(command, *, timeout_s, **where):
    """Runs an ``ets`` command as it stands, with this interpreter."""
    done = subprocess.run(
        [sys.executable, "-m", "etsearch", *command[1:]],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        **where,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.model
@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c[0] == "ets" and c[1] not in ON_RUNS and not on_servers(c)], ids=" ".join
)
def test_ets(command):
    pytest.importorskip("openvino_genai", reason="needs the extra 'local'")
    run(command, timeout_s=100)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.model
def test_ets_on_runs(tmp_path):
    pytest.importorskip("openvino_genai", reason="needs the extra 'local'")
    pytest.importorskip("matplotlib", reason="needs the extra 'report'")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    commands = [c for c in COMMANDS if c[0] == "ets" and c[1] in ON_RUNS]
    assert {c[1] for c in commands} == set(ON_RUNS)
    for command in commands:
        run(command, timeout_s=600, cwd=tmp_path)
    report = tmp_path / "runs" / "minimath-quick" / "report"
    for name in ("report.md", "report.html", "figure-2.png", "figure-3.svg", "votes.png", "cache.png"):
        assert (report / name).stat().st_size > 2000
    text = (report / "report.md").read_text(encoding="utf-8")
    titles = (
        "Table 1",
        "Table 2",
        "Table 3",
        "Figure 2",
        "Search against best-of-N",
        "KV cache: measured and predicted",
    )
    assert [title for title in titles if title not in text] == []


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "make"], ids=" ".join)
def test_make_knows_its_targets(command):
    """What they do is run by continuous integration as it stands."""
    make = shutil.which("make")
    assert make, "make is not installed"
    done = subprocess.run([make, "-n", *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"make {command[1]}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "pip"], ids=" ".join)
def test_extras_exist(command):
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for group in re.findall(r"\.\[([\w,]+)\]", " ".join(command)) for name in group.split(",")]
    assert extras
    assert set(extras) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("tool", ["make_thrift", "make_results"])
def test_the_tables_are_those_of_the_records(tool):
    command = [sys.executable, f"tools/{tool}.py", "--table"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") > 5
    assert done.stdout.strip() in README


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README) + re.findall(
        r"`(docs/[\w./-]+|benchmarks/|recipes/)`", README
    ):
        assert (ROOT / target).exists(), target

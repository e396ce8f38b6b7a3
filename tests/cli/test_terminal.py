"""What reaches a terminal, and how a command is stopped from one."""

import io
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text
from tests.cli.process import ets
from tests.evaluations import run, searches

from etsearch.boundary.plain import write_json
from etsearch.cli.terminal import Terminal, _Formatter, complain, say
from etsearch.evaluation.run.folder import read_run

NASTY = "a\x1b[31mred\x1b]0;title\x07 \x9b2J \x00 \r over \u202e bidi \ud800 \x7f"
SLOWLY = ("--generator", "scripted(delay_s=0.1)", "--prm", "scripted")


def is_harmless(text):
    return text.replace("\n", "").replace("\t", "").isprintable() and "\u202e" not in text


@pytest.mark.parametrize("thing", [NASTY, Text(NASTY), {NASTY: [NASTY]}], ids=["text", "rich", "object"])
def test_no_control_character_passes_a_console(thing):
    stream = io.StringIO()
    console = Terminal(file=stream, width=200, color_system=None)
    console.print(thing, markup=False, highlight=False)
    table = Table(NASTY, NASTY)
    table.add_row(str(thing), Text(NASTY))
    console.print(table)
    with Live(table, console=console):
        pass
    assert is_harmless(stream.getvalue())
    assert r"\x1b[31mred" in stream.getvalue()


def test_colours_of_our_own_still_pass_it():
    stream = io.StringIO()
    Terminal(file=stream, force_terminal=True, color_system="standard").print(f"[red]{NASTY}[/]", highlight=False)
    assert stream.getvalue().startswith("\x1b[31ma")
    assert r"\x1b[31mred" in stream.getvalue()


def test_lines_errors_and_logs_are_shown_as_text(capsys):
    say(NASTY)
    complain(ValueError(NASTY))
    record = logging.LogRecord("etsearch", logging.WARNING, "", 0, NASTY, (), None)
    told = capsys.readouterr()
    assert all(is_harmless(text) for text in (told.out, told.err, _Formatter().format(record)))
    assert told.err.startswith("ets: a")


def test_json_holds_no_control_character_and_is_the_same_value():
    written = write_json({"text": NASTY})
    assert is_harmless(written)
    assert json.loads(written) == {"text": NASTY}


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_knows_few_letters(encoding, tmp_path):
    environment = {
        **os.environ,
        "LC_ALL": "POSIX",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": encoding,
    }
    command = [sys.executable, "-m", "etsearch"]
    asked = (
        (
            "solve",
            "--example",
            "--width",
            "4",
            "--compare",
            "rebase,ets",
            "--generator",
            "scripted",
            "--prm",
            "scripted",
        ),
        ("strategies", "ets"),
        ("solve", "Ω?", "--generator", "scripted", "--prm", "scripted"),
    )
    for arguments in asked:
        done = subprocess.run([*command, *arguments], capture_output=True, env=environment, timeout=60, check=False)
        assert b"Traceback" not in done.stderr
        assert done.returncode == (2 if "Ω?" in arguments else 0), done.stderr


def start(*arguments, cwd=None, ignored=()):
    """A command that ignores these signals at its start, and no other, whatever the tests were started from."""

    def prepare():
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    command = [sys.executable, "-m", "etsearch", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, text=True, cwd=cwd, preexec_fn=prepare)  # noqa: PLW1509 - no other thread runs here


def wait_for(what, process):
    until = time.monotonic() + 60
    while not what() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_stops_a_run_with_what_was_kept_and_how_to_go_on(tmp_path, number, code):
    path = tmp_path / "run"
    asked = (
        "eval",
        "minimath:validation",
        "--strategy",
        "rebase",
        "--width",
        "4",
        "--limit",
        "6",
        "--concurrency",
        "2",
    )
    process = start(*asked, *SLOWLY, "--out", str(path))
    wait_for(lambda: list((path / "open").glob("*.json")), process)
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == code
    assert told == f"ets: stopped; what was done is in {path}, and the same command goes on from there\n"
    assert ets(*asked, *SLOWLY, "--out", str(path)).returncode == 0
    assert len(read_run(path).records) == 6
    assert any(record.resumed for record in read_run(path).records)


@pytest.mark.slow
def test_a_run_in_the_background_outlives_its_terminal_and_can_be_stopped(tmp_path):
    """As nohup and a shell start it: SIGHUP and SIGINT are ignored, and stay so; SIGTERM stops it."""
    path = tmp_path / "run"
    asked = ("eval", "minimath:validation", "--strategy", "rebase", "--width", "4", "--limit", "6", *SLOWLY)
    process = start(*asked, "--out", str(path), ignored=(signal.SIGINT, signal.SIGHUP))
    wait_for(lambda: list((path / "open").glob("*.json")), process)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 143
    assert told.startswith("ets: stopped; what was done is in ")


WATCHED = """
import pathlib
from etsearch import minimath
from etsearch.generators.scripted import ScriptedGenerator

def watched(delay_s: float = 0.0):
    def write(so_far, rng):
        if so_far.count(chr(10)) > 2:
            pathlib.Path("deep").touch()
        return minimath.scripted.write_step(so_far, rng)
    return ScriptedGenerator(write, format=minimath.FORMAT, delay_s=delay_s, read_question=minimath.read_problem)
"""


@pytest.mark.slow
def test_a_signal_keeps_a_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "watched.py").write_text(WATCHED)
    asked = ("solve", "--example", "--number", "9", "--strategy", "rebase", "--width", "8", "--no-early-stop", "--json")
    process = start(*asked, "--generator", "./watched.py:watched(delay_s=0.3)", "--prm", "scripted")
    wait_for((tmp_path / "deep").exists, process)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 143
    assert told.startswith("ets: stopped. The search up to depth ")
    assert told.endswith("is in ets-search.json: the same command with --resume goes on\n")
    kept = str(tmp_path / "ets-search.json")
    scripted = ("--generator", "./watched.py:watched", "--prm", "scripted")
    resumed = json.loads(ets(*asked, *scripted, "--state", kept, "--resume").stdout)
    straight = json.loads(ets(*asked, *scripted).stdout)
    assert resumed["trajectories"] == straight["trajectories"]


@pytest.mark.slow
def test_a_full_disk_is_one_message_and_leaves_what_was_there(tmp_path):
    path = tmp_path / "run"
    run(path, strategies=["rebase"], widths=[4], limit=1)
    page = path / "view.html"
    assert ets("view", str(path)).returncode == 0
    before = page.read_bytes()

    def fill():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    command = [sys.executable, "-m", "etsearch"]
    for arguments in (("view", str(path)), ("report", str(path))):
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, preexec_fn=fill, timeout=60, check=False
        )
        assert done.returncode == 2
        last = done.stderr.splitlines()[-1]  # a library may say before that it could not keep a cache of its own
        assert last.startswith("ets: ")
        assert "File too large" in last
    assert page.read_bytes() == before
    assert not list(path.rglob("*.part"))
    assert len(searches(path)) == 1

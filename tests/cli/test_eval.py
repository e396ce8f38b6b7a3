"""``ets eval`` and what follows it, as a user types them; a run killed at any moment ends as one never stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.process import ets
from tests.evaluations import searches

from etsearch.evaluation.run.folder import read_run

RECIPES = Path(__file__).parents[2] / "recipes"
SLOWLY = ("--generator", "scripted(delay_s=0.02)", "--prm", "scripted", "--concurrency", "3")
ASKED = ("eval", "minimath:validation", "--strategy", "rebase,ets,best_of_n", "--width", "4,8", "--limit", "4", *SLOWLY)


def kill_when(path: Path, arguments: tuple[str, ...], is_time) -> None:
    """Starts a run and ends it, as power fails, once ``is_time()``."""
    command = [sys.executable, "-m", "etsearch", *arguments, "--out", str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 90
        while not is_time() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)


def num_lines(path: Path) -> int:
    file = path / "searches.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def num_open(path: Path) -> int:
    return len(list((path / "open").glob("*.json")))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    path = tmp_path_factory.mktemp("straight") / "run"
    done = ets(*ASKED, "--out", str(path))
    assert done.returncode == 0, done.stderr
    assert f"24 searches done, 0 failed: {path}" in done.stdout.replace("\n", "")
    return path


@pytest.mark.slow
def test_a_run_killed_at_several_moments_ends_as_one_never_stopped(tmp_path, straight):
    path = tmp_path / "killed"
    moments = [
        (path / "lock").exists,
        lambda: num_open(path) >= 1,
        lambda: num_open(path) >= 3,
        lambda: num_lines(path) >= 5,
        lambda: num_lines(path) >= 9 and num_open(path) >= 2,
        lambda: num_lines(path) >= 16,
    ]
    done = 0
    for moment in moments:
        kill_when(path, ASKED, moment)
        assert num_lines(path) >= done, "a finished search was lost"
        done = num_lines(path)
    assert 16 <= done < 24
    last = ets(*ASKED, "--out", str(path))
    assert last.returncode == 0, last.stderr
    assert "are there already" in last.stdout
    assert searches(path) == searches(straight)
    assert num_lines(path) == 24, "a finished search was run again"
    assert any(record.resumed for record in read_run(path).records)


@pytest.mark.slow
@pytest.mark.model
def test_the_embedded_engine_killed_and_resumed_finishes_the_same_searches(tmp_path):
    asked = ("eval", "minimath:test", "--strategy", "rebase,ets", "--width", "16", "--limit", "6")
    path = tmp_path / "killed"
    for moment in (lambda: num_open(path) >= 4, lambda: num_lines(path) >= 3, lambda: num_lines(path) >= 8):
        kill_when(path, asked, moment)
    assert 8 <= num_lines(path) < 12
    done = ets(*asked, "--out", str(path))
    assert done.returncode == 0, done.stderr
    keys = [record.key for record in read_run(path).records]
    assert len(keys) == num_lines(path) == 12
    assert {(k.problem, k.strategy) for k in keys} == {
        (f"minimath/test/{i}", s) for i in range(6) for s in ("rebase", "ets")
    }
    assert any(record.resumed for record in read_run(path).records)


def test_report_grade_view_sweep_and_replay(tmp_path, straight):
    done = ets("report", str(straight), "--out", str(tmp_path / "report"))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report" / "report.md").read_text()
    for title in ("Table 1", "Table 3", "Votes of fewer", "Search against best-of-N", "Seconds by phase", "By depth"):
        assert title in text or title == "Table 3"
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<table>" in page
    assert "data:image/png;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    for name in ("figure-3.png", "figure-3.svg", "votes.png"):
        assert (tmp_path / "report" / name).stat().st_size > 5000

    done = ets("grade", str(straight))
    assert done.returncode == 0, done.stderr
    assert "24 searches graded, 0 verdicts changed" in done.stdout

    done = ets("view", str(straight), "2", "--out", str(tmp_path / "view.html"))
    assert done.returncode == 0, done.stderr
    assert "minimath/validation/2" in (tmp_path / "view.html").read_text()

    done = ets("replay", str(straight), "--strategy", "ets(lambda_b=2)", "--of", "rebase")
    assert done.returncode == 0, done.stderr
    assert "on 8 recorded trees" in done.stdout

    done = ets("sweep", str(straight))
    assert done.returncode == 0, done.stderr
    assert "| `ets` |" in done.stdout
    assert (straight / "sweep" / "chosen.yaml").exists()


def test_grading_again_mends_the_verdicts(tmp_path, straight):
    import shutil

    path = shutil.copytree(straight, tmp_path / "copied")
    file = path / "searches.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    before = searches(path)
    for row in rows[:3]:
        row["right"] = {name: not right for name, right in row["right"].items()}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = ets("grade", str(path))
    assert "24 searches graded, 6 verdicts changed" in done.stdout
    assert searches(path) == before


def test_a_dry_run_runs_nothing(tmp_path):
    done = ets("eval", str(RECIPES / "minimath-quick.yaml"), f"out={tmp_path}/run", "limit=7", "--dry-run")
    assert done.returncode == 0, done.stderr
    # Seven problems, six strategies; once for accuracy and once at each of four numbers in flight.
    for line in ("limit: 7", "problems: 7", "searches: 168", "sampled continuations", "ets at width 16: ets"):
        assert line in done.stdout
    assert not (tmp_path / "run").exists()


def test_throughput_is_measured_block_by_block(tmp_path):
    path = tmp_path / "timed"
    asked = (
        "--strategy",
        "beam,rebase",
        "--width",
        "4",
        "--limit",
        "4",
        "--generator",
        "scripted",
        "--prm",
        "scripted",
    )
    done = ets("eval", "minimath:validation", *asked, "--throughput", "--concurrency", "1,2", "--out", str(path))
    assert done.returncode == 0, done.stderr
    keys = [record.key for record in read_run(path).records]
    assert [key.in_flight for key in keys] == [1] * 8 + [2] * 8
    assert [key.strategy for key in keys[:8]] == ["beam"] * 2 + ["rebase"] * 4 + ["beam"] * 2
    assert [key.strategy for key in keys[8:]] == ["beam"] * 4 + ["rebase"] * 4
    done = ets("report", str(path))
    assert "Table 2" in (path / "report" / "report.md").read_text(), done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("minimath:exam", "--strategy", "ets"), "is 'exam': Input should be 'test', 'validation' or 'train'"),
        (("minimath:test",), "no strategy is named"),
        (("minimath:test", "--strategy", "best"), "no strategy called 'best'"),
        (("minimath:test", "--strategy", "ets", "--width", "4,x"), "widths is '4,x'"),
        (("minimath:test", "--strategy", "ets", "--levels", "9"), "no problem has level 9"),
        (("minimath:test", "limit=3", "--strategy", "ets"), "sets a value of a recipe"),
        (("none.yaml",), "cannot be read"),
        (("jsonl:none.jsonl", "--strategy", "ets"), "cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, arguments, message):
    done = ets("eval", *arguments, "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_bad_data_and_bad_recipes(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "One?", "answer": "1"}\n{"question": "Two?"}\n')
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"data: jsonl:{data}\nstrategies: [ets]\nout: {tmp_path}/run\n")
    done = ets("eval", str(recipe))
    assert (done.returncode, "line 2: 'answer' is missing" in done.stderr) == (2, True)
    recipe.write_text(recipe.read_text() + "seed: 3\n")
    done = ets("eval", str(recipe))
    assert (done.returncode, "no key 'seed'; the keys are" in done.stderr) == (2, True)
    assert not (tmp_path / "run").exists()


def test_settings_are_never_chosen_on_test_problems(tmp_path):
    done = ets("sweep", "minimath:test", "--grid", "lambda_b=1", "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "never on test" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_sweep_writes_the_choice_as_a_recipe(tmp_path):
    path = tmp_path / "sweep"
    recipe = tmp_path / "base.yaml"
    recipe.write_text(
        "data: minimath:validation\nstrategies: [rebase]\ngenerator: scripted\nprm: scripted\nwidths: [4]\nlimit: 4\n"
    )
    done = ets("sweep", str(recipe), "--grid", "lambda_b=0.1,2", "--out", str(path))
    assert done.returncode == 0, done.stderr
    assert "ets(lambda_b=0.1)" in done.stdout
    chosen = path / "sweep" / "chosen.yaml"
    done = ets("eval", str(chosen), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "data: minimath:test" in done.stdout
    assert "ets at width 4: ets(lambda_b=" in done.stdout
    assert (path / "sweep" / "sweep.png").stat().st_size > 5000


def test_outputs_that_cannot_be_written(tmp_path, straight):
    (tmp_path / "file").write_text("")
    for command in (
        ("report", str(straight), "--out", f"{tmp_path}/file"),
        ("view", str(straight), "--out", f"{tmp_path}/file/x"),
    ):
        done = ets(*command)
        assert done.returncode == 2
        assert str(tmp_path / "file") in done.stderr
        assert "Traceback" not in done.stderr
    done = ets("report", str(straight), "--grader", "strict", "--out", str(tmp_path / "report"))
    assert (done.returncode, "no grader 'strict'" in done.stderr) == (2, True)


def test_a_run_is_only_chosen_from(straight):
    done = ets("sweep", str(straight), "--grid", "lambda_b=1")
    assert (done.returncode, "is only chosen from" in done.stderr) == (2, True)


def test_reading_what_is_no_run(tmp_path):
    for command in ("report", "grade", "view"):
        done = ets(command, str(tmp_path))
        assert done.returncode == 2
        assert "is no run" in done.stderr


@pytest.mark.model
def test_a_replay_knows_the_cache_of_the_engine(tmp_path):
    pytest.importorskip("openvino_genai", reason="needs the extra 'local'")
    path = str(tmp_path / "run")
    done = ets("eval", "minimath:validation", "--strategy", "rebase", "--width", "8", "--limit", "2", "--out", path)
    assert done.returncode == 0, done.stderr
    done = ets("replay", path, "--strategy", "ets(kv_budget=50%)")
    assert done.returncode == 0, done.stderr
    assert "2 recorded trees" in done.stdout

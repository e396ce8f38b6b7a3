"""What a user types and what comes back."""

import json
import subprocess
import sys

import pytest
from tests.cli.process import ets

from etsearch import minimath
from etsearch.strategies import STRATEGIES

SCRIPTED = ("--generator", "scripted", "--prm", "scripted")
NAMES = [e.name for e in STRATEGIES.entries()]


def test_solve_prints_the_answer_and_the_cost():
    done = ets("solve", "--example", "--strategy", "rebase", "--width", "32", *SCRIPTED)
    assert done.returncode == 0, done.stderr
    assert f"Answer: {minimath.example(1).answer}" in done.stdout
    for line in ("winning steps", "KV tokens, summed over depths", "… if nothing were shared", "seconds in all"):
        assert line in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("strategy", NAMES)
def test_json_is_one_object_whose_widths_add_up(strategy):
    done = ets("solve", "--example", "--strategy", strategy, "--width", "16", "--json", "--no-early-stop", *SCRIPTED)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"answer", "votes", "seed", "trajectories", "usage", "engine"} <= set(result)
    gives_back = strategy == "adaptive_width"
    reason = "exhausted" if gives_back else "completed"
    assert (result["strategy"], result["width"], result["stop_reason"]) == (strategy, 16, reason)
    usage = result["usage"]
    assert usage["num_calls"] == sum(d["num_sampled"] for d in result["depths"])
    assert set(usage["seconds"]) == {"generate", "score", "embed", "cluster", "select", "total"}
    assert 0 < usage["peak_kv_tokens"] <= usage["kv_tokens"] <= usage["kv_tokens_unshared"]
    assert usage["kv_tokens_paper"] < usage["kv_tokens"]
    assert len(result["trajectories"]) < 16 if gives_back else len(result["trajectories"]) == 16


def test_question_from_standard_input():
    problem = minimath.example(2)
    wrapped = problem.question.replace(". ", ".\n") + "\n"
    done = ets("solve", "-", "--json", "--width", "32", *SCRIPTED, stdin=wrapped)
    assert json.loads(done.stdout)["answer"] == problem.answer


def test_compare_runs_strategies_side_by_side():
    done = ets("solve", "--example", "--compare", "beam(keep=4),rebase,ets", "--lambda-b", "1.5", *SCRIPTED)
    assert done.returncode == 0, done.stderr
    for word in ("beam(keep=4)", "rebase", "ets", "its share of the votes"):
        assert word in done.stdout
    done = ets("solve", "--example", "--compare", "rebase,ets", "--json", *SCRIPTED)
    assert [s["strategy"] for s in json.loads(done.stdout)["searches"]] == ["rebase", "ets"]


def test_options_reach_the_search():
    arguments = ("solve", "--example", "--json", "--width", "4", "--seed", "9", "--max-depth", "1", *SCRIPTED)
    done = ets(*arguments)
    result = json.loads(done.stdout)
    assert done.returncode == 1
    assert (result["seed"], result["stop_reason"], result["answer"]) == (9, "max_depth", None)
    cut = json.loads(ets("solve", "--example", "--json", "--max-tokens", "20", *SCRIPTED).stdout)
    assert {t["end_reason"] for t in cut["trajectories"]} == {"length"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("solve", ""), "the question is empty"),
        (("solve", "  "), "the question is empty"),
        (("solve", "x", "--example"), "only one of them"),
        (("solve", "--example", "--number", "11"), "there is no example 11; choose one from 1 to 10"),
        (("solve", "--example", "--width", "0"), "width is 0; it must be a whole number from 1 to 65,536"),
        (
            ("solve", "--example", "--strategy", "astar"),
            "no strategy called 'astar'; choose one of ab_mcts, adaptive_width, beam, best_of_n",
        ),
        (("solve", "--example", "--strategy", "rebase,ets"), "--strategy takes one strategy"),
        (("solve", "--example", "--strategy", "rebase", "--lambda-b", "1"), "--lambda-b is no setting of rebase"),
        (("solve", "--example", "--lambda-b", "-1"), "lambda_b is -1.0"),
        (("solve", "--example", "--aggregation", "median"), "no aggregation 'median'; choose one of last, min"),
        (("solve", "--example", "--temperature", "-1"), "temperature is -1.0"),
        (("solve", "--example", "--max-tokens", "0"), "max_tokens is 0"),
        (("solve", "--example", "--cluster-threshold", "3"), "cluster threshold is 3.0"),
        (
            ("solve", "--example", "--generator", "gpt"),
            "no generator called 'gpt'; choose one of expressions, minimath",
        ),
        (("solve", "--example", "--generator", "openvino"), "write the generator as 'openvino:PATH'"),
        (("solve", "--example", "--prm", "none"), "needs a reward model"),
        (("solve", "--example", "--embedder", "bert"), "no embedder called 'bert'"),
        (("solve", "Why is the sky blue?"), "does not know 'Why'"),
        (("solve", "There are 3 zebras. How many zebras are there?"), "does not know 'zebras'"),
        (("solve", "How many cups are there?"), "nothing says how many cups there are"),
        (
            ("solve", "The cups number half the pens. The pens number half the cups. How many pens are there?"),
            "cups, pens",
        ),
    ],
)
def test_bad_input_gets_one_message_and_exit_code_two(arguments, message):
    parts = () if {"--generator", "--prm"} & set(arguments) else SCRIPTED
    if "--prm" in arguments:
        parts = ("--generator", "scripted")
    if "--generator" in arguments:
        parts = ("--prm", "scripted")
    done = ets(*arguments, *parts)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert "Answer" not in done.stdout


def test_unknown_option_is_exit_code_two():
    done = ets("solve", "--example", "--beam-width", "4")
    assert done.returncode == 2
    assert "No such option" in done.stderr


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("strategies", NAMES),
        ("generators", ["minimath", "openvino:PATH", "scripted"]),
        ("prms", ["minimath", "openvino:PATH", "log_probability"]),
    ],
)
def test_lists(command, names):
    done = ets(command)
    assert done.returncode == 0
    for name in names:
        assert name in done.stdout


def test_version_and_help():
    assert ets("--version").stdout.startswith("ets 0.")
    assert "solve" in ets("--help").stdout


def test_settings_that_are_lists_or_in_a_group():
    asked = ("solve", "--example", "--generator", "scripted", "--prm", "scripted", "--json")
    shallow = json.loads(ets(*asked, "--max-depth", "1", "--top-p", "0.9", "--no-merge").stdout)
    assert len(shallow["depths"]) == 1
    assert ets(*asked, "--patterns", "answer is, hashes").returncode == 0
    own = "[{name: ours, hint: answer, cue: 'the answer is', reading: sentence}]"
    assert json.loads(ets(*asked, "--patterns", own).stdout)["answer"]
    done = ets(*asked, "--patterns", "boxed")
    assert (done.returncode, json.loads(done.stdout)["answer"]) == (1, None)
    for option, value, message in (
        ("--patterns", "[{", "--patterns is '[{', which is no list in YAML"),
        ("--patterns", "boxd", "no pattern 'boxd'"),
        ("--cluster-threshold", "3", "the cluster threshold is 3.0; it must be above 0 and at most 2"),
    ):
        done = ets(*asked, option, value)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_a_command_waits_for_nothing_that_it_does_not_need():
    code = (
        "import sys; sys.argv = ['ets', '--help'];"
        "import atexit; heavy = {'scipy', 'openvino', 'torch', 'sympy'};"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules))));"
        "import runpy; runpy.run_module('etsearch', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

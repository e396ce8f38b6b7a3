"""Questions without a checkable answer on the command line."""

import json

from tests.cli.process import ets

SCRIPTED = ("--generator", "scripted", "--prm", "scripted", "--width", "8")
CUT = ("solve", "--example", "--max-depth", "1", *SCRIPTED)


def test_the_best_trajectory_is_shown_where_none_states_an_answer():
    done = ets(*CUT)
    assert done.returncode == 1  # a vote was asked for, and there was none
    assert "No answer is stated. This is the best trajectory:" in done.stdout
    assert "winning steps" in done.stdout


def test_by_name_a_text_is_an_answer():
    done = ets(*CUT, "--aggregation", "best_reward")
    assert done.returncode == 0, done.stderr
    result = json.loads(ets(*CUT, "--aggregation", "best_reward", "--json").stdout)
    best = next(t for t in result["trajectories"] if t["node"] == result["best"])
    assert best["rewards"][-1] == max(t["rewards"][-1] for t in result["trajectories"])
    assert (result["answer"], result["aggregation"], result["votes"]) == (None, "best_reward", [])


def test_a_stated_answer_is_shown_without_a_vote():
    done = ets("solve", "--example", "--aggregation", "best_reward", *SCRIPTED)
    assert done.returncode == 0
    assert "Answer: " in done.stdout
    assert "winning steps" in done.stdout
    assert "weight" not in done.stdout
    done = ets("solve", "--example", "--aggregation", "best_reward", "--compare", "rebase,ets", *SCRIPTED)
    assert done.returncode == 0, done.stderr


def test_it_needs_a_reward_model():
    options = ("--strategy", "best_of_n", "--prm", "none", "--aggregation", "best_reward")
    done = ets("solve", "--example", "--generator", "scripted", *options)
    assert done.returncode == 2
    assert "needs a reward model" in done.stderr

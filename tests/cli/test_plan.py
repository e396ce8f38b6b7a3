"""``ets plan``: what a recipe or a run would cost on a card."""

import json
import re
import shutil

import pytest
from tests.cli.process import ets
from typer.testing import CliRunner

from etsearch.cli.main import app
from etsearch.errors import ConfigError, RecordError

RECIPE = "recipes/llemma-34b-math500.yaml"
SMALL = ("--strategy", "rebase,ets", "--width", "8", "--trees", "2", "--searches", "8", "--concurrency", "2,4")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("planned") / "run"
    asked = ("eval", "minimath:validation", "--strategy", "rebase", "--width", "8", "--limit", "2")
    done = ets(*asked, "--generator", "scripted", "--prm", "scripted", "--out", str(path))
    assert done.returncode == 0, done.stderr
    return path


def test_a_recipe_on_a_card(tmp_path):
    figures, page = tmp_path / "plan.json", tmp_path / "plan.html"
    told = ets(
        "plan", RECIPE, "--gpu", "h100-nvl,h200", *SMALL, "--price", "2", "--json", str(figures), "--page", str(page)
    )
    assert told.returncode == 0, told.stderr
    rows = [line.split() for line in told.stdout.splitlines() if re.match(r"\s*h\d00", line) and "×" in line]
    assert [(row[0], row[1]) for row in rows] == [
        (card, strategy) for card in ("h100-nvl", "h200") for strategy in ("rebase", "ets")
    ]
    assert "trees: drawn, 2 of each arm, with prompt_tokens 150, steps 10" in told.stdout
    assert "h100-nvl: never timed" in told.stdout
    plain = json.loads(figures.read_text())
    assert len(plain["arms"]) == 2 * 2 * 2  # cards, strategies, numbers in flight
    for arm in plain["arms"]:
        assert arm["decoded"] == arm["generated_tokens"] > 0
        assert arm["per_hour"] == pytest.approx(3600 * 8 / arm["seconds"])
        assert arm["price_per_thousand"] == pytest.approx(1000 / arm["per_hour"] * 2 * 2)  # two cards
    shown = page.read_text()
    assert shown.count("data:image/png;base64,") == 3
    assert "How far this can be trusted" in shown


def test_the_trees_of_a_run_and_what_another_strategy_would_have_grown_of_them(run, tmp_path):
    figures = tmp_path / "plan.json"
    asked = ("plan", str(run), "--gpu", "rtx-4090", "--model", "Qwen/Qwen2.5-Math-1.5B-Instruct", "--prm-model", "none")
    told = ets(*asked, "--strategy", "rebase,ets(lambda_b=2)", "--searches", "4", "--json", str(figures))
    assert told.returncode == 0, told.stderr
    own, other = json.loads(figures.read_text())["arms"]
    assert (own["strategy"], other["strategy"]) == ("rebase", "ets(lambda_b=2)")
    lines = [json.loads(line) for line in (run / "searches.jsonl").read_text().splitlines()]
    assert own["generated_tokens"] == 2 * sum(line["usage"]["generated_tokens"] for line in lines)  # each twice
    assert own["kv_tokens"] == pytest.approx(sum(line["usage"]["kv_tokens"] for line in lines) / 2)
    assert 0 < other["kv_tokens"] < own["kv_tokens"]


def test_a_dry_run_says_hours_and_price():
    asked = ("eval", RECIPE, "strategies=[rebase]", "widths=[8]", "--dry-run", "--gpu", "h100-nvl", "--price", "3")
    told = ets(*asked)
    assert told.returncode == 0, told.stderr
    found = re.search(r"on h100-nvl: .* ([\d.,]+) hours on 2 cards, ([\d.,]+) at 3 a card and hour", told.stdout)
    assert float(found[2]) == pytest.approx(6 * float(found[1]), abs=0.5)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("plan", "nowhere"), "neither a recipe (.yaml) nor the folder of a run"),
        (("plan", RECIPE, "--gpu", "tpu"), "no card is called 'tpu'"),
        (("plan", RECIPE, "--gpu", "4090"), "does not fit: it takes 67.5 GB of weights"),
        (("plan", RECIPE, "--cards", "3"), "cannot be split over 3 cards"),
        (("plan", RECIPE, "--model", "nobody/nothing"), "'nobody/nothing' is not known here"),
        (("plan", "recipes/minimath.yaml"), "does not say which model it serves"),
        (("plan", RECIPE, "--assume", "steps=many"), "steps is 'many'; it must be a number"),
        (("plan", RECIPE, "--assume", "steps=0"), "steps is 0.0; it must be from 1"),
        (("plan", RECIPE, "--assume", "colour=1"), "'colour=1' is nothing that can be assumed"),
        (("plan", RECIPE, "--weights", "int3"), "the precision is 'int3'"),
        (("plan", RECIPE, "--kernel", "flash"), "--kernel is 'flash'; give paged or tree"),
        (("plan", RECIPE, "--prm-on", "moon"), "--prm-on is 'moon'; give own or shared"),
        (("plan", RECIPE, "--engine", "llama.cpp"), "there is no engine 'llama.cpp' to plan for"),
        (("plan", RECIPE, "--max-sequences", "0"), "max_sequences is 0; it must be"),
        (("plan", "calibrate", "--out", "no.json", "--step-tokens", "0"), "step_tokens is 0; it must be"),
        (("plan", RECIPE, "--memory", "1.5"), "the share of the memory is 1.5"),
        (("plan", RECIPE, "--searches", "0", *SMALL[:4]), "the number of searches is 0"),
        (("plan", RECIPE, "--table", "pyproject.toml"), "the calibrated table pyproject.toml cannot be read"),
        (("eval", RECIPE, "--gpu", "h200"), "--gpu is for --dry-run"),
    ],
)
def test_bad_input_is_told(arguments, told):
    found = CliRunner().invoke(app, arguments)
    assert isinstance(found.exception, ConfigError)
    assert told in str(found.exception)


def test_a_run_that_has_no_trees_and_assumptions_for_one_that_has(run, tmp_path):
    found = CliRunner().invoke(app, ["plan", str(tmp_path), "--model", "Qwen/Qwen2.5-Math-1.5B-Instruct"])
    assert isinstance(found.exception, RecordError)
    asked = ["plan", str(run), "--model", "Qwen/Qwen2.5-Math-1.5B-Instruct", "--assume", "steps=3"]
    assert "--assume is for trees that are drawn" in str(CliRunner().invoke(app, asked).exception)
    assert "the number of trees is 0" in str(CliRunner().invoke(app, [*asked[:4], "--trees", "0"]).exception)


def test_a_run_of_another_version_is_told(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    manifest = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**manifest, "version": 99}))
    found = CliRunner().invoke(app, ["plan", str(copy), "--model", "Qwen/Qwen2.5-Math-1.5B-Instruct"])
    assert isinstance(found.exception, RecordError)
    assert "is a run of version 99; this etsearch reads versions" in str(found.exception)

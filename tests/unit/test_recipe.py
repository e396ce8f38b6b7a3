"""Recipes: what they resolve to, and what they refuse."""

from pathlib import Path

import pytest
import yaml

from etsearch.errors import ConfigError
from etsearch.evaluation.run.dryrun import describe
from etsearch.evaluation.run.recipe import Recipe

BASE = {"data": "minimath:test", "strategies": ["rebase", "ets"]}
RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


def load(tmp_path, values, *overrides) -> Recipe:
    path = tmp_path / "own.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return Recipe.load(path, overrides)


def test_defaults_and_overrides(tmp_path):
    recipe = load(
        tmp_path, BASE, "widths=[4, 8]", "limits.max_depth=3", "limit=2", "seeds=5", "strategies=beam(keep=2)"
    )
    assert recipe.name == "own"
    assert recipe.folder == Path("runs/own")
    assert recipe.seeds == (5,)
    assert recipe.settings(4, 5).limits.max_depth == 3
    assert [(c.label, c.width) for c in recipe.arms()] == [("beam(keep=2)", 4), ("beam(keep=2)", 8)]


def test_settings_that_hold_at_a_width(tmp_path):
    entry = {"strategy": "ets(lambda_b=1.5)", "label": "ours", "at": {16: {"lambda_d": 1.5}}, "widths": [16, 64]}
    recipe = load(tmp_path, {**BASE, "strategies": ["rebase", entry]})
    cells = {(c.label, c.width): c.specification for c in recipe.arms()}
    assert cells["ours", 16] == "ets(lambda_b=1.5, lambda_d=1.5)"
    assert cells["ours", 64] == "ets(lambda_b=1.5)"
    assert ("rebase", 64) not in cells


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"witdhs": [4]}, "no key 'witdhs'; the keys are name, data"),
        ({"limits": {"depth": 3}}, "no key 'limits.depth'"),
        ({"widths": [0]}, "widths.0 is 0"),
        ({"widths": []}, "widths is empty"),
        ({"strategies": ["best"]}, "no strategy called 'best'"),
        ({"strategies": ["ets(lambda_b=-1)"]}, "lambda_b is -1"),
        ({"strategies": ["ets", "ets"]}, "stands there twice"),
        ({"strategies": [{"strategy": "ets", "weight": 3}]}, "no key"),
        ({"concurrency": [4, 8]}, "measure: throughput"),
        ({"prm": "none"}, "needs a reward model"),
        ({"measure": "speed"}, "measure is 'speed'"),
        ({"sampling": {"top_p": 2}}, "top_p is 2"),
        ({"seeds": [0, 1, 0]}, "0 stands there twice"),
        ({"widths": [4, 4]}, "4 stands there twice"),
        ({"strategies": ["ets:foo"]}, "write the strategy as 'ets', not 'ets:foo'"),
        ({"strategies": [{"strategy": "ets", "at": {15: {"lambda_b": 2}}}]}, "settings at width 15"),
        ({1: 2}, "1 is no key"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, {**BASE, **change})


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "no YAML"), ("just text", "holds no keys"), ("strategies: [ets]", "'data' is missing")],
)
def test_files_that_are_no_recipe(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)
    with pytest.raises(ConfigError, match="cannot be read"):
        Recipe.load(tmp_path / "none.yaml")


def test_overrides_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match="write key=value"):
        load(tmp_path, BASE, "width")
    with pytest.raises(ConfigError, match="holds none"):
        load(tmp_path, BASE, "data.path=x")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_can_be_described(path):
    recipe = Recipe.load(path)
    text = describe(recipe)
    assert recipe.name == path.stem
    assert f"data: {recipe.data}" in text
    assert "searches: " in text
    assert ("cannot run here" in text) == (not recipe.generator.startswith(("minimath", "expressions")))


def test_the_estimate_is_arithmetic():
    recipe = Recipe.of(
        {**BASE, "limit": 3, "widths": [4, 16], "seeds": [0, 1], "assumed": {"depths": 5, "step_tokens": 10}}
    )
    text = describe(recipe)
    assert "searches: 24" in text
    calls = 3 * 2 * 2 * (4 + 16) * 5
    assert f"{calls:,} sampled continuations, {10 * calls:,} generated tokens" in text


def test_timed_arms_take_turns_and_another_one_begins_each_round():
    from etsearch.evaluation.run.runner import ROUND, blocks
    from etsearch.types import Problem

    values = {"strategies": ["rebase", "beam"], "measure": "throughput", "concurrency": [2], "timed": 3 * ROUND}
    recipe = Recipe.of({"data": "minimath:test", "widths": [16], **values})
    problems = tuple(Problem("q", "1", str(number)) for number in range(100))
    found = [(n, tasks[0].arm.label, [int(t.problem.id) for t in tasks]) for n, tasks in blocks(recipe, problems)]
    rounds = [list(range(2 * ROUND)), list(range(2 * ROUND, 3 * ROUND))]
    assert found == [
        (2, "rebase", rounds[0]),
        (2, "beam", rounds[0]),
        (2, "beam", rounds[1]),
        (2, "rebase", rounds[1]),
    ]

"""Settings have one statement: Python, recipes and the command line have the same, checked where they are made."""

import re
import types
from dataclasses import fields
from typing import Union, get_args, get_origin, get_type_hints

import pytest
import typer.main

from etsearch import Limits, Sampling
from etsearch.answers import DEFAULT_PATTERNS, Pattern, Reading
from etsearch.cli.main import app
from etsearch.embedders import EMBEDDERS
from etsearch.errors import ConfigError
from etsearch.evaluation.datasets import DATASETS
from etsearch.evaluation.run.recipe import Recipe
from etsearch.generators import GENERATORS
from etsearch.loop.settings import SearchSettings, groups
from etsearch.prms import REWARD_MODELS
from etsearch.registry.entry import attribute_help
from etsearch.strategies import STRATEGIES

BASE = {"data": "minimath:test", "strategies": ["rebase"]}
LEAVES = {f.name for f in fields(SearchSettings)} - set(groups()) | {
    f.name for g in groups().values() for f in fields(g)
}
OWN = Pattern("ergo", "ergo", r"ergo:\s*", Reading.LINE)
OTHERS = {
    "aggregation": "min",
    "cluster_threshold": 0.2,
    "sampling": {"temperature": 0.5, "top_p": 0.9},
    "limits": {"max_depth": 3, "max_step_tokens": 20, "max_tokens": 60},
    "patterns": ["boxed", {"name": "ergo", "hint": "ergo", "cue": r"ergo:\s*", "reading": "line"}],
    "cut_votes": False,
    "vote_share": 0.5,
    "merge": False,
    "early_stop": False,
    "speculate": True,
}


@pytest.mark.parametrize("command", ["solve", "eval"])
def test_every_setting_is_an_option(command):
    options = {p.name for p in typer.main.get_command(app).commands[command].params}
    missing = LEAVES - options
    assert missing == (set() if command == "solve" else {"seed"})  # 'eval' has --seeds


def test_every_setting_is_a_key_of_a_recipe_and_of_its_arms():
    assert set(OTHERS) == {f.name for f in fields(SearchSettings)} - {"width", "seed"}
    recipe = Recipe.of({**BASE, **OTHERS})
    settings = recipe.settings(4, 1)
    assert (settings.width, settings.seed) == (4, 1)
    assert settings.limits == Limits(3, 20, 60)
    assert settings.sampling == Sampling(0.5, 0.9)
    assert settings.patterns == (DEFAULT_PATTERNS[0], OWN)
    assert (settings.merge, settings.early_stop, settings.speculate, settings.cut_votes) == (False, False, True, False)
    assert Recipe.of(recipe.plain()) == recipe
    arm = {"strategy": "rebase", "label": "ours", "search": OTHERS}
    recipe = Recipe.of({**BASE, "strategies": ["rebase", arm]})
    plain, ours = (recipe.settings(16, 0, arm.search) for arm in recipe.arms())
    assert plain == SearchSettings(16)
    assert ours == settings.with_values({"width": 16, "seed": 0})


def test_one_of_a_group_leaves_the_others():
    settings = SearchSettings(limits=Limits(max_depth=3)).with_values({"limits": {"max_tokens": 60}, "merge": False})
    assert settings.limits == Limits(max_depth=3, max_tokens=60)
    assert not settings.merge


@pytest.mark.parametrize("name", ["width", "seed", "depth"])
def test_an_arm_has_no_such_setting(name):
    with pytest.raises(ConfigError, match=f"no setting '{name}' of its own; those there are: aggregation"):
        Recipe.of({**BASE, "strategies": [{"strategy": "rebase", "search": {name: 3}}]})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cluster_threshold": 0}, "cluster threshold is 0"),
        ({"cluster_threshold": 2.5}, "cluster threshold is 2.5"),
        ({"cluster_threshold": "near"}, "cluster_threshold is 'near'"),
        ({"limits": {"max_depth": 0}}, "max_depth is 0"),
        ({"limits": {"depth": 3}}, "no key 'limits.depth'"),
        ({"limits": 3}, "limits is 3"),
        ({"sampling": {"temperature": -1}}, "sampling temperature is -1"),
        ({"merge": "perhaps"}, "merge is 'perhaps'"),
        ({"aggregation": "median"}, "no aggregation 'median'"),
        ({"patterns": []}, "patterns is empty"),
        ({"patterns": ["boxd"]}, "no pattern 'boxd'; choose of 'boxed', 'answer is'"),
        ({"patterns": [{"name": "x", "hint": "x", "cue": "(", "reading": "line"}]}, "is no regular expression"),
        ({"patterns": [{"name": "x", "hint": "x", "cue": "x", "reading": "page"}]}, "reading is 'page'"),
        ({"width": 0}, "width is 0"),
        ({"mege": True}, "there is no key 'mege'; the keys are width, seed"),
    ],
)
def test_what_cannot_be_used_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        SearchSettings.of(values)


ALL_PARTS = [
    (registry, entry.name)
    for registry in (STRATEGIES, GENERATORS, REWARD_MODELS, EMBEDDERS, DATASETS)
    for entry in registry.entries()
]
ARGUMENTS = {"noisy": "scripted", "minimath": "test", "expressions": "test"}
"""What stands behind the colon, where it is no address."""
RANGE = re.compile(r"\d( \(\w+\))? to \S*\d|at most|at least|above|within")


def is_number(hint):
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return int in members or float in members


@pytest.mark.parametrize(("registry", "name"), ALL_PARTS, ids=lambda part: getattr(part, "kind", part))
def test_every_number_of_a_part_has_a_range_that_is_told_and_kept(registry, name):
    entry = registry.entry(name)
    argument = f":{ARGUMENTS.get(name, 'http://127.0.0.1:9')}" if entry.argument else ""
    for setting in entry.settings.values():
        if not is_number(setting.type):
            continue
        assert RANGE.search(setting.help), f"{setting.name} of {entry} tells no range: {setting.help}"
        too_large = () if "or inf" in setting.help else ("inf", "9" * 400)
        for value in ("-1", "nan", "9e99", *too_large) if entry.is_available else ():
            with pytest.raises(ConfigError, match=setting.name.split("_")[0]):
                registry.create(f"{name}({setting.name}={value}){argument}")


@pytest.mark.parametrize("holder", [SearchSettings, *groups().values()])
def test_every_number_of_a_search_has_a_range_that_is_told_and_kept(holder):
    hints, told = get_type_hints(holder), attribute_help(holder)
    numbers = [name for name, hint in hints.items() if is_number(hint) and name in told]
    assert numbers
    for name in numbers:
        assert RANGE.search(told[name]) or "(0, " in told[name], f"{name} tells no range: {told[name]}"
        nothing = () if getattr(holder(), name) is None else (None,)
        for value in (-(10**30), float("nan"), 10**30, float("inf"), "4", True, *nothing):
            with pytest.raises(ConfigError):
                holder(**{name: value})

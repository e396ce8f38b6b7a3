"""The two doors of the library: what they take, and that one of them may be called from anywhere."""

import asyncio
import inspect
from dataclasses import fields

import pytest

import etsearch
from etsearch import minimath
from etsearch.api import Options
from etsearch.errors import ConfigError
from etsearch.loop.settings import SearchSettings

PROBLEM = minimath.example(3)
SCRIPTED = {"generator": "scripted", "prm": "scripted", "width": 8}


@pytest.mark.parametrize("door", [etsearch.search, etsearch.solve])
def test_a_door_shows_its_arguments(door):
    shown = inspect.signature(door).parameters
    assert next(iter(shown)) == "problem"
    assert set(shown) - {"problem"} == {f.name for f in fields(Options)} - {"_"}
    assert {f.name for f in fields(SearchSettings)} < set(shown)


async def test_solve_works_where_an_event_loop_runs():
    """As in a notebook."""
    beside = await etsearch.search(PROBLEM, **SCRIPTED)
    assert etsearch.solve(PROBLEM, **SCRIPTED).answer == beside.answer
    with pytest.raises(ConfigError, match="no strategy called 'astar'"):
        etsearch.solve(PROBLEM, strategy="astar", **SCRIPTED)


def test_what_is_no_argument_is_refused():
    with pytest.raises(TypeError, match="widht"):
        etsearch.solve(PROBLEM, widht=3)
    for wrong, message in (
        ({"cluster_threshold": 0.0}, "cluster threshold is 0.0"),
        ({"width": 0}, "width is 0"),
        ({"aggregation": "median"}, "no aggregation 'median'"),
        ({"patterns": ()}, "patterns is empty"),
    ):
        with pytest.raises(ConfigError, match=message):
            asyncio.run(etsearch.search(PROBLEM, **wrong))


NOTHING = (5, -1, 1.5, b"x", [], {}, object(), True, float("nan"), 10**400)


@pytest.mark.parametrize(
    "key", ["generator", "prm", "strategy", "embedder", "sampling", "limits", "patterns", "on_event"]
)
@pytest.mark.parametrize("value", NOTHING, ids=lambda v: type(v).__name__)
def test_what_is_no_part_and_no_setting_is_named(key, value):
    given = {"generator": "scripted", "prm": "scripted", "strategy": "rebase", "width": 2, key: value}
    with pytest.raises(ConfigError):
        etsearch.solve(minimath.example(1).question, **given)


@pytest.mark.parametrize("value", [None, *NOTHING], ids=lambda v: type(v).__name__)
def test_what_is_no_question_is_named(value):
    with pytest.raises(ConfigError, match="the question of the problem"):
        etsearch.solve(value, generator="scripted", prm="scripted", strategy="rebase", width=2)

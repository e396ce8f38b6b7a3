"""A search that goes on from a state that was kept ends as one that was never stopped."""

import json

import pytest
from tests.worlds import run

from etsearch.errors import ConfigError, RecordError
from etsearch.loop.events import Selected
from etsearch.loop.state import SearchState
from etsearch.strategies import STRATEGIES


def plain(result) -> dict:
    """All of a result but what depends on the clock."""
    values = result.to_dict()
    del values["usage"]["seconds"]
    for depth in values["depths"]:
        depth["figures"].pop("solver_s", None)
    return values


async def states(strategy: str, width: int, **settings) -> tuple[list[str], dict]:
    kept = []

    def keep(event):
        if isinstance(event, Selected):
            kept.append(json.dumps(event.state.to_dict()))

    result = await run(strategy, width, on_event=keep, **settings)
    return kept, plain(result)


@pytest.mark.parametrize("strategy", [e.name for e in STRATEGIES.entries()])
@pytest.mark.parametrize("width", [1, 8, 32])
async def test_resumed_from_any_depth_it_ends_the_same(strategy, width):
    kept, straight = await states(strategy, width)
    assert len(kept) == len(straight["depths"]) > 1
    for text in kept:
        resumed = await run(strategy, width, resume=SearchState.from_dict(json.loads(text)))
        assert plain(resumed) == straight


async def test_seconds_add_up():
    kept, _ = await states("rebase", 8)
    state = SearchState.from_dict(json.loads(kept[1]))
    state.seconds["total"] += 100.0
    resumed = await run("rebase", 8, resume=state)
    assert 100.0 < resumed.usage.seconds["total"] < 200.0


async def test_a_state_goes_there_and_back():
    kept, _ = await states("ets", 8)
    for text in kept:
        state = SearchState.from_dict(json.loads(text))
        state.tree.check_integrity()
        assert json.dumps(state.to_dict()) == text


async def test_a_state_of_another_question_is_refused():
    from etsearch import Problem

    kept, _ = await states("rebase", 4)
    with pytest.raises(ConfigError, match="another prompt"):
        await run("rebase", 4, problem=Problem("Another one."), resume=SearchState.from_dict(json.loads(kept[0])))


@pytest.mark.parametrize(
    "damage", [{"nodes": [[7, 0, None, None]]}, {"steps": []}, {"depths": [{}]}, {"ended": [[1, "?"]]}]
)
async def test_values_that_are_no_state_are_an_error(damage):
    kept, _ = await states("rebase", 4)
    with pytest.raises(RecordError, match="no state"):
        SearchState.from_dict({**json.loads(kept[0]), **damage})

"""Traces of searches, made by hand."""

from dataclasses import replace

import pytest

from etsearch.errors import RecordError
from etsearch.loop.result import DepthSummary
from etsearch.loop.state import SearchState
from etsearch.planning.trace import Draws, SearchTrace
from etsearch.tree import SearchTree
from etsearch.types import Continuation, EndReason, FinishReason

DEPTH = DepthSummary(
    depth=1,
    num_sampled=3,
    num_completed=1,
    nodes=(),
    widths=(),
    clusters=None,
    remaining_width=0,
    figures={},
    kv_tokens=9,
)


def written(ids, reason=FinishReason.STEP):
    return Continuation(tuple(ids), "".join(map(str, ids)), reason)


def state(merges):
    """Of a prompt of two tokens three draws, of which two are alike; then one under the first."""
    tree = SearchTree("q", (1, 2), merges=merges)
    first = tree.add(0, written([3, 4]))
    tree.add(0, written([3, 4]))
    tree.add(0, written([], FinishReason.END))
    tree.add(first, written([5]))
    found = SearchState(tree, depths=[DEPTH, replace(DEPTH, depth=2)], seconds={"select": 1.0, "cluster": 3.0})
    found.ended = {3: EndReason.ANSWERED, 4: EndReason.ANSWERED}
    return found


@pytest.mark.parametrize(("merges", "steps"), [(True, (1, 1, 3)), (False, (1, 2, 3))])
def test_draws_of_one_step_share_it_where_they_were_merged(merges, steps):
    trace = SearchTrace.of(state(merges), "by hand")
    assert trace.depths == (
        (Draws(0, steps, (2, 2, 1), tuple(dict.fromkeys(steps))),),  # a draw without text is a token too
        (Draws(1, (4,), (1,), (4,)),),
    )
    assert trace.generated_tokens == 2 + 2 + 1 + 1
    assert trace.prefix == (2, 4, 4, 2, 5)
    assert trace.path(4) == (0, 1, 4)
    assert trace.kv_tokens == 18
    assert trace.select_s == 2.0


def test_where_steps_are_not_scored_trajectories_are_when_they_end():
    trace = SearchTrace.of(state(merges=True), scores_steps=False)
    assert [draws.scored for requests in trace.depths for draws in requests] == [(3,), (4,)]


def test_a_search_all_of_whose_requests_failed_has_no_trace():
    with pytest.raises(RecordError, match="nothing to simulate"):
        SearchTrace.of(SearchState(SearchTree("q", (1, 2)), depths=[DEPTH]))


def test_a_tree_grown_across_depths_is_asked_for_by_rounds():
    """In the second round the root gets another child, and the first step one."""
    tree = SearchTree("q", (1, 2))
    first = tree.add(0, written([3, 4]))
    tree.add(0, written([5]))
    tree.add(first, written([6]))
    rounds = [replace(DEPTH, num_sampled=1, nodes=(0, first), widths=(1, 1)), replace(DEPTH, depth=2, num_sampled=2)]
    found = SearchState(tree, depths=rounds)
    assert found.written_at.tolist() == [0, 1, 2, 2]
    assert found.reached_back
    assert [[draws.tokens for draws in requests] for requests in SearchTrace.of(found).depths] == [[(2,)], [(1,), (1,)]]


def test_a_round_of_which_nothing_came_is_no_step_of_the_simulation():
    tree = SearchTree("q", (1, 2))
    tree.add(0, written([3]))
    tree.add(0, written([4]))
    rounds = [replace(DEPTH, depth=1 + number, num_sampled=count) for number, count in enumerate((1, 0, 1))]
    depths = SearchTrace.of(SearchState(tree, depths=rounds)).depths
    assert [[draws.tokens for draws in requests] for requests in depths] == [[(1,)], [(1,)]]

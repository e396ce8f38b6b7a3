"""The simulated engine by hand: a small cache, block by block."""

from etsearch.planning.engine import SimulatedEngine
from etsearch.planning.policy import EnginePolicy
from etsearch.planning.requests import CachedTree, Request
from etsearch.planning.trace import SearchTrace
from etsearch.tree import NO_PARENT

#  prompt 8 ── step 1: 8
TREE = SearchTrace("tree", (NO_PARENT, 0), (8, 8), (8, 16), (), 0)
SHORT = SearchTrace("short", (NO_PARENT, 0), (3, 12), (3, 15), (), 0)


def engine(num_blocks, likely_tokens=256, **policy):
    return SimulatedEngine(EnginePolicy(block_tokens=4, **policy), 4 * num_blocks, likely_tokens)


def run(engine):
    """Steps until it is idle; the batch of each."""
    batches = []
    while not engine.is_idle:
        batches.append(engine.begin()[0])
        engine.end()
    return batches


def test_a_prefix_that_waits_for_room_still_loses_its_end_first():
    engine_, tree, other = engine(5), CachedTree.of(TREE, 4), CachedTree.of(SHORT, 4)
    engine_.submit(Request(tree, 0, (8,), (1,)))
    run(engine_)
    assert tree.cached == [2, 2]
    engine_.submit(Request(other, 0, (12,), (1,)))
    engine_.submit(Request(tree, 1, (4,), (1,)))
    engine_.begin()  # all that is there beside the first is the second's own prefix: no block for its token
    assert (engine_.num_running, engine_.num_waiting) == (1, 1)
    engine_.end()
    while engine_.num_waiting:
        assert tree.cached[0] == 2 or tree.cached[1] == 0
        engine_.begin()
        engine_.end()
    run(engine_)
    assert engine_.counts.num_preemptions == 0


def test_what_lies_unused_of_a_prefix_is_reserved_with_it():
    engine_, tree = engine(8, likely_tokens=8, reserves=True), CachedTree.of(TREE, 4)
    engine_.submit(Request(tree, 0, (8,), (1,)))
    run(engine_)
    engine_.submit(Request(CachedTree.of(SHORT, 4), 0, (8,), (1,)))
    engine_.submit(Request(tree, 1, (8,), (1,)))
    engine_.begin()  # 3 blocks are likely for the first; the second's prefix has 4 and what it writes 2
    assert (engine_.num_running, engine_.num_waiting) == (1, 1)


def test_a_prefix_that_is_only_being_computed_is_not_read():
    engine_, tree = engine(100, step_tokens=5), CachedTree.of(TREE, 4)
    engine_.submit(Request(CachedTree.of(SHORT, 4), 0, (12,), (1,)))
    engine_.submit(Request(tree, 1, (4,), (1,)))
    batches = run(engine_)
    assert batches[1].decoding == 1
    assert batches[1].distinct == batches[1].logical == 3 + 1
    assert all(batch.distinct <= batch.logical for batch in batches)


def test_one_that_lost_its_blocks_goes_on_before_those_that_came_after_it():
    engine_ = engine(5, max_sequences=2)
    two = SearchTrace("two", (NO_PARENT, 0, 0), (7, 8, 8), (7, 15, 15), (), 0)
    later = Request(CachedTree.of(SHORT, 4), 0, (1,), (1,))
    for request in (Request(CachedTree.of(two, 4), 0, (8, 8), (1, 2)), later):
        engine_.submit(request)
    steps = {}
    while not engine_.is_idle:
        engine_.begin()
        steps |= dict.fromkeys(engine_.end(), engine_.counts.num_steps)
    assert engine_.counts.num_preemptions == 1
    assert steps[later] == 9  # there was a block for it at step 6, but who waits in front has none before step 8


def test_what_is_read_again_is_the_end_of_the_prefix_and_what_was_written():
    engine_ = engine(5)
    two = SearchTrace("two", (NO_PARENT, 0, 0), (7, 8, 8), (7, 15, 15), (), 0)
    engine_.submit(Request(CachedTree.of(two, 4), 0, (8, 8), (1, 2)))
    run(engine_)
    # a block of the prompt and two of each are full at 12 tokens, 5 of them written; then the younger's are taken
    counts = engine_.counts
    assert (counts.num_preemptions, counts.recomputed) == (1, 5)
    assert counts.prefilled == 7 + 3 + (3 + 5)
    assert counts.decoded == 16
    assert counts.num_steps == 8 + 3

"""What must hold of simulated searches, whatever their trees."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etsearch.planning.cost import Batch, CardCost
from etsearch.planning.engine import POLICIES, EnginePolicy, SimulatedEngine
from etsearch.planning.hardware import find_card
from etsearch.planning.models import find_shape
from etsearch.planning.scorer import Reading
from etsearch.planning.shapes import Precision
from etsearch.planning.simulate import Client, Machine, _Simulation, simulate
from etsearch.planning.table import constants_of
from etsearch.planning.trace import Draws, SearchTrace
from etsearch.tree import NO_PARENT

ENOUGH = 1 << 22
few = settings(max_examples=60, deadline=None)


def cost(card="h100-sxm", *, once=False, bandwidth=1.0):
    constants = constants_of(find_card(card))
    constants = replace(constants, weight_bandwidth=constants.weight_bandwidth * bandwidth)
    shape = find_shape("Qwen/Qwen2.5-Math-7B-Instruct")
    return CardCost(shape.split(1), constants, Precision.BF16, Precision.BF16, 0.001, once)


COST, ONCE, FASTER = cost(), cost(once=True), cost(bandwidth=1.5)


@st.composite
def traces(draw):
    """A search of some depths; some steps are expanded, some draws are of one step."""
    parent, tokens, depths = [NO_PARENT], [draw(st.integers(1, 90))], []
    prefix, open_steps = [tokens[0]], [0]
    for _ in range(draw(st.integers(1, 4))):
        requests, new = [], []
        for step in open_steps:
            steps, lengths = [], []
            for _ in range(draw(st.integers(1, 5))):
                if steps and draw(st.booleans()) and draw(st.booleans()):
                    steps.append(steps[-1])
                    lengths.append(lengths[-1])
                    continue
                steps.append(len(parent))
                lengths.append(draw(st.integers(1, 60)))
                parent.append(step)
                tokens.append(lengths[-1])
                prefix.append(prefix[step] + lengths[-1])
                new.append(steps[-1])
            requests.append(Draws(step, tuple(steps), tuple(lengths), tuple(dict.fromkeys(steps))))
        depths.append(tuple(requests))
        open_steps = [step for step in new if draw(st.booleans())] or new[:1]
    return SearchTrace("drawn", tuple(parent), tuple(tokens), tuple(prefix), tuple(depths), 0)


some = st.lists(traces(), min_size=1, max_size=5)
policies = st.sampled_from([*POLICIES.values(), EnginePolicy(block_tokens=4, max_sequences=3, step_tokens=32)])


def machine(policy, cache_tokens=ENOUGH, generator=COST, **more):
    return Machine(generator, policy, cache_tokens, **more)


def longest(searches, size):
    """The cache that holds the longest trajectory and no more."""
    return max(-(-max(trace.prefix) // size) * size for trace in searches)


def generated(searches):
    return sum(trace.generated_tokens for trace in searches)


@few
@given(st.integers(1, 4000), st.integers(0, 100_000), st.floats(0, 1), st.floats(0, 1e6))
def test_no_step_takes_less_than_the_weights_it_reads(rows, logical, share, pairs):
    batch = Batch(rows, rows, int(share * logical), logical, pairs, 0, 0)
    for each in (COST, ONCE):
        time = each.step(batch)
        read = each.share.read_parameters(rows) * 2 / each.constants.weight_bandwidth
        assert time.weights == pytest.approx(read)
        assert min(time) >= 0
    assert ONCE.step(batch).kv <= COST.step(batch).kv


@few
@given(some, policies, st.integers(1, 4), st.floats(1.0, 3.0))
def test_the_cache_is_never_overrun_and_everything_ends(searches, policy, in_flight, room):
    cache = int(longest(searches, policy.block_tokens) * room)
    simulation = _Simulation(searches, machine(policy, cache), in_flight)
    engine = simulation.engine
    begin = engine.begin

    def checked():
        found = begin()
        assert 0 <= engine.used_blocks <= engine.num_blocks
        assert engine.used_blocks + engine._unused_blocks <= engine.num_blocks
        recount(engine)
        return found

    engine.begin = checked
    run = simulation.run()
    assert len(run.latencies) == len(searches)
    assert engine.is_idle
    assert (engine.used_blocks, engine.kv_tokens, engine._logical, engine._decoding) == (0, 0, 0, 0)
    assert run.counts.decoded >= generated(searches)
    if not policy.restarts:
        assert run.counts.decoded == generated(searches)


def recount(engine: SimulatedEngine) -> None:
    """The running sums are those of what runs."""
    running = list(engine._running)
    path = {step for s in running for step in to_the_prompt(s.request.end)}
    assert engine._held == sum(step.owned for step in path)
    assert engine._held_tokens == sum(step.tokens for step in path)
    decoding = [s for s in running if s.joined >= 0]
    assert engine._decoding == len(decoding)
    written = [engine._written(s) for s in decoding]
    assert engine._own_tokens == sum(written)
    prefixes = [s.request.tree.trace.prefix[s.request.step] for s in decoding]
    assert engine._logical == sum(prefixes) + sum(written)
    assert engine._unused_blocks == sum(step.cached for step in engine._unused)
    assert not path & set(engine._unused)
    for step in engine._unused:  # the end of a prefix goes first: what is there has all above it there
        assert all(above.cached == above.owned for above in to_the_prompt(step.above))


def to_the_prompt(step):
    while step is not None:
        yield step
        step = step.above


@few
@given(some, policies, st.integers(1, 4))
def test_what_is_asked_of_the_cache_is_found_there_or_computed(searches, policy, in_flight):
    run = simulate(searches, machine(policy), in_flight)
    counts = run.counts
    assert counts.num_preemptions == counts.evicted == counts.recomputed == 0
    assert counts.prefilled == counts.queried - counts.hits
    assert counts.decoded == generated(searches)


@few
@given(some, policies, st.integers(1, 4))
def test_more_room_or_bandwidth_never_slows_what_does_not_thrash(searches, policy, in_flight):
    run = simulate(searches, machine(policy), in_flight)
    assert simulate(searches, machine(policy, 2 * ENOUGH), in_flight).seconds == run.seconds
    assert simulate(searches, machine(policy, generator=FASTER), in_flight).seconds <= run.seconds * (1 + 1e-9)


@few
@given(traces(), policies)
def test_a_search_alone_takes_the_sum_of_its_steps(trace, policy):
    prm = Reading(step_tokens=64)
    client = Client(0.01, 0.001, 0.1)
    run = simulate([trace], machine(policy, prm=COST, reading=prm, client=client, together=1.0), 1)
    parts = run.time.total + run.prm_s + run.client_s
    assert run.engine_s == pytest.approx(run.time.total)
    assert max(run.time.total, run.prm_s, run.client_s) <= run.seconds * (1 + 1e-9)
    assert run.seconds <= parts * (1 + 1e-9)
    alone = simulate([trace], machine(policy), 1)
    assert alone.seconds == pytest.approx(alone.time.total)


@few
@given(some, policies)
def test_tokens_do_not_depend_on_how_many_searches_are_in_flight(searches, policy):
    runs = [simulate(searches, machine(policy), number) for number in (1, 3)]
    assert runs[0].counts.decoded == runs[1].counts.decoded
    assert runs[0].counts.prefilled == runs[1].counts.prefilled

"""What must hold of simulated searches, whatever their trees."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etsearch.loop.settings import SearchSettings
from etsearch.planning.cost import Batch, CardCost
from etsearch.planning.engine import SimulatedEngine
from etsearch.planning.hardware import find_card
from etsearch.planning.models import find_shape
from etsearch.planning.policy import POLICIES, EnginePolicy
from etsearch.planning.scorer import Reading
from etsearch.planning.shapes import Precision
from etsearch.planning.simulate import Client, Machine, _Simulation, simulate
from etsearch.planning.table import constants_of
from etsearch.planning.trace import Draws, SearchTrace
from etsearch.planning.world import Assumptions, DrawnWorld, grow
from etsearch.strategies import STRATEGIES
from etsearch.tree import NO_PARENT

ENOUGH = 1 << 22
few = settings(max_examples=40, deadline=None)


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

    abandoned = 0
    preempt = engine._preempt

    def counted():
        nonlocal abandoned
        abandoned += next(reversed(engine._running)).prefill if next(reversed(engine._running)).joined < 0 else 0
        preempt()

    def checked():
        found = begin()
        batch, _ = found
        assert batch.distinct <= min(batch.logical, engine.kv_tokens)
        assert 0 <= engine.used_blocks <= engine.num_blocks
        assert engine.used_blocks + engine._unused_blocks <= engine.num_blocks
        recount(engine)
        return found

    engine.begin, engine._preempt = checked, counted
    run = simulation.run()
    assert len(run.latencies) == len(searches)
    assert engine.is_idle
    assert (engine.used_blocks, engine.kv_tokens, engine._logical, engine._decoding) == (0, 0, 0, 0)
    counts = run.counts
    assert counts.queried == counts.hits + counts.prefilled + abandoned
    written_again = counts.decoded - generated(searches)
    assert written_again >= 0
    assert written_again == 0 or policy.restarts
    assert counts.recomputed - written_again <= counts.prefilled


def recount(engine: SimulatedEngine) -> None:
    """The running sums are those of what runs."""
    running = list(engine._running)
    path = {step for s in running for step in to_the_prompt(s.request.end)}
    assert engine._held == sum(step.owned for step in path)
    assert engine._held_tokens == sum(step.tokens for step in path)
    ends = [s.request.prefix % engine.policy.block_tokens + engine._written(s) + 1 for s in running if s.joined >= 0]
    ends += [s.request.prefix % engine.policy.block_tokens + s.written + 1 for s in running if s.joined < 0]
    assert engine._own == sum(-(-end // engine.policy.block_tokens) for end in ends)  # its next token among them
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
    assert counts.queried == counts.hits + counts.prefilled
    assert counts.decoded == generated(searches)
    if policy.max_sequences > 100:  # else a request may be gone from the engine before all of it was taken in
        assert counts.queried == sum(asked for asked, _ in cached(searches, policy))
        assert counts.hits == sum(hits for _, hits in cached(searches, policy))


def cached(searches, policy):
    """Of each continuation the tokens of its prefix, and those that are found where nothing is ever thrown out."""
    size = policy.block_tokens
    for trace in searches:
        for draws in (draws for requests in trace.depths for draws in requests):
            prefix = trace.prefix[draws.parent]
            whole = (prefix - 1) // size * size
            yield prefix, whole if draws.parent else 0
            for _ in draws.tokens[1:]:
                yield prefix, prefix - 1 if policy.forks else whole


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


@st.composite
def chains(draw):
    """A search with one request a depth, all of whose continuations are of one length: nothing of it overlaps."""
    parent, tokens, prefix, depths = [NO_PARENT], [draw(st.integers(1, 90))], [], []
    prefix.append(tokens[0])
    above = 0
    for _ in range(draw(st.integers(1, 4))):
        length, steps = draw(st.integers(1, 60)), []
        for _ in range(draw(st.integers(1, 5))):
            steps.append(len(parent))
            parent.append(above)
            tokens.append(length)
            prefix.append(prefix[above] + length)
        depths.append((Draws(above, tuple(steps), (length,) * len(steps), tuple(steps)),))
        above = steps[0]
    return SearchTrace("chain", tuple(parent), tuple(tokens), tuple(prefix), tuple(depths), 0)


@few
@given(chains(), st.sampled_from([*POLICIES.values()]), st.sampled_from(["none", "cache", "packed"]))
def test_a_search_of_which_nothing_overlaps_takes_the_sum_of_its_steps(trace, policy, sharing):
    client = Client(0.01, 0.001, 0.1)
    run = simulate([trace], machine(policy, prm=COST, reading=Reading(sharing, 64), client=client, together=0.5), 1)
    asked = [len(draws.tokens) for (draws,) in trace.depths]
    assert run.client_s == pytest.approx(sum(0.01 + 0.001 * count + 0.1 for count in asked))
    assert run.seconds == pytest.approx(run.time.total + run.prm_s + run.client_s)
    assert run.waiting_seconds == run.recompute_s == 0
    assert run.counts.num_steps == sum(draws.tokens[0] for (draws,) in trace.depths)


@few
@given(some, policies, st.integers(1, 4))
def test_attention_that_reads_shared_pages_once_never_slows_a_run(searches, policy, in_flight):
    paged, once = (simulate(searches, machine(policy, generator=each), in_flight) for each in (COST, ONCE))
    assert once.seconds <= paged.seconds * (1 + 1e-9)
    assert once.counts == paged.counts


@st.composite
def grown(draw):
    """What a strategy grows in a world that is drawn."""
    steps, step_tokens = draw(st.floats(1, 6)), draw(st.floats(1, 50))
    assumed = Assumptions(draw(st.integers(1, 100)), steps, draw(st.floats(0, 3)), step_tokens, draw(st.floats(0, 40)))
    seed, strategy = draw(st.integers(0, 1000)), STRATEGIES.create(draw(st.sampled_from(["rebase", "ets", "beam"])))
    made = SearchSettings(width=draw(st.integers(4, 24)), seed=seed, merge=draw(st.booleans()), early_stop=False)
    return asyncio.run(grow(DrawnWorld(assumed, seed), strategy, made, "drawn"))


@settings(max_examples=15, deadline=None)
@given(st.lists(grown(), min_size=1, max_size=3), st.sampled_from([*POLICIES.values()]), st.integers(1, 3))
def test_searches_that_were_grown_end_in_a_cache_that_holds_one_trajectory(searches, policy, in_flight):
    everything = {"prm": COST, "client": Client(0.001, 0.0001), "together": 0.5}
    small = simulate(searches, machine(policy, longest(searches, policy.block_tokens), **everything), in_flight)
    large = simulate(searches, machine(policy, **everything), in_flight)
    assert len(small.latencies) == len(large.latencies) == len(searches)
    assert large.counts.decoded == small.generated_tokens == generated(searches)
    assert small.counts.decoded >= large.counts.decoded
    assert small.prm_tokens == large.prm_tokens
    assert small.counts.peak_kv <= small.cache_tokens


@few
@given(some, policies, st.integers(1, 4), st.floats(1.0, 3.0))
def test_the_same_searches_take_the_same_time_again(searches, policy, in_flight, room):
    cache = int(longest(searches, policy.block_tokens) * room)
    made = machine(policy, cache, prm=COST, reading=Reading("packed", 128, 64), together=0.5)
    assert simulate(searches, made, in_flight) == simulate(searches, made, in_flight)

"""The simulated reward model, batch by batch."""

import random

import pytest

from etsearch.errors import ConfigError
from etsearch.planning.scorer import Reading, Score, SimulatedScorer
from etsearch.planning.trace import SearchTrace
from etsearch.prms.in_process import batches as real_batches
from etsearch.prms.packing import pack
from etsearch.tree import NO_PARENT

#  prompt 10 ── step 1: 6 ── step 3: 5
#           └── step 2: 3
TREE = SearchTrace("tree", (NO_PARENT, 0, 0, 1), (10, 6, 3, 5), (10, 16, 13, 21), (), 0)


def batches(reading, scores):
    scorer, found, done = SimulatedScorer(reading), [], []
    for score in scores:
        scorer.submit(score)
    while not scorer.is_idle:
        found.append(scorer.begin())
        done += scorer.end()
    assert len(done) == len(scores)
    return found


def random_tree(seed, num_steps=40):
    """A tree with ids such that siblings begin differently and stand in their order, and the ids of each trajectory."""
    rng = random.Random(seed)
    parent, tokens, prefix, ids = [NO_PARENT], [rng.randint(1, 12)], [], [()]
    prefix, ids = [tokens[0]], [(0,) * tokens[0]]
    for step in range(1, num_steps):
        parent.append(rng.randrange(step))
        tokens.append(rng.randint(1, 9))
        prefix.append(prefix[parent[step]] + tokens[step])
        ids.append((*ids[parent[step]], step, *(0,) * (tokens[step] - 1)))
    return SearchTrace("random", tuple(parent), tuple(tokens), tuple(prefix), (), 0), ids


@pytest.mark.parametrize("seed", range(20))
def test_packed_rows_are_those_of_the_real_packing(seed):
    trace, ids = random_tree(seed)
    steps = random.Random(seed).sample(range(1, 40), 15)
    reading = Reading("packed", step_tokens=10**6, row_tokens=48)
    found = batches(reading, [Score(trace, step, "a search") for step in steps])
    lengths = [len(row.ids) for row in pack([ids[step] for step in steps], 48).rows]
    of_each = [[lengths[place] for place in places] for places in real_batches(lengths, 10**6 // 48)]
    assert [batch.prefixes for batch in found] == list(map(len, of_each))
    assert [batch.rows for batch in found] == [len(each) * max(each) for each in of_each]


def test_rows_are_read_as_many_at_once_as_a_step_holds():
    trace, _ = random_tree(1)
    scores = [Score(trace, step, "a search") for step in range(1, 40)]
    together = sum(batch.prefixes for batch in batches(Reading("packed", 10**6, 48), scores))
    found = batches(Reading("packed", 100, 48), scores)
    assert {batch.prefixes for batch in found} == {1, 2}
    assert sum(batch.prefixes for batch in found) == together


def test_packed_rows_are_padded_to_a_step_of_lengths():
    scores = [Score(TREE, step, "a search") for step in (1, 2)]  # a row of 10 + 6 + 3 tokens
    assert [batch.rows for batch in batches(Reading("packed", 10**6, 10**5, 16), scores)] == [32]


def test_two_searches_share_nothing_though_their_trees_are_one():
    scores = [Score(TREE, step, tag) for step in (1, 2) for tag in ("first", "second")]
    assert batches(Reading("packed", 10**6, 10**5), scores)[0].rows == 2 * (10 + 6 + 3)


def test_a_step_takes_what_it_holds_and_one_at_least():
    scores = [Score(TREE, step, None) for step in (1, 2, 3)]
    assert [batch.rows for batch in batches(Reading(step_tokens=29), scores)] == [16 + 13, 21]
    assert [batch.rows for batch in batches(Reading(step_tokens=1), scores)] == [16, 13, 21]


def test_pairs_and_context_by_hand():
    (whole,) = batches(Reading(), [Score(TREE, 3, None)])
    assert (whole.rows, whole.pairs, whole.context, whole.prefixes) == (21, 21 * 21 / 2, 21, 1)
    (cached,) = batches(Reading("cache"), [Score(TREE, 3, None)])
    assert (cached.rows, cached.pairs, cached.context) == (6, 6 * (21 - 6 / 2), 21)


@pytest.mark.parametrize("name", ["step_tokens", "row_tokens"])
def test_a_step_and_a_row_hold_something(name):
    with pytest.raises(ConfigError, match=name):
        Reading(**{name: 0})

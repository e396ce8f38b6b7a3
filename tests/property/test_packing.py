"""Packing of sequences that share prefixes: nothing is lost, nothing sees what it must not, nothing stands twice."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from etsearch.prms.packing import NO_PARENT, pack

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=12)


@given(SEQUENCES, st.integers(1, 40))
def test_every_sequence_is_read_off_its_row(sequences, max_tokens):
    packed = pack(sequences, max_tokens)
    for sequence, (number, slots) in zip(sequences, packed.places, strict=True):
        row = packed.rows[number]
        assert tuple(row.ids[slot] for slot in slots) == sequence
        assert [row.positions[slot] for slot in slots] == list(range(len(sequence)))


@given(SEQUENCES, st.integers(1, 40))
def test_a_token_sees_its_own_prefix_and_nothing_else(sequences, max_tokens):
    packed = pack(sequences, max_tokens)
    for number, slots in packed.places:
        row = packed.rows[number]
        mask = row.mask(len(row.ids) + 2)
        for place, slot in enumerate(slots):
            assert np.flatnonzero(mask[slot] == 0).tolist() == sorted(slots[: place + 1])
        assert (slots[0], NO_PARENT) in row.chains
        for padding in range(len(row.ids), len(row.ids) + 2):
            assert np.flatnonzero(mask[padding] == 0).tolist() == [padding]


@given(SEQUENCES)
def test_in_one_row_each_distinct_prefix_stands_once(sequences):
    packed = pack(sequences, 10**6)
    prefixes = {sequence[: n + 1] for sequence in sequences for n in range(len(sequence))}
    assert len(packed.rows) == 1
    assert len(packed.rows[0].ids) == len(prefixes)


@given(SEQUENCES, st.integers(1, 40))
def test_a_row_is_too_long_only_for_a_sequence_that_is(sequences, max_tokens):
    longest = max(map(len, sequences))
    assert all(len(row.ids) <= max(max_tokens, longest) for row in pack(sequences, max_tokens).rows)

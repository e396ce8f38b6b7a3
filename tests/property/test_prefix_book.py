"""The book of what is in the embedded engine's cache, against a cache that finds half-filled blocks as it does."""

import random

import pytest

from etsearch.generators._kv_room import BLOCK_TOKENS
from etsearch.generators._prefix_book import NUMBER_SHIFT, PrefixBook

TOKENS = (1, 2)
"""So few that sequences often begin alike."""


class Block:
    def __init__(self, name):
        self.name, self.tokens = name, []

    def write(self, slot, token):
        self.tokens[slot:] = [token]


class HalfFilledBlocks:
    """What the pipeline does with a cache, but for the model: a block's tokens stand for their keys and values."""

    def __init__(self, chance):
        self.blocks, self.chance = [], chance

    def find(self, name):
        return next((block for block in reversed(self.blocks) if block.name == name), None)

    def restore(self, ids):
        """The blocks that a request's prefix is given, and how many of its tokens they hold."""
        table, held = [], 0
        while held < len(ids):
            whole = min(held + BLOCK_TOKENS, len(ids))
            shorter = range(held + 1, min(held + BLOCK_TOKENS, len(ids) + 1))
            lengths = [whole, *shorter]
            found = next(((n, block) for n in lengths if (block := self.find(ids[:n]))), None)
            if found is None:
                break
            table.append(found[1])
            if found[0] < whole:
                return table, found[0]
            held = whole
        return table, min(held, len(ids) - 1)

    def read(self, ids, table, held):
        """Computes the rest of a prefix, in the blocks that it was given and in new ones."""
        for at in range(held, len(ids)):
            if at // BLOCK_TOKENS == len(table):
                table.append(self.new(ids[: min((at // BLOCK_TOKENS + 1) * BLOCK_TOKENS, len(ids))]))
            table[at // BLOCK_TOKENS].write(at % BLOCK_TOKENS, ids[at] % 2**NUMBER_SHIFT)

    def write(self, ids, table, texts):
        """A request's sequences: each copies the block in which the prefix ends, the last one goes on in it."""
        for text in texts:
            self._write(ids, list(table), text)
        if len(ids) % BLOCK_TOKENS:
            self.blocks = [block for block in self.blocks if block is not table[-1]]

    def _write(self, ids, table, text):
        """All but the last token is computed."""
        if len(ids) % BLOCK_TOKENS:
            shared = table.pop()
            table.append(self.new(shared.name))
            table[-1].tokens = list(shared.tokens)
        for at, token in enumerate(text[:-1], start=len(ids)):
            ids = (*ids, token)
            if at % BLOCK_TOKENS == 0:
                table.append(self.new(ids))
            table[-1].write(at % BLOCK_TOKENS, token)
            table[-1].name = ids

    def new(self, name):
        self.blocks.append(Block(name))
        return self.blocks[-1]

    def drop(self, share):
        self.blocks = [block for block in self.blocks if self.chance.random() >= share]


class NoBook(PrefixBook):
    """Every request as it is: what the engine did."""

    def place(self, prefix):
        place = super().place(prefix)
        place.ids[:] = place.prefix
        return place


def holds(table):
    return [token for block in table for token in block.tokens]


def grow(book, seed, *, dropped=0.2, rounds=40):
    """Requests in rounds, those of one read in the same step; returns how many read something else than their prefix.

    A prefix is an earlier one, with what one of its sequences wrote, or new.
    """
    chance = random.Random(seed)
    cache, prefixes, num_wrong, num_known = HalfFilledBlocks(chance), [], 0, 0
    for _ in range(rounds):
        cache.drop(dropped)
        came = [
            chance.choice(prefixes)
            if prefixes and chance.random() < 0.9
            else tuple(chance.choices(TOKENS, k=chance.randint(1, 2 * BLOCK_TOKENS)))
            for _ in range(chance.randint(1, 6))
        ]
        places = [book.place(prefix) for prefix in came]
        ids = [tuple(int(i) for i in place.ids) for place in places]
        tables = [cache.restore(one) for one in ids]
        leaves = [chance.random() < 0.1 for _ in came]
        for one, (table, held), has_left in zip(ids, tables, leaves, strict=True):
            if not has_left:
                cache.read(one, table, held)
        for one, place, (table, _), has_left in zip(ids, places, tables, leaves, strict=True):
            if has_left:
                book.drop(place)
                continue
            num_wrong += holds(table)[: len(one)] != list(place.prefix)
            num_known += place.num_known
            if chance.random() < 0.5:
                book.keep(place)
            written = [tuple(chance.choices(TOKENS, k=chance.randint(1, 40))) for _ in range(chance.randint(1, 8))]
            cache.write(one, table, written)
            book.keep(place, written)
            prefixes += [(*place.prefix, *text) for text in written]
            prefixes = [prefix for prefix in prefixes[-24:] if len(prefix) < 5 * BLOCK_TOKENS]
    return num_wrong, num_known


@pytest.mark.parametrize("dropped", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("seed", range(12))
def test_every_request_reads_its_own_prefix(seed, dropped):
    num_wrong, num_known = grow(PrefixBook(1000), seed, dropped=dropped)
    assert num_wrong == 0
    assert num_known > 50


def test_a_small_book_knows_less_and_nothing_wrong():
    small, large = (grow(PrefixBook(size), 1) for size in (8, 1000))
    assert small[0] == large[0] == 0
    assert small[1] < large[1]


def test_without_the_book_requests_read_what_others_wrote():
    assert sum(grow(NoBook(1000), seed)[0] for seed in range(12)) > 10


def prefix_of(length, token=7):
    return (token,) * length


def test_only_whole_blocks_before_the_last_token_are_known():
    book = PrefixBook(10)
    place = book.place(prefix_of(70))
    assert place.num_known == 0
    book.keep(place)
    assert [book.place(prefix_of(length)).num_known for length in (32, 33, 64, 65, 200)] == [0, 1, 1, 2, 2]


def test_a_request_writes_under_a_number_that_no_other_has():
    book = PrefixBook(10)
    book.keep(book.place(prefix_of(70)))
    first, second = (book.place(prefix_of(70)).ids >> NUMBER_SHIFT for _ in range(2))
    assert first[0] == second[0] != 0
    assert 0 != first[64] != second[64] != 0
    assert set(first[1:64]) | set(first[65:]) == {0}


def test_of_two_blocks_that_go_on_from_where_a_sequence_ended_one_is_known():
    """Should the pipeline drop them, it would give both requests the block of the sequence that ended."""
    book = PrefixBook(10)
    ended, left, right = (1, 1, 9), (1, 1) + (2,) * 40, (1, 1) + (3,) * 40
    for written, known in (([left, right], [1, 1]), ([ended, left, right], [1, 0]), ([(1, 2, 9), left, right], [1, 1])):
        place = book.place(prefix_of(10, token=len(written) + len(written[0])))
        book.keep(place, written)
        assert [book.place(place.prefix + text).num_known for text in (left, right)] == known


def test_what_was_never_read_is_not_found():
    book = PrefixBook(10)
    book.keep(book.place(prefix_of(70)))
    place = book.place(prefix_of(90))
    assert place.num_known == 2
    book.drop(place)
    assert book.place(prefix_of(90)).num_known == 0
    assert len(book) == 0


def test_the_book_forgets_what_was_not_used_for_longest():
    book = PrefixBook(2)
    for token in (1, 2):
        book.keep(book.place(prefix_of(40, token)))
    assert book.place(prefix_of(40, 1)).num_known == 1
    book.keep(book.place(prefix_of(40, 3)))
    assert [book.place(prefix_of(40, token)).num_known for token in (1, 2, 3)] == [1, 0, 1]


def test_a_path_is_forgotten_from_its_end():
    book = PrefixBook(4)
    book.keep(book.place(prefix_of(129)))
    assert book.place(prefix_of(129)).num_known == 4
    book.keep(book.place(prefix_of(40, 2)))
    assert book.place(prefix_of(129)).num_known == 3
    assert len(book) == 4


def test_the_book_takes_prefixes_and_texts_of_any_length():
    book = PrefixBook(10_000)
    place = book.place(prefix_of(40_000))
    book.keep(place)
    book.keep(place, [prefix_of(40_000, token) for token in (8, 9)])
    assert book.place(prefix_of(40_000)).num_known == 1249
    assert book.place(place.prefix + prefix_of(40_000, 8)).num_known == 2499


def test_a_block_that_another_has_written_stays_where_it_is():
    """What comes after it in the second request's space cannot be found behind the first one's."""
    book = PrefixBook(10)
    text = prefix_of(80, 8)
    places = [book.place(prefix_of(10)) for _ in range(2)]
    book.keep(places[0], [text[:30]])
    book.keep(places[1], [text])
    assert book.place(prefix_of(10) + text).num_known == 1
    assert book.place(prefix_of(10) + text).ids[0] >> NUMBER_SHIFT == places[0].number

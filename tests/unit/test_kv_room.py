"""Room in the cache of the embedded engine: what is reserved, what is bounded, and how long sequences lately became."""

import pytest

from etsearch.generators._kv_room import KvRoom, Need, most_sequences, own_blocks
from etsearch.generators._lengths import FEWEST_LENGTHS, KEPT_LENGTHS, Lengths

PREFIX = 70  # two full blocks, and 6 tokens of a third


def need(count=1, max_tokens=256, likely=10, **more):
    made = Need(PREFIX, count, max_tokens, **more)
    made.expect(likely)
    return made


def run(room, steps, used=0):
    for _ in range(steps):
        room.count_step(used)


def test_blocks_of_a_sequence():
    assert [own_blocks(PREFIX, tokens) for tokens in (1, 26, 27, 58, 59)] == [1, 1, 2, 2, 3]
    assert own_blocks(64, 32) == 1
    assert most_sequences(10, PREFIX, 26) == 8
    assert most_sequences(10, PREFIX, 27) == 4


def test_what_can_never_fill_the_cache_is_not_reckoned():
    room = KvRoom(20, 2048)
    for _ in range(2):
        assert room.has_room(need(4, max_tokens=58))
        room.take(need(4, max_tokens=58))
    run(room, 200, used=20)
    assert room.is_safe
    assert not room.has_room(need(4, max_tokens=58))


def test_likely_needs_are_reserved_not_limits():
    room = KvRoom(20, 2048)
    for count in (4, 4, 4):
        assert room.has_room(need(count))  # 2 blocks of the prefix, and one of its own for each sequence
        room.take(need(count))
    assert room.has_room(need(0))
    assert not room.has_room(need(1))
    assert not room.has_room(need(1, likely=200))


def test_the_whole_need_is_the_limit_whatever_is_likely():
    whole = need(4).whole()
    whole.expect(10)
    assert whole.reserved == whole.limit == 2 + 4 * 9
    assert (whole.num_steps, whole.num_sure) == (0, 0)
    assert need(4).reserved == 2 + 4


def test_an_empty_cache_takes_what_it_can_never_hold():
    room = KvRoom(20, 2048)
    assert room.has_room(need(4, likely=256))
    room.take(need(1))
    assert not room.has_room(need(4, likely=256))


def test_it_is_safe_until_two_steps_before_sequences_need_more():
    room = KvRoom(18, 2048)
    for _ in range(3):
        room.take(need(4))
    room.count_step(9)  # the prefixes
    run(room, 24, used=18)
    assert room.is_safe  # 24 tokens of each sequence and the prefix's 6; two steps on they have 26
    room.count_step(18)
    assert not room.is_safe


def test_sequences_that_ended_leave_room():
    room = KvRoom(18, 2048)
    for _ in range(3):
        room.take(need(4))
    run(room, 25, used=6)  # the pipeline uses less than all of them would
    assert room.is_safe  # 6 blocks, and 12 more at most
    room.count_step(7)
    assert not room.is_safe


def test_a_shared_prefix_is_counted_once_the_pipeline_has_it():
    room = KvRoom(10, 2048)
    for _ in range(2):
        room.take(need())
    assert not room.has_room(need(3))
    room.count_step(4)
    room.count_step(4)
    assert room.has_room(need(4))  # 4 blocks, and 2 + 4 for this one
    assert not room.has_room(need(5))


def test_a_prefix_may_take_several_steps_and_running_sequences_come_first():
    room = KvRoom(10, 100)
    first, second, third = need(40, max_tokens=300), need(), need(is_apart=True)
    for one in (first, second, third):
        room.take(one)
    room.count_step(0)
    assert [one.num_computed for one in (first, second, third)] == [70, 30, 0]
    assert [one.num_sure for one in (first, second, third)] == [1, 0, 0]
    room.count_step(0)
    assert [one.num_computed for one in (first, second, third)] == [70, 70, 20]
    run(room, 4)
    assert [one.num_steps for one in (first, second, third)] == [6, 6, 6]
    assert [one.num_sure for one in (first, second, third)] == [6, 5, 0]  # sequences apart are never sure
    assert third.bound == 2 + 1
    assert need(3, is_apart=True).bound == 3 * 2 + 3


def test_more_sequences_than_a_step_computes_are_not_sure_to_advance():
    room = KvRoom(10, 100)
    crowd = need(101)
    room.take(crowd)
    run(room, 5)
    assert (crowd.num_steps, crowd.num_sure) == (5, 1)


def test_what_leaves_holds_its_blocks_for_one_step_more():
    room = KvRoom(18, 2048)
    needs = [need(4) for _ in range(3)]
    for one in needs:
        room.take(one)
    run(room, 26, used=18)
    assert not room.is_safe
    room.let_go(needs.pop())
    room.let_go(needs.pop())
    assert room.is_safe  # 2 blocks of the prefix, and 2 for each of 4 sequences
    assert not room.has_room(need(1))
    room.count_step(6)
    assert room.has_room(need(1))
    room.let_go(needs.pop())
    room.release()
    assert room.has_room(need(15, max_tokens=20))
    room.take(need(15, max_tokens=20))
    assert not room.has_room(need(1, max_tokens=20))


def test_nothing_is_likely_until_enough_was_seen():
    lengths = Lengths()
    for _ in range(FEWEST_LENGTHS - 1):
        lengths.add((), 5)
    assert lengths.likely((), 256) == 256
    lengths.add((), 5)
    assert lengths.likely((), 256) == 5
    assert lengths.likely((), 3) == 3
    assert lengths.likely(("\n",), 256) == 256


@pytest.mark.parametrize(("num_long", "likely"), [(0, 10), (5, 10), (6, 90), (100, 90)])
def test_a_share_of_the_sequences_is_no_longer(num_long, likely):
    lengths = Lengths()
    for number in range(100):
        lengths.add((), 90 if number < num_long else 10)
    assert lengths.likely((), 256) == likely


def test_what_was_long_ago_is_forgotten():
    lengths = Lengths()
    for length in (90, 10):
        for _ in range(KEPT_LENGTHS):
            lengths.add((), length)
    assert lengths.likely((), 256) == 10


def test_sequences_that_are_requests_of_their_own_take_their_tokens_of_a_step():
    """A hundred of them leave 156 of 256 tokens for a prefix of 950, which then takes seven steps and not four."""
    room = KvRoom(10_000, 256)
    watched, other = Need(10, 100, 256, is_apart=True), Need(950, 1, 256)
    room.take(watched)
    run(room, 1)
    assert watched.is_read
    room.take(other)
    run(room, 6)
    assert not other.is_read
    run(room, 1)
    assert other.is_read

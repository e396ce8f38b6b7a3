import numpy as np
import pytest

from etsearch.errors import ConfigError
from etsearch.tree import NO_PARENT, ROOT, SearchTree
from etsearch.types import Continuation, FinishReason


def step(num_tokens: int, text: str = "s\n") -> Continuation:
    return Continuation(tuple(range(100, 100 + num_tokens)), text, FinishReason.STEP)


@pytest.fixture
def tree() -> SearchTree:
    """Prompt of 5 tokens; 0 → 1 (3 tokens), 0 → 2 (4); 1 → 3 (2), 1 → 4 (6); 2 → 5 (1)."""
    tree = SearchTree("q", [1, 2, 3, 4, 5])
    for parent, size in ((0, 3), (0, 4), (1, 2), (1, 6), (2, 1)):
        tree.add(parent, step(size))
    return tree


def test_arrays(tree):
    assert tree.parent.tolist() == [NO_PARENT, 0, 0, 1, 1, 2]
    assert tree.depth.tolist() == [0, 1, 1, 2, 2, 2]
    assert tree.tokens.tolist() == [5, 3, 4, 2, 6, 1]
    tree.check_integrity()


def test_span_holds_each_ancestor_once(tree):
    assert np.flatnonzero(tree.span([3, 4])).tolist() == [0, 1, 3, 4]
    assert np.flatnonzero(tree.span([5, 1])).tolist() == [0, 1, 2, 5]
    assert not tree.span([]).any()


@pytest.mark.parametrize(
    ("nodes", "shared", "unshared"),
    [([3, 4], 5 + 3 + 2 + 6, (5 + 3 + 2) + (5 + 3 + 6)), ([3, 4, 5], 21, 34), ([ROOT], 5, 5), ([], 0, 0)],
)
def test_kv_tokens(tree, nodes, shared, unshared):
    assert tree.kv_tokens(nodes) == shared
    assert tree.kv_tokens_unshared(nodes) == unshared


def test_prefix_is_the_prompt_and_the_steps(tree):
    assert tree.prefix(3) == (1, 2, 3, 4, 5, 100, 101, 102, 100, 101)
    assert tree.prefix_tokens(3) == 10
    assert tree.path(3) == [1, 3]
    assert tree.path(ROOT) == []


def test_ancestor_at(tree):
    assert tree.ancestor_at(np.array([3, 5, 1]), 1).tolist() == [1, 2, 1]
    with pytest.raises(ConfigError, match="lies above depth 2"):
        tree.ancestor_at(np.array([3, 1]), 2)


def test_a_reward_is_set_once_and_lies_in_range(tree):
    with pytest.raises(ConfigError, match=r"reward of node 3 is 1.2"):
        tree.set_reward(3, 1.2)
    with pytest.raises(ConfigError, match="reward of node 3 is nan"):
        tree.set_reward(3, float("nan"))
    tree.set_reward(3, 0.5)
    with pytest.raises(ConfigError, match="node 3 cannot take a reward"):
        tree.set_reward(3, 0.6)


def test_an_unknown_node_is_named(tree):
    with pytest.raises(ConfigError, match="node 9 does not exist; the tree has nodes 0 to 5"):
        tree.path(9)


def test_integrity_check_sees_a_broken_tree(tree):
    tree._parent[2] = 4
    with pytest.raises(ConfigError, match="does not come after its parent"):
        tree.check_integrity()


@pytest.mark.parametrize("merges", [True, False])
def test_draws_under_a_step_are_counted_and_so_are_those_of_an_earlier_tree(merges):
    tree = SearchTree("q", [1], merges=merges)
    first = tree.add(ROOT, step(2))
    again = tree.add(ROOT, step(2))
    tree.add(first, step(3))
    tree.add(again, step(4))
    assert [tree.num_below(node) for node in (ROOT, first, again)] == ([2, 2, 2] if merges else [2, 1, 1])
    assert [tree.head(4).num_below(node) for node in (ROOT, first, again)] == ([2, 1, 1] if merges else [2, 1, 0])
    assert [tree.depth_of(node) for node in range(5)] == [0, 1, 1, 2, 2]

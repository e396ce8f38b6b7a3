from hypothesis import given
from hypothesis import strategies as st

from etsearch.tree import SearchTree
from etsearch.types import Continuation, FinishReason


@st.composite
def trees(draw):
    tree = SearchTree("q", list(range(draw(st.integers(1, 9)))))
    for _ in range(draw(st.integers(1, 30))):
        size = draw(st.integers(0, 9))
        parent = draw(st.integers(0, len(tree) - 1))
        tree.add(parent, Continuation(tuple(range(size)), "x", FinishReason.STEP))
    return tree


@st.composite
def trees_with_nodes(draw):
    tree = draw(trees())
    return tree, draw(st.lists(st.integers(0, len(tree) - 1), unique=True, min_size=1))


@given(trees_with_nodes())
def test_kv_tokens_grow_with_inclusion(case):
    tree, nodes = case
    held = [tree.kv_tokens(nodes[: i + 1]) for i in range(len(nodes))]
    assert held == sorted(held)


@given(trees_with_nodes())
def test_sharing_never_costs(case):
    tree, nodes = case
    assert tree.kv_tokens(nodes) <= tree.kv_tokens_unshared(nodes)
    assert max(tree.prefix_tokens(n) for n in nodes) <= tree.kv_tokens(nodes)


@given(trees_with_nodes())
def test_span_is_the_union_of_the_paths(case):
    tree, nodes = case
    union = {0} | {tree.original(step) for n in nodes for step in tree.path(n)}
    assert set(tree.span(nodes).nonzero()[0].tolist()) == union
    tree.check_integrity()


@given(trees())
def test_prefix_tokens_match_the_prefix(tree):
    for node in range(len(tree)):
        assert len(tree.prefix(node)) == tree.prefix_tokens(node)

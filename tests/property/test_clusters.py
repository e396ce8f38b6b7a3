"""What holds for all clusters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform

from etsearch.diversity import cluster, cluster_texts, clusters
from etsearch.embedders import LexicalEmbedder

THRESHOLDS = st.sampled_from([0.01, 0.05, 0.2, 0.8, 1.5])
WORDS = st.sampled_from(["so", "red", "cups", "3", "4", "7", "+", "=", "12.5", "dogs"])
TEXTS = st.lists(st.lists(WORDS, max_size=6).map(" ".join), min_size=1, max_size=12)


@st.composite
def clouds(draw):
    """Rows around a few centres; a continuous distribution, so that no two distances are equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, spread = draw(st.integers(1, 20)), draw(st.sampled_from([0.05, 0.3, 2.0]))
    return rng.normal(size=(4, 5))[rng.integers(0, 4, n)] + spread * rng.normal(size=(n, 5))


def partition(labels):
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


@given(clouds(), THRESHOLDS)
def test_labels_count_up_in_order_of_first_appearance(rows, threshold):
    labels = cluster(rows, threshold).tolist()
    assert list(dict.fromkeys(labels)) == list(range(max(labels) + 1))


@given(clouds(), THRESHOLDS, st.randoms(use_true_random=False))
def test_a_permutation_of_the_rows_permutes_the_clusters(rows, threshold, random):
    order = random.sample(range(len(rows)), len(rows))
    moved = {frozenset(order[i] for i in group) for group in partition(cluster(rows[order], threshold))}
    assert moved == partition(cluster(rows, threshold))


@given(clouds(), THRESHOLDS, st.floats(0.001, 1000))
def test_the_length_of_a_row_does_not_matter(rows, threshold, factor):
    longer = rows * np.linspace(1, factor, len(rows))[:, None]
    np.testing.assert_array_equal(cluster(longer, threshold), cluster(rows, threshold))


@given(clouds(), THRESHOLDS, st.data())
def test_equal_rows_share_a_cluster(rows, threshold, data):
    i, j = data.draw(st.tuples(*[st.integers(0, len(rows) - 1)] * 2))
    rows[i] = rows[j]
    labels = cluster(rows, threshold)
    assert labels[i] == labels[j]


@given(clouds(), THRESHOLDS)
def test_it_is_the_method_of_the_paper(rows, threshold):
    """Against SciPy's own cosine distance, on the same rows."""
    expected = fcluster(linkage(rows, "average", metric="cosine"), threshold, "distance") if len(rows) > 1 else [1]
    assert partition(cluster(rows, threshold)) == partition(np.asarray(expected))


@given(clouds(), THRESHOLDS, st.data())
def test_copies_of_a_text_weigh_as_in_plain_average_linkage(rows, threshold, data):
    """Against SciPy's linkage of all copies, whose distances are computed one by one."""
    numbers = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=2, max_size=30))
    labels = cluster_texts([f"step {number}" for number in numbers], rows[numbers], threshold)
    expected = fcluster(linkage(rows[numbers], "average", metric="cosine"), threshold, "distance")
    assert partition(labels) == partition(np.asarray(expected))


@given(clouds(), st.integers(1, 7))
def test_distances_do_not_depend_on_the_blocks_they_are_computed_in(rows, block):
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "_BLOCK", block)
        distances = clusters._cosine_distances(unit)
    np.testing.assert_allclose(distances, squareform(pdist(rows, "cosine")), atol=1e-14)
    assert np.all(np.diag(distances) == 0)
    assert np.all(distances == distances.T)


@given(clouds())
def test_a_higher_threshold_never_splits(rows):
    counts = [len(set(cluster(rows, threshold).tolist())) for threshold in (0.01, 0.05, 0.2, 0.8, 1.5, 2.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1 or len(rows) == 1


@given(TEXTS, THRESHOLDS)
def test_equal_texts_share_a_cluster(texts, threshold):
    labels = cluster_texts(texts, LexicalEmbedder().embed_now(texts), threshold)
    assert all(labels[i] == labels[texts.index(text)] for i, text in enumerate(texts))


@pytest.mark.parametrize("num_dimensions", [64, 1024])
@given(texts=st.lists(st.text(max_size=30), max_size=5))
def test_any_text_has_a_unit_vector(num_dimensions, texts):
    rows = LexicalEmbedder(num_dimensions).embed_now(texts)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), np.ones(len(texts)), atol=1e-5)

"""The lexical embedder and the clusters it leads to."""

import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest

from etsearch.diversity import cluster, cluster_texts
from etsearch.embedders import EMBEDDERS, LexicalEmbedder
from etsearch.errors import ConfigError

PAPER_CUT = 0.05


def distance(a, b, embedder=LexicalEmbedder()):  # noqa: B008
    first, second = embedder.embed_now([a, b]).astype(float)
    return 1 - first @ second


# --- lexical embedder -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("3 + 4 = 7", "So 3 + 4 = 7."),
        ("3 + 4 = 7", "4 + 3 = 7"),
        ("The red cups are 3 + 4 = 7.", "Number of red cups: 3 + 4 = 7."),
        ("The red cups are 3 + 4 = 7.", "For red cups, 3 + 4 gives 7."),
        ("Therefore, the answer is 12.", "Hence the answer is 12"),
        ("There are 1,000 apples", "there are 1000.0 apples"),
        (r"2 \times 3 = 6", "2 × 3 = 6"),
        ("", " … "),
    ],
)
def test_rewordings_are_near(a, b):
    assert distance(a, b) < PAPER_CUT


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("3 + 4 = 7", "3 + 4 = 8"),
        ("5 + 2 = 7", "7 - 2 = 5"),
        ("2 + 2 = 4", "2 * 2 = 4"),
        ("x = 3", "x = -3"),
        ("x = 1.5", "x = 15"),
        ("The red cups are 3 + 4 = 7.", "The blue cups are 3 + 4 = 7."),
        ("We factor the polynomial.", "We draw a circle."),
        ("", "3"),
        (" ".join(map(str, range(100, 200))), " ".join(map(str, [*range(100, 150), 999, *range(151, 200)]))),
    ],
)
def test_other_content_is_far(a, b):
    assert distance(a, b) > PAPER_CUT


def test_different_sums_never_share_a_cluster():
    texts = [f"{a} + {b} = {a + b}" for a, b in itertools.combinations(range(1, 40), 2)]
    vectors = LexicalEmbedder().embed_now(texts).astype(float)
    distances = 1 - vectors @ vectors.T + 2 * np.eye(len(texts))
    assert distances.min() > PAPER_CUT


async def test_rows_are_unit_vectors_in_order():
    texts = ["", "a", "3 + 4 = 7", "a", "日本語", "\ud800", "+"]
    rows = await LexicalEmbedder(num_dimensions=128).embed(texts)
    assert (rows.shape, rows.dtype) == ((7, 128), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(rows[1], rows[3])
    alone = await LexicalEmbedder(num_dimensions=128).embed(["3 + 4 = 7"])
    np.testing.assert_array_equal(rows[2], alone[0])


def test_tokens_are_read_alike_whatever_stands_around_them():
    """Vectors by the bytes, of the version that records were made with; a change would move clusters of old runs."""
    texts = ["So 3 + 4 = 7.", "x = -3", "0-3", "2 - 1", "1,000.50 × 2 times 3 cdot 4", "a–b ÷ (−5)", "٣ dogs", "_", ""]
    digest = hashlib.sha256((np.round(LexicalEmbedder().embed_now(texts), 4) + 0.0).tobytes()).hexdigest()
    assert digest[:16] == "2052070455b2e932"


async def test_no_texts_have_no_rows():
    assert (await LexicalEmbedder().embed([])).shape == (0, 1024)


def test_vectors_are_the_same_in_every_process():
    code = (
        "from etsearch.embedders import LexicalEmbedder as E; print(E().embed_now(['So 3 + 4 = 7.']).tobytes().hex())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def test_the_embedder_is_made_by_name():
    assert EMBEDDERS.create("lexical(num_dimensions=256)") == LexicalEmbedder(num_dimensions=256)
    with pytest.raises(ConfigError, match="num_dimensions is 8"):
        LexicalEmbedder(num_dimensions=8)


# --- clusters ---------------------------------------------------------------------------------------------------------

EAST, NORTH = [1.0, 0.0], [0.0, 1.0]
NEARLY_EAST = [1.0, 0.1]
"""Cosine distance 0.00496 from east."""


@pytest.mark.parametrize(
    ("rows", "threshold", "labels"),
    [
        ([EAST], 0.05, [0]),
        ([EAST, EAST], 0.05, [0, 0]),
        ([EAST, NORTH], 0.05, [0, 1]),
        ([NORTH, EAST, NEARLY_EAST, NORTH], 0.05, [0, 1, 1, 0]),
        ([NORTH, EAST, NEARLY_EAST, NORTH], 0.004, [0, 1, 2, 0]),
        ([EAST, [7.0, 0.0]], 1e-9, [0, 0]),
        ([EAST, NORTH], 1.0, [0, 0]),
        ([EAST, [-1.0, 0.0]], 1.99, [0, 1]),
        ([EAST, [-1.0, 0.0]], 2.0, [0, 0]),
        ([[1e-300, 0.0], [1e300, 0.0]], 0.05, [0, 0]),
    ],
)
def test_cluster(rows, threshold, labels):
    result = cluster(np.array(rows), threshold)
    assert (result.tolist(), result.dtype) == (labels, np.int64)


def test_average_linkage_counts_every_copy():
    """Three rows in a fan: the outer two are joined by the middle one, unless one end has many copies.

    Angles 0, 16 and 33 degrees: distances 0.039, 0.044 and 0.161. First joins (0, 16); then 33 joins at the average
    of its distances to the members, (0.161 + 0.044) / 2 = 0.103 for one copy each, 0.067 with four copies of 16.
    """
    fan = np.array([[np.cos(angle), np.sin(angle)] for angle in np.radians([0, 16, 33])])
    assert cluster(fan, 0.09).tolist() == [0, 0, 1]
    assert cluster(fan[[0, 1, 1, 1, 1, 2]], 0.09).tolist() == [0, 0, 0, 0, 0, 0]


def test_no_rows_have_no_clusters():
    assert cluster(np.zeros((0, 4))).tolist() == []
    assert cluster_texts([], np.zeros((0, 4))).tolist() == []


@pytest.mark.parametrize(
    ("bad", "what"), [([0.0, 0.0], "all zeros"), ([np.nan, 1.0], "not finite"), ([np.inf, 1.0], "not finite")]
)
def test_a_bad_row_is_named(bad, what):
    with pytest.raises(ConfigError, match=f"embedding 1 is {what}"):
        cluster([EAST, bad, NORTH])
    with pytest.raises(ConfigError, match=f"embedding 0 is {what}"):
        cluster([bad])


@pytest.mark.parametrize("threshold", [0.0, -1.0, 2.1, float("nan")])
def test_a_threshold_outside_its_range_is_refused(threshold):
    with pytest.raises(ConfigError, match="above 0 and at most 2"):
        cluster([EAST, NORTH], threshold)


def test_the_shape_must_be_a_matrix():
    with pytest.raises(ConfigError, match=r"shape \(2,\)"):
        cluster(np.array([1.0, 2.0]))


def test_equal_texts_share_a_cluster_whatever_their_rows():
    assert cluster_texts(["a", "b", "a"], [EAST, NORTH, NORTH]).tolist() == [0, 1, 0]


def test_rows_of_equal_texts_are_not_looked_at():
    assert cluster_texts(["a", "a"], [[np.nan, 0.0], [0.0, 0.0]]).tolist() == [0, 0]


def test_a_bad_row_is_named_by_its_place_among_all_texts():
    with pytest.raises(ConfigError, match="embedding 3 is all zeros"):
        cluster_texts(["a", "b", "a", "c"], [EAST, NORTH, [0.0, 0.0], [0.0, 0.0]])


def test_copies_weigh_by_their_number():
    fan = [[np.cos(angle), np.sin(angle)] for angle in np.radians([0, 16, 33])]
    assert cluster_texts(["a", "b", "c"], fan, 0.09).tolist() == [0, 0, 1]
    copies = np.array(fan)[[0, 1, 1, 2, 1, 1]]
    assert cluster_texts(["a", "b", "b", "c", "b", "b"], copies, 0.09).tolist() == [0] * 6


def test_texts_and_rows_must_be_as_many():
    with pytest.raises(ConfigError, match="2 texts but 1 embeddings"):
        cluster_texts(["a", "b"], [EAST])

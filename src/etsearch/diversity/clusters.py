"""Clusters of steps: agglomerative, average linkage, cosine distance (ETS, arXiv:2502.13575, section on diversity)."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from etsearch.errors import ConfigError

DEFAULT_THRESHOLD: Final = 0.05
"""Cosine distance at which the paper cuts."""


def cluster(embeddings: ArrayLike, threshold: float = DEFAULT_THRESHOLD) -> NDArray[np.int64]:
    """Clusters the rows of a matrix.

    Equal rows are not merged beforehand: in average linkage each of them weighs, so that leaving copies out would
    change the clusters. Where two distances are exactly equal, the order of the rows may decide.

    Args:
        embeddings: [n, d], finite, no row of zeros; rows need not be normalised.
        threshold: cosine distance at which the tree of clusters is cut, in (0, 2].

    Returns:
        labels: [n], 0 to k - 1 in order of first appearance. No rows: empty; one row: one cluster.

    Raises:
        ConfigError: a threshold outside (0, 2], or a row of zeros or of values that are not finite.
    """
    if not 0 < threshold <= 2:
        raise ConfigError(f"the cluster threshold is {threshold}; it must be above 0 and at most 2")
    rows = _unit_rows(embeddings)
    if len(rows) < 2:
        return np.zeros(len(rows), dtype=np.int64)
    from scipy.cluster.hierarchy import fcluster, linkage  # noqa: PLC0415  slow to import, and needed by ETS alone

    labels = fcluster(linkage(_cosine_distances(rows), method="average"), threshold, criterion="distance")
    return _by_first_appearance(labels)


def cluster_texts(
    texts: Sequence[str], embeddings: ArrayLike, threshold: float = DEFAULT_THRESHOLD
) -> NDArray[np.int64]:
    """Clusters texts by their embeddings; equal texts share a cluster, whatever the embedder made of them.

    Args:
        texts: [n].
        embeddings: [n, d], one row a text. Of equal texts the first one's row counts for all. Where all texts are
            equal there is one cluster and the rows are not looked at.
        threshold: see ``cluster``.

    Raises:
        ConfigError: lengths that differ, and what ``cluster`` raises.
    """
    vectors = np.asarray(embeddings)
    if len(vectors) != len(texts):
        raise ConfigError(f"there are {len(texts)} texts but {len(vectors)} embeddings; give one row a text")
    if len(set(texts)) == 1:
        return np.zeros(len(texts), dtype=np.int64)
    first: dict[str, int] = {}
    return cluster(vectors[[first.setdefault(text, row) for row, text in enumerate(texts)]], threshold)


def _unit_rows(embeddings: ArrayLike) -> NDArray[np.float64]:
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.size == 0 and len(rows) == 0:
        return np.zeros((0, 1))
    if rows.ndim != 2:
        raise ConfigError(f"the embeddings have shape {rows.shape}; they must have two dimensions, [n, d]")
    largest = np.abs(rows).max(axis=1, initial=0.0)
    bad = np.flatnonzero(~np.isfinite(largest) | (largest == 0))
    if bad.size:
        what = "all zeros" if largest[bad[0]] == 0 else "not finite"
        raise ConfigError(f"embedding {bad[0]} is {what}; cosine distance needs finite rows other than zero")
    rows = rows / largest[:, None]
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _cosine_distances(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine distances of unit rows, one a pair: [n (n - 1) / 2].

    As half the squared Euclidean distance: never negative, 0 for equal rows. And not as a matrix product, whose BLAS
    threads wait for one another: beside an engine that uses every core it took 100 times as long.
    """
    from scipy.spatial.distance import pdist  # noqa: PLC0415

    in_use = rows[:, rows.any(axis=0)]
    return np.minimum(pdist(in_use, "sqeuclidean") / 2, 2.0)


def _by_first_appearance(labels: NDArray[np.generic]) -> NDArray[np.int64]:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]

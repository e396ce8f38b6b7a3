"""Clusters of steps: agglomerative, average linkage, cosine distance (ETS, arXiv:2502.13575, section on diversity)."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from etsearch.boundary.numbers import check_number
from etsearch.errors import ConfigError

DEFAULT_THRESHOLD: Final = 0.05
"""Cosine distance at which the paper cuts."""
_ROUNDING: Final = 1e-14
"""Cosine distances below this are the rounding of a product of equal unit rows."""
_BLOCK: Final = 256
"""Columns of distances computed together, so that what is read again and again stays in the processor's cache."""


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
    vectors = np.asarray(embeddings)
    return _cluster_copies(vectors, np.arange(len(vectors)), threshold)


def cluster_texts(
    texts: Sequence[str], embeddings: ArrayLike, threshold: float = DEFAULT_THRESHOLD
) -> NDArray[np.int64]:
    """Clusters texts by their embeddings; equal texts share a cluster, whatever the embedder made of them.

    Every copy of a text weighs, as in ``cluster``; only distances are computed once for all copies.

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
    return _cluster_copies(vectors, np.array([first.setdefault(t, row) for row, t in enumerate(texts)], int), threshold)


def _cluster_copies(embeddings: NDArray[Any], copy_of: NDArray[np.int64], threshold: float) -> NDArray[np.int64]:
    """Clusters of copies of rows: which row each of them is of, [n]. Other rows are not looked at."""
    check_threshold(threshold)
    distinct, copy_of = np.unique(copy_of, return_inverse=True)
    rows = _unit_rows(embeddings, distinct)
    if len(copy_of) < 2:
        return np.zeros(len(copy_of), dtype=np.int64)
    joined = _average_linkage(_cosine_distances(rows), np.bincount(copy_of), threshold)
    return _by_first_appearance(joined[copy_of])


def check_threshold(threshold: float) -> None:
    """Raises ConfigError for a cosine distance at which no tree of clusters can be cut."""
    check_number("the cluster threshold", threshold, 0, 2, above=True)


def _average_linkage(distances: NDArray[np.float64], counts: NDArray[np.int64], threshold: float) -> NDArray[np.int64]:
    """Which cluster each of ``m`` rows is in, each row standing for ``counts`` copies of itself.

    The nearest-neighbour chain of Murtagh (1983). SciPy's takes no counts: with every copy a row of its own, time and
    memory grow with the square of the draws, of which a wide search has many to a step. A cluster whose nearest one is
    beyond the threshold is done: no join of others brings them nearer to it.

    Args:
        distances: ``[m, m]``, written over.
        counts: ``[m]``, at least 1.
        threshold: clusters further apart than this on average are not joined.
    """
    np.fill_diagonal(distances, np.inf)
    sizes, into = counts.astype(np.float64), np.arange(len(distances))
    chain: list[int] = []
    for start in range(len(distances)):
        chain = [start] if into[start] == start else []
        while chain:
            one = chain[-1]
            nearest = int(distances[one].argmin())
            if len(chain) > 1 and distances[one, chain[-2]] <= distances[one, nearest]:
                nearest = chain[-2]
            if distances[one, nearest] > threshold:
                distances[one], distances[:, one] = np.inf, np.inf
                chain.pop()
            elif len(chain) > 1 and nearest == chain[-2]:
                weights = sizes[one], sizes[nearest]
                row = (weights[0] * distances[one] + weights[1] * distances[nearest]) / sum(weights)
                distances[one], distances[:, one] = np.inf, np.inf
                distances[nearest], distances[:, nearest] = row, row
                sizes[nearest], into[one] = sum(weights), nearest
                chain = chain[:-2] or [nearest]
            else:
                chain.append(nearest)
    while not np.array_equal(into, into[into]):
        into = into[into]
    return into


def _unit_rows(embeddings: NDArray[Any], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """The rows with these numbers, at length 1."""
    if embeddings.size == 0 and len(embeddings) == 0:
        return np.zeros((0, 1))
    if embeddings.ndim != 2:
        raise ConfigError(f"the embeddings have shape {embeddings.shape}; they must have two dimensions, [n, d]")
    rows = np.asarray(embeddings[numbers], dtype=np.float64)
    largest = np.abs(rows).max(axis=1, initial=0.0)
    bad = np.flatnonzero(~np.isfinite(largest) | (largest == 0))
    if bad.size:
        what = "all zeros" if largest[bad[0]] == 0 else "not finite"
        raise ConfigError(f"embedding {numbers[bad[0]]} is {what}; cosine distance needs finite rows other than zero")
    rows = rows / largest[:, None]
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _cosine_distances(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine distances of unit rows: [n, n], never negative, 0 for equal rows.

    As products of sparse rows, as the lexical embedder's are, with dense columns. And not as a dense matrix product,
    whose BLAS threads wait for one another: beside an engine that uses every core it took 100 times as long.
    """
    from scipy.sparse import csr_array  # noqa: PLC0415

    count, sparse = len(rows), csr_array(rows)
    distances = np.empty((count, count))
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        distances[:stop, start:stop] = sparse[:stop] @ np.ascontiguousarray(rows[start:stop].T)
        distances[start:stop, :start] = distances[:start, start:stop].T
    np.subtract(1.0, distances, out=distances)
    distances[distances < _ROUNDING] = 0.0
    return np.minimum(distances, 2.0, out=distances)


def _by_first_appearance(labels: NDArray[np.generic]) -> NDArray[np.int64]:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]

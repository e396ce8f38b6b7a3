"""The diversity term's side of a frontier: clusters of last steps."""

from etsearch.diversity.clusters import DEFAULT_THRESHOLD, check_threshold, cluster, cluster_texts

__all__ = ["DEFAULT_THRESHOLD", "check_threshold", "cluster", "cluster_texts"]

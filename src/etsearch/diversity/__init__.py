"""Clusters of steps, and the embedders that place them."""

from etsearch.diversity.base import Embedder
from etsearch.diversity.clusters import cluster, cluster_texts
from etsearch.diversity.lexical import LexicalEmbedder
from etsearch.registry import Entry, Registry

__all__ = ["EMBEDDERS", "Embedder", "LexicalEmbedder", "cluster", "cluster_texts"]

EMBEDDERS: Registry[Embedder] = Registry("embedder")
"""All embedders by name. Add one of your own with ``EMBEDDERS.register``."""

EMBEDDERS.register(
    Entry("lexical", "no model: letters of words, values of numbers", LexicalEmbedder, parameters=("num_dimensions",))
)

"""Embedders: what places steps, so that they can be clustered."""

from etsearch.embedders.base import Embedder
from etsearch.embedders.lexical import LexicalEmbedder
from etsearch.registry import Registry

__all__ = ["EMBEDDERS", "Embedder", "LexicalEmbedder"]

EMBEDDERS: Registry[Embedder] = Registry("embedder", "etsearch.embedders", Embedder)
"""All embedders by name: those that packages declare as entry points, ours among them."""

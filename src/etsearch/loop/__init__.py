"""The search: expand, score, select, vote. One room with one face, ``run_search``."""

from etsearch.loop.search import run_search

__all__ = ["run_search"]

"""Efficient tree search for LLM inference-time scaling."""

from importlib import metadata

from etsearch.answers import Aggregation
from etsearch.api import search, solve
from etsearch.loop.result import SearchResult
from etsearch.loop.settings import Limits
from etsearch.types import Message, Problem, Sampling

__all__ = ["Aggregation", "Limits", "Message", "Problem", "Sampling", "SearchResult", "search", "solve"]
__version__ = metadata.version("etsearch")

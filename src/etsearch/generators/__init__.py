"""Generators: what writes the steps."""

from etsearch.generators.base import STEP_BY_STEP, Generator
from etsearch.registry import Registry

__all__ = ["GENERATORS", "STEP_BY_STEP", "Generator"]

GENERATORS: Registry[Generator] = Registry("generator", "etsearch.generators", Generator)
"""All generators by name: those that packages declare as entry points, ours among them."""

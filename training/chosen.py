"""The world that models are trained for: ``minimath``, or the one that the variable ``WORLD`` names."""

import importlib
import os
from typing import Any

NAME = os.environ.get("WORLD", "minimath")

_package = importlib.import_module(f"etsearch.{NAME}")
language, world, checker = _package.language, _package.world, _package.checker

Problem = Any
"""A problem of that world: it has a question, an answer and a level."""

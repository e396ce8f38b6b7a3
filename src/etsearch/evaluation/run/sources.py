"""Where the parts of a run come from: the packages and, of those named by their place, the files."""

from typing import Any

from etsearch.embedders import EMBEDDERS
from etsearch.evaluation.datasets import DATASETS
from etsearch.evaluation.run.recipe import Recipe
from etsearch.generators import GENERATORS
from etsearch.prms import REWARD_MODELS
from etsearch.registry import Registry, Source, sources
from etsearch.strategies import STRATEGIES


def sources_of(recipe: Recipe) -> dict[str, Source]:
    """The file of each part of a recipe that is named by its place, by that name. Raises ConfigError if one is gone."""
    return sources(_parts(recipe))


def origins_of(recipe: Recipe) -> dict[str, str]:
    """The distribution, with its version, of each part of a recipe that has a name; by kind and name."""
    taken = [(registry, registry.parse(text)) for registry, text in _parts(recipe)]
    return {f"{r.kind} {s.name}": r.entry(s.name).origin for r, s in taken if not s.is_place}


def _parts(recipe: Recipe) -> list[tuple[Registry[Any], str]]:
    named: list[tuple[Registry[Any], str]] = [
        (GENERATORS, recipe.generator),
        (REWARD_MODELS, recipe.prm),
        (EMBEDDERS, recipe.embedder),
        (DATASETS, recipe.data),
        *((STRATEGIES, arm.specification) for arm in recipe.arms()),
    ]
    return [(registry, text) for registry, text in named if text != "none"]

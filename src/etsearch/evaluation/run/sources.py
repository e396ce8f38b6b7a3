"""The files of the parts of a run that are named by their place, such as ``./halving.py:Halving``."""

from typing import Any

from etsearch.embedders import EMBEDDERS
from etsearch.errors import RecordError
from etsearch.evaluation.datasets import DATASETS
from etsearch.evaluation.run.folder import Run
from etsearch.evaluation.run.recipe import Recipe
from etsearch.generators import GENERATORS
from etsearch.prms import REWARD_MODELS
from etsearch.registry import Registry, Source, changes, sources
from etsearch.strategies import STRATEGIES


def sources_of(recipe: Recipe) -> dict[str, Source]:
    """The file of each part of a recipe that is named by its place, by that name. Raises ConfigError if one is gone."""
    named: list[tuple[Registry[Any], str]] = [
        (GENERATORS, recipe.generator),
        (REWARD_MODELS, recipe.prm),
        (EMBEDDERS, recipe.embedder),
        (DATASETS, recipe.data),
        *((STRATEGIES, arm.specification) for arm in recipe.arms()),
    ]
    return sources((registry, text) for registry, text in named if text != "none")


def check_sources(run: Run) -> None:
    """Raises RecordError if a run's embedder is in a file that is not what it was: its clusters would not be those."""
    embedder = run.recipe.embedder
    if changed := changes(run.manifest.sources, sources([(EMBEDDERS, embedder)])):
        raise RecordError(f"{run.path} cannot be replayed: {'; '.join(changed)}")

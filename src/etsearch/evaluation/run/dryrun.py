"""What a recipe would do, without doing it."""

from collections.abc import Mapping
from typing import Any

import yaml

from etsearch.embedders import EMBEDDERS
from etsearch.errors import ConfigError, EtsearchError
from etsearch.evaluation.datasets import DATASETS
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.runner import blocks, dataset_of
from etsearch.evaluation.run.served import located
from etsearch.generators import GENERATORS
from etsearch.launch.serve import ROLES
from etsearch.prms import REWARD_MODELS
from etsearch.registry import Registry
from etsearch.types import Problem


def describe(recipe: Recipe) -> str:
    """The resolved configuration, the number of searches, and an estimate of calls and tokens.

    What this machine lacks (a data file, an extra, an engine that another version brings) is said, and is no error:
    the recipe may be meant for another machine.
    """
    lines = [yaml.safe_dump(recipe.plain(), sort_keys=False, allow_unicode=True).rstrip(), "", "arms:"]
    lines += [f"  {arm.label} at width {arm.width}: {arm.specification}" for arm in recipe.arms()]
    missing = [reason for reason in _missing(recipe) if reason]
    try:
        problems = dataset_of(recipe).problems
        lines += ["", f"problems: {len(problems)}", *_estimate(recipe, problems)]
    except EtsearchError as error:
        missing.append(str(error))
        if recipe.limit:
            stand_ins = tuple(Problem("", "", str(number)) for number in range(recipe.limit))
            lines += ["", f"problems: at most {recipe.limit}", *_estimate(recipe, stand_ins)]
    if missing:
        lines += ["", "this cannot run here as it stands:", *(f"  {reason}" for reason in missing)]
    return "\n".join(lines)


def _missing(recipe: Recipe) -> list[str]:
    kinds: Mapping[str, tuple[Registry[Any], str]] = {
        "generator": (GENERATORS, recipe.generator),
        "prm": (REWARD_MODELS, recipe.prm),
        "embedder": (EMBEDDERS, recipe.embedder),
        "data": (DATASETS, recipe.data),
    }
    reasons = []
    for key, (registry, text) in kinds.items():
        if text == "none":
            continue
        try:
            entry = registry.entry(registry.parse(text).name)
        except ConfigError as error:
            reasons.append(f"{key}: {error}")
            continue
        if not entry.is_available:
            reasons.append(f"{key}: {text} needs pip install 'etsearch[{entry.extra}]'")
    for role in ROLES:
        try:
            located(recipe, role)
        except EtsearchError as error:
            reasons.append(str(error))
    return reasons


def _estimate(recipe: Recipe, problems: tuple[Problem, ...]) -> list[str]:
    widths = [task.arm.width for _, tasks in blocks(recipe, problems) for task in tasks]
    calls = sum(widths) * recipe.assumed.depths
    tokens = calls * recipe.assumed.step_tokens
    assumed = f"{recipe.assumed.depths:g} depths of {recipe.assumed.step_tokens:g} tokens a step"
    limits = recipe.search.limits
    most = f"{sum(widths) * limits.max_depth:,.0f} sampled continuations ({limits.max_depth} depths)"
    return [
        f"searches: {len(widths):,}",
        f"estimate, for {assumed}: {calls:,.0f} sampled continuations, {tokens:,.0f} generated tokens",
        f"at most: {most}, {sum(widths) * limits.max_tokens:,.0f} tokens",
    ]

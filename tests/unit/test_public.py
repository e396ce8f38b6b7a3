"""The names that users import: taking one away, or adding one, must be noticed."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLIC = {
    "etsearch": ["Aggregation", "Limits", "Message", "Problem", "Sampling", "SearchResult", "search", "solve"],
    "etsearch.answers": [
        *("DEFAULT_PATTERNS", "Aggregation", "Pattern", "Reading", "Tally", "Vote"),
        *("equivalent", "extract", "find_pattern", "vote", "weight"),
    ],
    "etsearch.diversity": ["DEFAULT_THRESHOLD", "check_threshold", "cluster", "cluster_texts"],
    "etsearch.embedders": ["EMBEDDERS", "Embedder", "LexicalEmbedder"],
    "etsearch.generators": ["GENERATORS", "STEP_BY_STEP", "Generator"],
    "etsearch.loop": ["Parts", "run_search"],
    "etsearch.prms": ["REWARD_MODELS", "RewardModel"],
    "etsearch.registry": [
        *("Entry", "Registry", "Setting", "Source", "Specification"),
        *("changes", "needs", "parse", "reason_of", "sources", "split"),
    ],
    "etsearch.strategies": [
        *(
            "DVTS",
            "ETS",
            "ETSKV",
            "STRATEGIES",
            "ABMCTS",
            "AdaptiveWidth",
            "BeamSearch",
            "BestOfN",
            "Dora",
            "EntropicParticleFilter",
            "ParticleFilter",
        ),
        *("Frontier", "Rebase", "Selection", "Strategy", "Thrift"),
    ],
    "etsearch.testing": [
        *("CASE", "DATASET_CHECKS", "EMBEDDER_CHECKS", "GENERATOR_CHECKS", "REWARD_MODEL_CHECKS", "STRATEGY_CHECKS"),
        *(
            "Case",
            "DatasetContract",
            "EmbedderContract",
            "GeneratorContract",
            "RewardModelContract",
            "StrategyContract",
        ),
    ],
}
"""Faces: exactly these."""
BESIDE = {
    "etsearch.allocation": ["share"],
    "etsearch.embedders.cached": ["CachedEmbedder"],
    "etsearch.errors": [
        *("BadResponseError", "ConfigError", "ContextLengthError", "EmbedderError", "EngineError"),
        *("EngineOverloadedError", "EngineTimeoutError", "EtsearchError", "MissingDependencyError", "RecordError"),
        *("RewardError", "SolverError", "UnavailableError"),
    ],
    "etsearch.evaluation.datasets": ["Dataset", "open_dataset"],
    "etsearch.evaluation.grading": ["grade"],
    "etsearch.evaluation.run.recipe": ["Recipe"],
    "etsearch.evaluation.run.runner": ["evaluate"],
    "etsearch.generators.scripted": ["ScriptedGenerator"],
    "etsearch.loop.events": ["Completed", "Expanded", "Finished", "Scored", "Selected"],
    "etsearch.loop.result": ["DepthSummary", "KvFigures", "SearchResult", "Spent", "Usage"],
    "etsearch.loop.settings": ["Limits", "SearchSettings"],
    "etsearch.loop.state": ["SearchState"],
    "etsearch.models.codec": ["TextCodec"],
    "etsearch.prms.families": ["FAMILIES", "PrmFamily"],
    "etsearch.prms.reading": ["PrmReader"],
    "etsearch.prms.scripted": ["ScriptedRewardModel"],
    "etsearch.selection": ["Programme", "Solution", "price_for", "solve"],
    "etsearch.tree": ["ROOT", "SearchTree"],
    "etsearch.types": [
        *(
            "Continuation",
            "EndReason",
            "EngineStats",
            "Finding",
            "FinishReason",
            "GenerateRequest",
            "Identity",
            "Level",
        ),
        *("Problem", "PromptFormat", "Sampling", "Scores", "Step", "StopReason", "Trajectory"),
    ],
}
"""Modules of which users import these, among others."""


@pytest.mark.parametrize("module", PUBLIC)
def test_a_face_shows_what_it_should(module):
    face = importlib.import_module(module)
    assert sorted(face.__all__) == sorted(PUBLIC[module])
    for name in face.__all__:
        check_is_documented(module, name)


@pytest.mark.parametrize("module", BESIDE)
def test_public_names_are_there(module):
    for name in BESIDE[module]:
        check_is_documented(module, name)


def check_is_documented(module, name):
    """A class or a function of this package with a docstring of its own; a constant has none."""
    value = getattr(importlib.import_module(module), name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert value.__module__.startswith("etsearch"), f"{module}.{name} is {value.__module__}'s"
        assert (value.__doc__ or "").strip(), f"{module}.{name} has no docstring"


def test_what_the_documents_import_is_public():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / "guides").glob("*.md")]
    known = {**PUBLIC, **BESIDE}
    used = set()
    for page in pages:
        for module, names in re.findall(r"^from (etsearch[\w.]*) import ([\w, ]+)$", page.read_text(), re.MULTILINE):
            used |= {(module, name.strip()) for name in names.split(",")}
    assert len(used) > 15
    unknown = [(m, n) for m, n in used if n not in known.get(m, ()) and (m, n) != ("etsearch", "minimath")]
    assert unknown == []

"""The names that users import: taking one away must be noticed."""

import importlib

import pytest

PUBLIC = {
    "etsearch": ["Aggregation", "Limits", "Problem", "Sampling", "SearchResult", "search", "solve"],
    "etsearch.allocation": ["share"],
    "etsearch.answers": ["DEFAULT_PATTERNS", "Aggregation", "Pattern", "equivalent", "extract", "vote", "weight"],
    "etsearch.diversity": ["cluster", "cluster_texts"],
    "etsearch.embedders": ["EMBEDDERS", "Embedder", "LexicalEmbedder"],
    "etsearch.generators": ["GENERATORS", "STEP_BY_STEP", "Generator"],
    "etsearch.errors": [
        "ConfigError",
        "EngineError",
        "EtsearchError",
        "MissingDependencyError",
        "RewardError",
        "SolverError",
    ],
    "etsearch.prms": ["REWARD_MODELS", "RewardModel"],
    "etsearch.selection": ["Programme", "Solution", "solve"],
    "etsearch.strategies": ["DVTS", "ETS", "ETSKV", "STRATEGIES", "BeamSearch", "BestOfN", "Rebase", "Strategy"],
    "etsearch.types": ["Continuation", "GenerateRequest", "PromptFormat", "Scores", "Step", "Trajectory"],
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_there(module):
    found = importlib.import_module(module)
    assert [name for name in PUBLIC[module] if not hasattr(found, name)] == []
    for name in getattr(found, "__all__", []):
        assert hasattr(found, name), f"{module}.__all__ names {name}, which is not there"

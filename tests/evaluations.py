"""Runs of scripted searches, for the tests of the evaluation."""

import asyncio
import json
from pathlib import Path

from etsearch.evaluation.run.folder import read_run, read_tree
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.runner import evaluate

BASE = {
    "data": "minimath:validation",
    "generator": "scripted",
    "prm": "scripted",
    "strategies": ["best_of_n", "rebase", "ets"],
    "widths": [4, 8],
    "limit": 4,
}


def recipe(out: Path, **changes) -> Recipe:
    return Recipe.of({**BASE, "out": str(out), **changes})


def run(out: Path, *, clean=False, retry_failed=False, on_start=lambda _: None, on_progress=lambda _: None, **changes):
    return asyncio.run(
        evaluate(
            recipe(out, **changes),
            asked={"test": True},
            clean=clean,
            retry_failed=retry_failed,
            on_start=on_start,
            on_progress=on_progress,
        )
    )


def searches(path: Path) -> dict:
    """The records of a run by key, without what the clock measures or decides, and their trees."""
    found = {}
    for record in read_run(path).records:
        plain = record.model_dump(mode="json", exclude={"seconds", "engine", "finished_at", "resumed", "tree_crc32"})
        stored = read_tree(path, record.key)
        state = stored.state.to_dict()
        del state["seconds"]
        for spent in (plain["usage"], state["spent"]):
            spent.pop("dropped_tokens", None)
            spent.pop("dropped_prm_tokens", None)
        for depth in state["depths"]:
            depth["figures"].pop("solver_s", None)
        found[record.key] = json.loads(json.dumps({**plain, "tree": state, "of": stored.specification}))
    return found

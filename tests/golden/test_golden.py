"""Whole searches on scripted worlds, stored with the configuration that made them and replayed.

Make the files again after a change that is meant to change searches: ``python -m tests.golden.test_golden``.
"""

import asyncio
import json
from pathlib import Path

import pytest

from tests.worlds import run

FOLDER = Path(__file__).parent
CONFIGURATIONS = [
    {"strategy": "best_of_n", "width": 6, "seed": 1},
    {"strategy": "best_of_n", "width": 6, "seed": 1, "aggregation": "majority"},
    {"strategy": "beam(keep=4)", "width": 8, "seed": 2},
    {"strategy": "beam", "width": 9, "seed": 2},
    {"strategy": "dvts(keep=4)", "width": 8, "seed": 3},
    {"strategy": "rebase", "width": 8, "seed": 4},
    {"strategy": "rebase(rounding=round)", "width": 8, "seed": 4},
    {"strategy": "dora", "width": 8, "seed": 4},
    {"strategy": "thrift", "width": 16, "seed": 6},
    {"strategy": "particle_filter", "width": 8, "seed": 4},
    {"strategy": "entropic_particle_filter(resampling=systematic)", "width": 8, "seed": 4},
    {"strategy": "ab_mcts(batch=3)", "width": 8, "seed": 4},
    {"strategy": "adaptive_width(each=2)", "width": 8, "seed": 4},
    {"strategy": "ets_kv", "width": 8, "seed": 5},
    {"strategy": "ets", "width": 8, "seed": 6},
    {"strategy": "ets(lambda_b=1, lambda_d=1.5, balance_temperature=0.2)", "width": 16, "seed": 6},
    {"strategy": "ets(rounding=ceil, node_cost=tokens)", "width": 8, "seed": 7, "aggregation": "prod"},
    {"strategy": "rebase", "width": 16, "seed": 4, "merge": True},
    {"strategy": "ets", "width": 16, "seed": 6, "merge": True, "early_stop": True},
]


def file_of(configuration: dict) -> Path:
    name = "-".join(str(v) for v in configuration.values())
    return FOLDER / f"{''.join(c if c.isalnum() or c in '-_.' else '_' for c in name)}.json"


def replay(configuration: dict) -> dict:
    from etsearch import Aggregation

    arguments = dict(configuration)
    if "aggregation" in arguments:
        arguments["aggregation"] = Aggregation(arguments["aggregation"])
    result = asyncio.run(run(arguments.pop("strategy"), arguments.pop("width"), **arguments))
    plain = result.to_dict()
    del plain["usage"]["seconds"], plain["engine"]
    assert plain.pop("aggregation") == arguments.get("aggregation", "last")
    assert plain.pop("best") == result.best.node
    for depth in plain["depths"]:
        depth["figures"].pop("solver_s", None)
    tree = {"parent": result.tree.parent.tolist(), "tokens": result.tree.tokens.tolist()}
    return json.loads(json.dumps({"configuration": configuration, "tree": tree, "result": plain}))


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda c: file_of(c).stem)
def test_replayed_search_is_the_stored_one(configuration):
    stored = json.loads(file_of(configuration).read_text())
    assert replay(configuration) == stored


if __name__ == "__main__":
    for one in CONFIGURATIONS:
        file_of(one).write_text(json.dumps(replay(one), indent=1) + "\n")

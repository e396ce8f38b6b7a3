"""Every strategy at every width with the shipped models, and what ETS is for."""

import json

import pytest
from tests.cli.process import ets
from tests.contract.tiny_models import model_path

import etsearch
from etsearch import minimath
from etsearch.api import open_parts
from etsearch.strategies import STRATEGIES

pytestmark = [pytest.mark.slow, pytest.mark.model]


@pytest.fixture(autouse=True)
def _models():
    model_path("policy"), model_path("prm")


@pytest.mark.parametrize("width", [4, 16, 64, 256])
@pytest.mark.parametrize("strategy", [e.name for e in STRATEGIES.entries()])
def test_the_widths_add_up(strategy, width):
    asked = ("--strategy", strategy, "--width", str(width), "--no-early-stop", "--json")
    done = ets("solve", "--example", *asked)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    depths, usage = result["depths"], result["usage"]
    never_shrinks = strategy in ("beam", "dvts")  # N / k each, whatever has completed
    gives_back = strategy == "adaptive_width"
    goes_back = strategy == "ab_mcts"  # of whose rounds only what was chosen is recorded, eight at once
    assert result["width"] == width
    assert depths[0]["num_sampled"] == (min(8, width) if goes_back else width)
    assert result["stop_reason"] == "completed" or (
        (never_shrinks or gives_back) and result["stop_reason"] == "exhausted"
    )
    # A trajectory that rambles up to the context of the models is cut before it grows.
    cut = {f["node"] for f in result["failures"] if f["request"] == "expand"}
    completed = num_cut = 0
    for depth, following in zip(depths, [*depths[1:], None], strict=True):
        completed += depth["num_completed"]
        assert goes_back or depth["num_sampled"] + num_cut == depth["num_completed"] + len(depth["nodes"])
        assert depth["remaining_width"] == max(0, width - completed)
        num_cut = sum(width > 0 for node, width in zip(depth["nodes"], depth["widths"], strict=True) if node in cut)
        grown = [width for node, width in zip(depth["nodes"], depth["widths"], strict=True) if node not in cut]
        assert sum(grown) == (following["num_sampled"] if following else 0)
        assert following or sum(depth["widths"]) == 0
        if never_shrinks:
            assert sum(depth["widths"]) <= width
        elif goes_back:
            assert sum(depth["widths"]) == min(8, depth["remaining_width"])
        elif gives_back:
            assert bool(depth["nodes"]) <= sum(depth["widths"]) <= depth["remaining_width"]
        else:
            assert sum(depth["widths"]) == (depth["remaining_width"] if depth["nodes"] else 0)
    assert completed == len(result["trajectories"])
    assert never_shrinks or (completed <= width if gives_back else completed == width)
    assert usage["num_calls"] == sum(d["num_sampled"] for d in depths)
    assert usage["kv_tokens"] == sum(d["kv_tokens"] for d in depths)
    assert usage["peak_kv_tokens"] == max(d["kv_tokens"] for d in depths)
    assert sum(v["count"] for v in result["votes"]) == sum(t["answer"] is not None for t in result["trajectories"])
    assert sum(v["weight"] for v in result["votes"]) == pytest.approx(sum(t["weight"] for t in result["trajectories"]))


@pytest.mark.timeout(600)
async def test_ets_holds_fewer_kv_tokens_than_rebase():
    held = {}
    async with open_parts("minimath", "minimath", "ets", "lexical") as parts:
        for strategy in ("rebase", "ets"):
            given = {"generator": parts.generator, "prm": parts.reward_model, "strategy": strategy, "width": 64}
            problems = [minimath.example(number) for number in range(1, minimath.EXAMPLES + 1)]
            held[strategy] = [(await etsearch.search(problem, **given)).usage.kv_tokens for problem in problems]
    fewer = sum(ets < rebase for ets, rebase in zip(held["ets"], held["rebase"], strict=True))
    assert fewer >= 8, held

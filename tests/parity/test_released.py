"""ETS with the released code's weights, against what that code's own pruning function (PuLP with CBC) answered."""

import json
from pathlib import Path

import numpy as np
import pytest

from etsearch.selection import solve
from etsearch.strategies import STRATEGIES
from etsearch.strategies.base import Frontier
from etsearch.tree import NO_PARENT, SearchTree
from etsearch.types import Continuation, FinishReason

CASES = json.loads((Path(__file__).parent / "data" / "released-selections.json").read_text())
HANDS_OUT_ONE_MORE = {0, 26, 29, 32, 40}
"""In these the released code's widths sum to one more: a share that is whole but for its last digit is rounded up."""


def frontier(case):
    tree = SearchTree("q", [0] * case["tokens"][0])
    for parent, tokens in zip(case["parent"][1:], case["tokens"][1:], strict=True):
        tree.add(parent, Continuation((1,) * tokens, "s", FinishReason.STEP))
    return Frontier(
        tree,
        nodes=np.array(case["leaves"]),
        rewards=np.array(case["rewards"]),
        clusters=np.array(case["clusters"]),
        completed=np.array([], dtype=np.int64),
        total_width=case["width"],
    )


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_released_configuration(number):
    case = CASES[number]
    assert case["parent"][0] == NO_PARENT
    numbers = f"lambda_b={case['lambda_b']}, lambda_d={case['lambda_d']}"
    temperature = case["balance_temperature"]
    released = STRATEGIES.create(
        f"ets({numbers}, balance_temperature={temperature}, weights=sequential, rounding=released)"
    )
    view = frontier(case)
    programme = released.programme(view, case["width"])
    assert programme.weight.tolist() == case["weights"]
    is_kept = np.isin(case["leaves"], case["kept"])
    assert programme.objective(is_kept) == pytest.approx(case["optimum"], abs=1e-9)
    found = released.select(view, case["width"])
    assert found.figures["objective"] == pytest.approx(case["optimum"], abs=1e-9)
    if not case["kept_unique"]:
        return
    widths = np.array(found.widths)
    excess = np.array(case["widths"]) - widths
    assert sorted(excess.tolist()) == [0] * (len(excess) - 1) + [int(number in HANDS_OUT_ONE_MORE)]
    assert list(solve(programme).kept) == is_kept.tolist()

"""Every family by the routes in this process: transformers and OpenVINO."""

import asyncio

import pytest

from etsearch.prms.families import FAMILIES, PrmFamily
from etsearch.types import Step, Trajectory
from tests.conformance.cases import CASES, QUESTION, TOLERANCE, check, row
from tests.conformance.cases import tiny_families as families

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]


@pytest.mark.parametrize("family", families())
async def test_transformers(family, tiny_model, reference, report):
    from etsearch.prms.transformers import TransformersRewardModel

    await check(
        TransformersRewardModel(tiny_model(family), family=row(family)), reference(family), report, "transformers"
    )


@pytest.mark.parametrize("family", families())
async def test_openvino(family, openvino_model, reference, report):
    from etsearch.prms.openvino import OpenVinoRewardModel

    model = OpenVinoRewardModel(openvino_model(family), family=row(family))
    await check(model, reference(family), report, "openvino")


@pytest.mark.parametrize("family", [f for f in families() if f != "judge"])
async def test_rewards_of_exactly_0_and_1(family, tiny_model, openvino_model, reference):
    """Heads so large that a sigmoid has nothing left between."""
    from etsearch.prms.openvino import OpenVinoRewardModel
    from etsearch.prms.transformers import TransformersRewardModel

    wanted = [r for steps in CASES.values() for r in reference(family, extreme=True).rewards(QUESTION, steps)]
    assert {0.0, 1.0} <= {round(r, 9) for r in wanted}
    for model in (
        TransformersRewardModel(tiny_model(family, extreme=True), family=row(family)),
        OpenVinoRewardModel(openvino_model(family, extreme=True), family=row(family)),
    ):
        asked = [model.score(Trajectory(QUESTION, tuple(map(Step, steps))), 0) for steps in CASES.values()]
        found = [r for scores in await asyncio.gather(*asked) for r in scores.rewards]
        await model.aclose()
        assert found == pytest.approx(wanted, abs=TOLERANCE)


def test_every_row_of_the_table_is_tried():
    assert set(families()) == {*FAMILIES, "label"}
    assert isinstance(row("label"), PrmFamily)

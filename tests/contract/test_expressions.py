"""The models of the world of expressions keep the contracts, on a problem that they can read, and solve some."""

import pytest

import etsearch
from etsearch.errors import ConfigError
from etsearch.evaluation.datasets import open_dataset
from etsearch.expressions.checker import right_steps
from etsearch.expressions.world import parse
from etsearch.generators import GENERATORS
from etsearch.prms import REWARD_MODELS
from etsearch.testing import DATASET_CHECKS, GENERATOR_CHECKS, REWARD_MODEL_CHECKS, Case
from etsearch.types import Problem

pytestmark = pytest.mark.model

QUESTION = "Work out ((3 + 4) * 2) - (9 - 4)."
CASE = Case(Problem(QUESTION, "9", "by hand"), ("= (7 * 2) - (9 - 4)\n", "= 14 - (9 - 4)\n"))


@pytest.fixture(autouse=True)
def _needs_openvino():
    pytest.importorskip("openvino_genai", reason="needs the extra 'local'")


def name(check):
    return check.__name__


@pytest.mark.parametrize("check", GENERATOR_CHECKS, ids=name)
async def test_generator(check):
    generator = GENERATORS.create("expressions(num_kv_blocks=256)")
    await check(generator, CASE)
    await generator.aclose()


@pytest.mark.parametrize("check", REWARD_MODEL_CHECKS, ids=name)
async def test_reward_model(check):
    model = REWARD_MODELS.create("expressions")
    await check(model, CASE)
    await model.aclose()


@pytest.mark.parametrize("check", DATASET_CHECKS, ids=name)
def test_data_set(check):
    check(lambda: open_dataset("expressions:validation"))


async def test_steps_are_those_of_the_world():
    """Most first steps of the policy are right, and a right solution comes of most searches of easy problems."""
    result = await etsearch.search(
        QUESTION, generator="expressions", prm="expressions", strategy="rebase", width=16, seed=0, early_stop=False
    )
    tree, problem = result.tree, parse(QUESTION)
    first = [tree.trajectory(node).steps[0].text for node in range(1, len(tree)) if tree.depth[node] == 1]
    right = [right_steps(problem, [step])[0] for step in first]
    assert sum(right) > len(right) / 2
    assert "9" in {t.answer for t in result.trajectories}


async def test_a_problem_of_another_world_is_refused():
    with pytest.raises(ConfigError, match="the model of expressions does not know 'There', 'are', 'cups'"):
        await etsearch.search("There are 3 cups.", generator="expressions", prm="expressions", width=2)

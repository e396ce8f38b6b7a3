"""Reward models behind servers: scored once, in batches, and nothing dropped."""

import asyncio

import pytest

import etsearch
from etsearch.errors import (
    ConfigError,
    RewardError,
    UnavailableError,
)
from etsearch.generators import GENERATORS
from etsearch.loop import run_search
from etsearch.prms import REWARD_MODELS
from etsearch.strategies import STRATEGIES
from tests.contract.serving import PROBLEM, QUICK, open_part, search, settings, trajectory
from tests.doubles import world
from tests.doubles.http import RefusedError, running
from tests.doubles.vllm import VllmDouble


async def test_a_step_is_scored_once_and_siblings_go_out_as_a_batch(server):
    async with (
        open_part(REWARD_MODELS, f"vllm:{server.url}") as reward_model,
        open_part(GENERATORS, "scripted") as generator,
    ):
        result = await search(generator, reward_model=reward_model)
        distinct = {result.tree.trajectory(node).text.strip() for node in range(1, len(result.tree))}
        assert reward_model.num_scored == len(distinct)
        prompts = [tuple(ids) for body in server.posts("/v1/completions") for ids in body["prompt"]]
        assert len(prompts) == len(set(prompts)) == len(distinct)
        assert reward_model.num_requests < len(distinct)
        before = reward_model.num_requests
        await search(generator, reward_model=reward_model)
        assert reward_model.num_requests == before, "every reward is known"


async def test_a_failed_score_is_asked_for_again(server):
    async with open_part(REWARD_MODELS, f"vllm({QUICK}):{server.url}") as reward_model:
        trajectory = etsearch.types.Trajectory(PROBLEM.question, (etsearch.types.Step("The answer is 3."),))

        def trouble(call):
            if call.path == "/v1/completions":
                raise RefusedError(400, "bad")

        server.trouble = trouble
        for result in await asyncio.gather(
            *(reward_model.score(trajectory, 0) for _ in range(3)), return_exceptions=True
        ):
            assert isinstance(result, RewardError)
            assert not result.retryable
        server.trouble = lambda call: None
        assert 0 < (await reward_model.score(trajectory, 0)).rewards[0] < 1


async def test_one_bad_trajectory_of_a_batch_is_lost_alone(server):
    real = server.post_completions

    def post(body):
        if any("unreadable" in world.text_of(ids) for ids in body["prompt"]):
            raise RefusedError(400, "cannot read this")
        return real(body)

    server.post_completions = post
    async with open_part(REWARD_MODELS, f"vllm({QUICK}):{server.url}") as reward_model:
        texts = ("1 + 1 = 2 cups.\n", "unreadable\n", "The answer is 2.")
        for text in texts:  # so that all are tokenised, and go out together
            await reward_model.reader.read(trajectory(text), 0)
        asked = [reward_model.score(trajectory(text), 0) for text in texts]
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(scores, RewardError) for scores in found] == [False, True, False]
    assert len(server.posts("/v1/completions")[0]["prompt"]) == 3


async def test_searches_that_a_server_ends_together_keep_a_state_each(server):
    def trouble(call):
        if len(server.posts("/v1/completions")) > 8:
            raise RefusedError(503, "gone")

    server.trouble = trouble
    async with open_part(REWARD_MODELS, f"vllm(patience_s=0.1):{server.url}") as reward_model:
        searches = [
            run_search(
                PROBLEM,
                generator=GENERATORS.create("scripted"),
                reward_model=reward_model,
                strategy=STRATEGIES.create("rebase"),
                settings=settings(seed=seed),
            )
            for seed in (1, 2)
        ]
        one, two = await asyncio.gather(*searches, return_exceptions=True)
    assert isinstance(one, UnavailableError)
    assert isinstance(two, UnavailableError)
    assert one.state is not two.state
    assert shape_of(one.state) != shape_of(two.state) or not one.state.depths


def shape_of(state):
    return [state.tree.continuation(node).text for node in range(1, len(state.tree))]


async def test_a_trajectory_that_the_prm_cannot_hold(server):
    async with open_part(REWARD_MODELS, f"vllm:{server.url}") as reward_model:
        long = etsearch.types.Trajectory(PROBLEM.question, (etsearch.types.Step("x" * world.CONTEXT),))
        with pytest.raises(RewardError, match=f"does not fit the reward model's {world.CONTEXT}") as caught:
            await reward_model.score(long, 0)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda answer: answer | {"data": []}, "gave 0 answers; 1 were asked for"),
        (lambda answer: {"data": [{"index": 0, "data": []}]}, "rows of different lengths, or none"),
        (lambda answer: {"data": [{"index": 0, "data": [[1.0, 2.0]] * 3}]}, "gave 3 rows for a trajectory"),
        (lambda answer: {"oops": 1}, "answered something else"),
    ],
)
async def test_an_answer_that_is_none_is_an_error_and_no_dropped_node(folder, break_it, message):
    with running(VllmDouble(folder, pools=True)) as server:
        real = server.post_pooling
        server.post_pooling = lambda body: break_it(real(body))
        async with open_part(REWARD_MODELS, f"vllm:{server.url}") as reward_model:
            trajectory = etsearch.types.Trajectory(PROBLEM.question, (etsearch.types.Step("The answer is 3."),))
            with pytest.raises(RewardError, match=message):
                await reward_model.score(trajectory, 0)


async def test_rows_of_tags_only_are_told_apart(folder):
    with running(VllmDouble(folder, pools=True, tags_only=True), VllmDouble(folder)) as (pooling, plain):
        async with (
            open_part(REWARD_MODELS, f"vllm:{pooling.url}") as reward_model,
            open_part(REWARD_MODELS, f"vllm:{plain.url}") as other,
        ):
            steps = tuple(etsearch.types.Step(text) for text in ("2 + 1 = 3 cups.\n", "The answer is 3."))
            trajectory = etsearch.types.Trajectory(PROBLEM.question, steps)
            for first in (0, 1):
                found, wanted = await reward_model.score(trajectory, first), await other.score(trajectory, first)
                assert found.rewards == pytest.approx(wanted.rewards, abs=1e-9)


async def test_a_family_that_a_route_cannot_ask_for(server):
    with pytest.raises(ConfigError, match="needs vLLM's /pooling"):
        REWARD_MODELS.create(f"vllm(family=llemma_reward):{server.url}")
    with pytest.raises(ConfigError, match="route 'generative_scoring' cannot ask for what 'qwen_prm' needs"):
        REWARD_MODELS.create(f"vllm(family=qwen_prm, route=generative_scoring):{server.url}")


async def test_a_score_that_nobody_waits_for_is_taken_back(server):
    server.trouble = lambda call: 60.0 if call.path == "/v1/completions" else None
    async with open_part(REWARD_MODELS, f"vllm:{server.url}") as reward_model:
        task = asyncio.create_task(reward_model.score(trajectory("1 + 1 = 2 cups.\n"), 0))
        while not server.posts("/v1/completions"):  # noqa: ASYNC110 - the double tells nobody
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for _ in range(200):
            if server.abandoned:
                break
            await asyncio.sleep(0.01)
        assert [call.path for call in server.abandoned] == ["/v1/completions"]
        server.trouble = lambda call: None
        assert 0 < (await reward_model.score(trajectory("1 + 1 = 2 cups.\n"), 0)).rewards[0] < 1

"""How searches fare with servers in trouble: the doubles drop, refuse, wait and come back."""

import asyncio
import contextlib
import logging
import threading
import time

import pytest

import etsearch
from etsearch import minimath
from etsearch.engines import GENERATORS
from etsearch.errors import (
    ConfigError,
    ContextLengthError,
    EngineError,
    EngineTimeoutError,
    RewardError,
    UnavailableError,
)
from etsearch.loop import run_search
from etsearch.prms import REWARD_MODELS
from etsearch.prms.scripted import ScriptedRewardModel
from etsearch.settings import Limits, SearchSettings
from etsearch.strategies import STRATEGIES
from etsearch.types import EndReason, GenerateRequest, StopReason
from tests.doubles import world
from tests.doubles.http import RefusedError, running
from tests.doubles.openai import PlainDouble
from tests.doubles.sglang import SglangDouble
from tests.doubles.vllm import VllmDouble

PROBLEM = minimath.example(3)
QUICK = "connect_timeout_s=1, patience_s=5"


@pytest.fixture
def folder(tmp_path):
    return world.folder(tmp_path / "model")


@pytest.fixture
def server(folder):
    with running(VllmDouble(folder)) as double:
        yield double


@contextlib.asynccontextmanager
async def made(registry, specification):
    part = registry.create(specification)
    try:
        yield part
    finally:
        await part.aclose()


async def asked(generator, **changes):
    values = {"prefix": tuple(await generator.encode_prompt(PROBLEM.question)), "num_continuations": 2}
    values |= {"max_tokens": 300, "stop": ("\n",), "seed": 1}
    return GenerateRequest(**(values | changes))


def settings(width=8, seed=2, **more):
    return SearchSettings(width, seed=seed, **more)


async def searched(generator, strategy="rebase", reward_model=None, **more):
    return await run_search(
        PROBLEM,
        generator=generator,
        reward_model=reward_model or ScriptedRewardModel(world.judge),
        strategy=STRATEGIES.create(strategy),
        settings=settings(),
        embedder=etsearch.diversity.LexicalEmbedder(),
        **more,
    )


def shape(result):
    """What two searches must have in common to be the same."""
    tree = result.tree
    nodes = [(tree.parent_of(n), tree.continuation(n).text, round(tree.reward(n), 9)) for n in range(1, len(tree))]
    return result.answer, nodes, [(d.kv_tokens, d.widths) for d in result.depths]


@pytest.mark.parametrize("strategy", ["rebase", "ets", "best_of_n", "dvts"])
async def test_a_search_over_a_server_is_that_of_the_same_model_in_process(folder, strategy):
    """The doubles' model is the scripted one, its PRM likewise: same seeds, same tokens, same tree."""
    straight = await searched(GENERATORS.create("scripted"), strategy)
    result = await searched_over(folder, VllmDouble, "vllm", strategy)
    assert shape(result) == shape(straight)
    assert not result.failures
    assert result.engine.peak_cache_tokens == 1024


async def test_a_search_over_sglang(folder):
    result = await searched_over(folder, SglangDouble, "sglang", "ets")
    assert result.answer
    assert not result.failures
    assert result.engine.prefix_hit_tokens > 0
    assert result.engine.num_preemptions == 0
    assert result.engine.peak_cache_tokens == 4096
    result.tree.check_integrity()


async def searched_over(folder, kind, name, strategy):
    with running(kind(folder), kind(folder)) as (policy, prm):
        async with (
            made(GENERATORS, f"{name}:{policy.url}") as generator,
            made(REWARD_MODELS, f"{name}:{prm.url}") as judge,
        ):
            return await searched(generator, strategy, judge)


async def test_what_one_expansion_sends(server):
    async with made(GENERATORS, f"vllm:{server.url}") as generator:
        await generator.generate(await asked(generator, num_continuations=5))
        await generator.generate(await asked(generator, num_continuations=3, sampling=etsearch.Sampling(0.0)))
    sampled, greedy = server.posts("/v1/completions")
    assert (sampled["n"], sampled["seed"], sampled["stop"], sampled["top_k"]) == (5, 1, ["\n"], -1)
    assert greedy["n"] == 1


async def test_sglang_seeds(folder):
    """Where seeds are obeyed one for all would make all continuations equal: each is sent with its own."""
    with running(SglangDouble(folder), SglangDouble(folder, deterministic=False, old_names=True)) as (exact, free):
        async with made(GENERATORS, f"sglang:{exact.url}") as generator:
            some = await generator.generate(await asked(generator, num_continuations=8))
            assert some == await generator.generate(await asked(generator, num_continuations=8))
            assert len({c.text for c in some}) > 1
            assert (await generator.stats()).cache_capacity_tokens == 8192
        async with made(GENERATORS, f"sglang(log_probabilities=false):{free.url}") as generator:
            one, two = [await generator.generate(await asked(generator, num_continuations=8)) for _ in range(2)]
            assert one != two
            assert one[0].log_probability is None
    (body, _) = exact.posts("/generate")
    assert [p["sampling_seed"] for p in body["sampling_params"]] == list(range(1, 9))
    (body, _) = free.posts("/generate")
    assert body["sampling_params"]["n"] == 8


async def test_what_can_be_retried_is(server):
    troubles = iter([429, 503, "drop", 502, 500])

    def trouble(call):
        found = next(troubles, None) if call.path == "/v1/completions" else None
        if isinstance(found, int):
            raise RefusedError(found, "later", {"retry-after": "0.01"})
        return found

    server.trouble = trouble
    async with made(GENERATORS, f"vllm(patience_s=60):{server.url}") as generator:
        assert len(await generator.generate(await asked(generator))) == 2
    assert len(server.posts("/v1/completions")) == 6
    assert next(troubles, None) is None


async def test_a_pause_that_the_server_asks_for_is_kept(server):
    times = []

    def trouble(call):
        if call.path == "/v1/completions":
            times.append(time.monotonic())
            if len(times) == 1:
                raise RefusedError(429, "slow down", {"retry-after": "0.5"})

    server.trouble = trouble
    async with made(GENERATORS, f"vllm({QUICK}):{server.url}") as generator:
        await generator.generate(await asked(generator))
    assert times[1] - times[0] >= 0.5


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (400, "stop must be a list", EngineError),
        (400, "This model's maximum context length is 10 tokens", ContextLengthError),
        (413, "request exceeds the available context size", ContextLengthError),
        (422, "n is no number", EngineError),
        (401, "wrong key", ConfigError),
        (403, "no", ConfigError),
    ],
)
async def test_what_cannot_be_retried_is_not(server, status, message, error):
    def trouble(call):
        if call.path == "/v1/completions":
            raise RefusedError(status, message)

    server.trouble = trouble
    async with made(GENERATORS, f"vllm({QUICK}):{server.url}") as generator:
        with pytest.raises(error, match=message.replace("'", ".")):
            await generator.generate(await asked(generator))
    assert len(server.posts("/v1/completions")) == 1


async def test_a_server_that_fails_at_one_request_only(server):
    def trouble(call):
        if call.path == "/v1/completions":
            raise RefusedError(500, "kernel error")

    server.trouble = trouble
    async with made(GENERATORS, f"vllm({QUICK}):{server.url}") as generator:
        with pytest.raises(EngineError, match="kernel error, 3 times"):
            await generator.generate(await asked(generator))


async def test_a_branch_that_does_not_fit_is_cut_and_says_so(server):
    def trouble(call):
        if call.path == "/v1/completions" and len(call.body["prompt"]) > 400:
            raise RefusedError(400, "This model's maximum context length is 400 tokens.")

    server.trouble = trouble
    async with made(GENERATORS, f"vllm({QUICK}):{server.url}") as generator:
        result = await searched(generator)
    assert {t.end_reason for t in result.trajectories} == {EndReason.LENGTH}
    assert all("maximum context length is 400" in failure.reason for failure in result.failures)


async def test_a_server_that_answers_too_late(server):
    server.trouble = lambda call: 2.0 if call.path == "/v1/completions" else None
    async with made(GENERATORS, f"vllm(read_timeout_s=0.2):{server.url}") as generator:
        with pytest.raises(EngineTimeoutError, match="read_timeout_s") as caught:
            await generator.generate(await asked(generator))
    assert caught.value.retryable


async def test_a_cancelled_request_reaches_the_server(server):
    server.trouble = lambda call: 60.0 if call.path == "/v1/completions" else None
    async with made(GENERATORS, f"vllm:{server.url}") as generator:
        task = asyncio.create_task(generator.generate(await asked(generator)))
        while not server.posts("/v1/completions"):  # noqa: ASYNC110 - the double tells nobody
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(200):
            if server.abandoned:
                break
            await asyncio.sleep(0.01)
    assert [call.path for call in server.abandoned] == ["/v1/completions"]


async def test_a_score_that_nobody_waits_for_is_taken_back(server):
    server.trouble = lambda call: 60.0 if call.path == "/v1/completions" else None
    async with made(REWARD_MODELS, f"vllm:{server.url}") as judge:
        task = asyncio.create_task(judge.score(trajectory("1 + 1 = 2 cups.\n"), 0))
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
        assert 0 < (await judge.score(trajectory("1 + 1 = 2 cups.\n"), 0)).rewards[0] < 1


def trajectory(*texts):
    return etsearch.types.Trajectory(PROBLEM.question, tuple(map(etsearch.types.Step, texts)))


async def test_no_more_requests_are_in_flight_than_allowed(server):
    server.trouble = lambda call: 0.05 if call.path == "/v1/completions" else None
    async with made(GENERATORS, f"vllm(max_in_flight=3):{server.url}") as generator:
        await asyncio.gather(*[generator.generate(await asked(generator, seed=i)) for i in range(12)])
    assert server.most_at_once == 3


# The double that dies may leave connections that it was just taking in.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_server_that_dies_in_mid_search_and_comes_back_costs_nothing(server):
    straight = await searched(GENERATORS.create("scripted"))
    deaths, dying = [], threading.Lock()

    def trouble(call):
        """At the third request, and again some requests after it is back."""
        since = deaths[-1] if deaths else 0
        if len(deaths) < 2 and len(server.posts("/v1/completions")) >= since + 3 and dying.acquire(blocking=False):
            threading.Thread(target=die).start()
            return 5.0
        return None

    def die():
        server.stop()
        time.sleep(0.4)
        deaths.append(len(server.posts("/v1/completions")))
        server.start()
        dying.release()

    server.trouble = trouble
    async with made(GENERATORS, f"vllm(connect_timeout_s=1, patience_s=30):{server.url}") as generator:
        result = await searched(generator)
    assert len(deaths) == 2
    assert shape(result) == shape(straight)
    assert not result.failures


@pytest.mark.parametrize("who", ["policy", "prm"])
async def test_a_server_that_stays_away_ends_the_search_which_can_go_on(folder, who):
    straight = await searched(GENERATORS.create("scripted"))
    with running(VllmDouble(folder), VllmDouble(folder)) as (policy, prm):
        dying = {"policy": policy, "prm": prm}[who]

        def trouble(call):
            if call.path == "/v1/completions" and len(dying.posts(call.path)) > 12:
                raise RefusedError(503, "loading")

        dying.trouble = trouble
        specification = "vllm(connect_timeout_s=0.5, patience_s=0.3):{}"
        async with (
            made(GENERATORS, specification.format(policy.url)) as generator,
            made(REWARD_MODELS, specification.format(prm.url)) as judge,
        ):
            with pytest.raises(UnavailableError, match=r"503: loading; no answer for 0\.3 s .*patience_s") as caught:
                await searched(generator, reward_model=judge)
            state = caught.value.state
            assert len(state.depths) >= 1
            state.tree.check_integrity()
            dying.trouble = lambda call: None
            result = await searched(generator, reward_model=judge, resume=state)
    assert result.answer == straight.answer
    assert shape(result) == shape(straight)


async def test_an_evaluation_stops_when_its_server_stays_away_and_goes_on(folder, tmp_path):
    from etsearch.evaluation.recipe import Recipe
    from etsearch.evaluation.record import read_run
    from etsearch.evaluation.runner import evaluate

    with running(VllmDouble(folder), VllmDouble(folder)) as (policy, prm):
        recipe = Recipe.of(
            {
                "data": "minimath:test",
                "limit": 3,
                "strategies": ["rebase"],
                "widths": [4],
                "generator": f"vllm(connect_timeout_s=0.5, patience_s=0.2):{policy.url}",
                "prm": f"vllm(connect_timeout_s=0.5, patience_s=0.2):{prm.url}",
                "out": str(tmp_path / "run"),
            }
        )

        def trouble(call):
            if len(policy.posts("/v1/completions")) > 12:
                raise RefusedError(503, "gone")

        policy.trouble = trouble
        with pytest.raises(UnavailableError, match="503: gone"):
            await evaluate(recipe)
        assert [r for r in read_run(tmp_path / "run").records if r.status == "failed"] == []
        policy.trouble = lambda call: None
        outcome = await evaluate(recipe)
    assert (outcome.num_done, outcome.num_failed) == (3, 0)
    records = read_run(tmp_path / "run").records
    assert any(record.resumed for record in records)
    assert all(record.engine["prefix_hit_tokens"] > 0 for record in records)


async def test_a_tree_stays_on_one_replica_and_trees_spread(folder):
    doubles = [VllmDouble(folder) for _ in range(3)]
    with running(*doubles):
        address = ",".join(double.url for double in doubles)
        async with made(GENERATORS, f"vllm:{address}") as generator:
            await asyncio.gather(*(searched(generator) for _ in range(6)))
    seeds = [[body["seed"] for body in double.posts("/v1/completions")] for double in doubles]
    assert all(seeds)
    roots = [found.count(seeds[0][0]) for found in seeds]
    assert roots == [2, 2, 2], "six searches with one seed, two on each replica"
    for found in seeds:
        assert len(found) == 2 * len(set(found)), "a search's requests are all on its replica"


async def test_a_dead_replicas_trees_move(folder):
    straight = await searched(GENERATORS.create("scripted"))
    doubles = [VllmDouble(folder) for _ in range(2)]
    with running(*doubles):
        async with made(GENERATORS, f"vllm({QUICK}):{doubles[0].url},{doubles[1].url}") as generator:
            for double in doubles:
                double.trouble = lambda call, double=double: dies_after_three(double)

            def dies_after_three(double):
                is_first = all(other is double or not other.posts("/v1/completions") for other in doubles)
                return "drop" if is_first and len(double.posts("/v1/completions")) >= 3 else None

            result = await searched(generator)
    assert all(double.posts("/v1/completions") for double in doubles)
    assert shape(result) == shape(straight)


async def test_replicas_must_serve_one_model(folder):
    with running(VllmDouble(folder), VllmDouble(folder, model="other")) as (one, two):
        with pytest.raises(ConfigError, match="these differ"):
            GENERATORS.create(f"vllm:{one.url},{two.url}")
        with pytest.raises(ConfigError, match="serves no model 'mine'; it serves scripted"):
            GENERATORS.create(f"vllm:{one.url}/mine")


async def test_a_replica_that_is_away_from_the_start_is_left_out(server, caplog):
    specification = f"vllm({QUICK}):http://127.0.0.1:9,{server.url}"
    async with made(GENERATORS, specification) as generator:
        assert len(await generator.generate(await asked(generator))) == 2
    assert "a replica is away" in caplog.text


async def test_a_server_of_another_kind(server):
    with running(PlainDouble()) as plain:
        for name, wrong in (("vllm", plain), ("sglang", server)):
            with pytest.raises(ConfigError, match=f"is no .* server .*try openai:{wrong.url}"):
                GENERATORS.create(f"{name}:{wrong.url}")


async def test_a_key_reaches_the_server_and_no_log(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("ETSEARCH_API_KEY", "sk-very-secret")
    caplog.set_level(logging.DEBUG)
    form = world.folder(tmp_path / "m") / "etsearch.json"
    with running(PlainDouble(key="sk-very-secret")) as plain:
        async with made(GENERATORS, f"openai(format={form}):{plain.url}") as generator:
            result = await searched(generator)
            assert result.answer
            monkeypatch.setenv("ETSEARCH_API_KEY", "sk-other")
        async with made(GENERATORS, f"openai(format={form}):{plain.url}") as generator:
            with pytest.raises(ConfigError, match="environment variable ETSEARCH_API_KEY"):
                await generator.generate(await asked(generator))
    assert "secret" not in caplog.text
    assert "sk-other" not in caplog.text
    assert "secret" not in str(result.to_dict())


async def test_a_step_is_scored_once_and_siblings_go_out_as_a_batch(server):
    async with made(REWARD_MODELS, f"vllm:{server.url}") as judge, made(GENERATORS, "scripted") as generator:
        result = await searched(generator, reward_model=judge)
        distinct = {result.tree.trajectory(node).text.strip() for node in range(1, len(result.tree))}
        assert judge.num_scored == len(distinct)
        prompts = [tuple(ids) for body in server.posts("/v1/completions") for ids in body["prompt"]]
        assert len(prompts) == len(set(prompts)) == len(distinct)
        assert judge.num_requests < len(distinct)
        before = judge.num_requests
        await searched(generator, reward_model=judge)
        assert judge.num_requests == before, "every reward is known"


async def test_a_failed_score_is_asked_for_again(server):
    async with made(REWARD_MODELS, f"vllm({QUICK}):{server.url}") as judge:
        trajectory = etsearch.types.Trajectory(PROBLEM.question, (etsearch.types.Step("The answer is 3."),))

        def trouble(call):
            if call.path == "/v1/completions":
                raise RefusedError(400, "bad")

        server.trouble = trouble
        for result in await asyncio.gather(*(judge.score(trajectory, 0) for _ in range(3)), return_exceptions=True):
            assert isinstance(result, RewardError)
            assert not result.retryable
        server.trouble = lambda call: None
        assert 0 < (await judge.score(trajectory, 0)).rewards[0] < 1


async def test_one_bad_trajectory_of_a_batch_is_lost_alone(server):
    real = server.post_completions

    def post(body):
        if any("unreadable" in world.text_of(ids) for ids in body["prompt"]):
            raise RefusedError(400, "cannot read this")
        return real(body)

    server.post_completions = post
    async with made(REWARD_MODELS, f"vllm({QUICK}):{server.url}") as judge:
        texts = ("1 + 1 = 2 cups.\n", "unreadable\n", "The answer is 2.")
        for text in texts:  # so that all are tokenised, and go out together
            await judge.reader.read(trajectory(text), 0)
        asked = [judge.score(trajectory(text), 0) for text in texts]
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(scores, RewardError) for scores in found] == [False, True, False]
    assert len(server.posts("/v1/completions")[0]["prompt"]) == 3


async def test_searches_that_a_server_ends_together_keep_a_state_each(server):
    def trouble(call):
        if len(server.posts("/v1/completions")) > 8:
            raise RefusedError(503, "gone")

    server.trouble = trouble
    async with made(REWARD_MODELS, f"vllm(patience_s=0.1):{server.url}") as judge:
        searches = [
            run_search(
                PROBLEM,
                generator=GENERATORS.create("scripted"),
                reward_model=judge,
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


async def test_a_replica_that_tells_no_figures_for_once_changes_no_totals(folder):
    doubles = [VllmDouble(folder), VllmDouble(folder)]
    with running(*doubles):
        async with made(GENERATORS, f"vllm:{doubles[0].url},{doubles[1].url}") as generator:
            for double in doubles:
                double.hits = 1000
            first = (await generator.stats()).prefix_hit_tokens
            doubles[1].stop()
            doubles[0].hits += 10
            without = (await generator.stats()).prefix_hit_tokens
            doubles[1].hits = 5
            doubles[1].start()
            again = (await generator.stats()).prefix_hit_tokens
    assert (first, without - first, again - without) == (2000, 10, 5)


async def test_a_trajectory_that_the_prm_cannot_hold(server):
    async with made(REWARD_MODELS, f"vllm:{server.url}") as judge:
        long = etsearch.types.Trajectory(PROBLEM.question, (etsearch.types.Step("x" * world.CONTEXT),))
        with pytest.raises(RewardError, match=f"does not fit the reward model's {world.CONTEXT}") as caught:
            await judge.score(long, 0)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda answer: answer | {"data": []}, "gave 0 scores; 1 were asked for"),
        (lambda answer: {"data": [{"index": 0, "data": []}]}, "gave 0 rows for a trajectory"),
        (lambda answer: {"data": [{"index": 0, "data": [[1.0, 2.0]] * 3}]}, "gave 3 rows for a trajectory"),
        (lambda answer: {"oops": 1}, "answered something else"),
    ],
)
async def test_an_answer_that_is_none_is_an_error_and_no_dropped_node(folder, break_it, message):
    with running(VllmDouble(folder, pools=True)) as server:
        real = server.post_pooling
        server.post_pooling = lambda body: break_it(real(body))
        async with made(REWARD_MODELS, f"vllm:{server.url}") as judge:
            trajectory = etsearch.types.Trajectory(PROBLEM.question, (etsearch.types.Step("The answer is 3."),))
            with pytest.raises(RewardError, match=message):
                await judge.score(trajectory, 0)


async def test_rows_of_tags_only_are_told_apart(folder):
    with running(VllmDouble(folder, pools=True, tags_only=True), VllmDouble(folder)) as (pooling, plain):
        async with (
            made(REWARD_MODELS, f"vllm:{pooling.url}") as judge,
            made(REWARD_MODELS, f"vllm:{plain.url}") as other,
        ):
            steps = tuple(etsearch.types.Step(text) for text in ("2 + 1 = 3 cups.\n", "The answer is 3."))
            trajectory = etsearch.types.Trajectory(PROBLEM.question, steps)
            for first in (0, 1):
                found, wanted = await judge.score(trajectory, first), await other.score(trajectory, first)
                assert found.rewards == pytest.approx(wanted.rewards, abs=1e-9)


async def test_a_family_that_a_route_cannot_ask_for(server):
    with pytest.raises(ConfigError, match="needs vLLM's /pooling"):
        REWARD_MODELS.create(f"vllm(family=llemma_reward):{server.url}")
    with pytest.raises(ConfigError, match="route 'generative_scoring' cannot ask for what 'qwen_prm' needs"):
        REWARD_MODELS.create(f"vllm(family=qwen_prm, route=generative_scoring):{server.url}")


async def test_limits_of_the_search_hold_with_a_server(server):
    async with made(GENERATORS, f"vllm:{server.url}") as generator:
        result = await run_search(
            PROBLEM,
            generator=generator,
            reward_model=ScriptedRewardModel(world.judge),
            strategy=STRATEGIES.create("rebase"),
            settings=settings(limits=Limits(max_depth=2)),
        )
    assert result.stop_reason is StopReason.MAX_DEPTH

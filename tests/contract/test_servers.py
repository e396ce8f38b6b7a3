"""How searches fare with servers in trouble: the doubles drop, refuse, wait and come back."""

import asyncio
import logging
import threading
import time

import pytest

import etsearch
from etsearch.errors import (
    ConfigError,
    ContextLengthError,
    EngineError,
    EngineTimeoutError,
    EtsearchError,
    UnavailableError,
)
from etsearch.generators import GENERATORS
from etsearch.loop import run_search
from etsearch.loop.events import Selected
from etsearch.loop.settings import Limits
from etsearch.prms import REWARD_MODELS
from etsearch.prms.scripted import ScriptedRewardModel
from etsearch.strategies import STRATEGIES
from etsearch.testing import CASE
from etsearch.testing.generators import keeps_its_seed
from etsearch.types import EndReason, StopReason
from tests.contract.serving import PROBLEM, QUICK, make_request, open_part, search, search_over, settings, shape
from tests.doubles import world
from tests.doubles.http import Raw, RefusedError, running
from tests.doubles.openai import PlainDouble
from tests.doubles.sglang import SglangDouble
from tests.doubles.vllm import VllmDouble


@pytest.mark.parametrize("early_stop", [False, True])
@pytest.mark.parametrize("strategy", ["rebase", "ets", "best_of_n", "dvts"])
async def test_a_search_over_a_server_is_that_of_the_same_model_in_process(folder, strategy, early_stop):
    """The doubles' model is the scripted one, its PRM likewise: same seeds, same tokens, same tree."""
    straight = await search(GENERATORS.create("scripted"), strategy, early_stop=early_stop)
    result = await search_over(folder, VllmDouble, "vllm", strategy, early_stop=early_stop)
    assert shape(result) == shape(straight)
    assert not result.failures
    assert result.engine.peak_cache_tokens == 1024


async def test_a_search_over_sglang(folder):
    result = await search_over(folder, SglangDouble, "sglang", "ets")
    assert result.answer
    assert not result.failures
    assert result.engine.prefix_hit_tokens > 0
    assert result.engine.num_preemptions == 0
    assert result.engine.peak_cache_tokens == 4100  # as it tells them, not half of the cache as token_usage rounds it
    result.tree.check_integrity()


async def test_what_one_expansion_sends(server):
    async with open_part(GENERATORS, f"vllm:{server.url}") as generator:
        await generator.generate(await make_request(generator, num_continuations=5))
        await generator.generate(await make_request(generator, num_continuations=3, sampling=etsearch.Sampling(0.0)))
    sampled, greedy = server.posts("/v1/completions")
    assert (sampled["n"], sampled["seed"], sampled["stop"], sampled["top_k"]) == (5, 1, ["\n"], -1)
    assert greedy["n"] == 1


async def test_preemptions_of_sglang_before_the_first(folder):
    """The counter is told from the first one on; without any figures nothing is known."""
    with running(SglangDouble(folder, retracted=False), SglangDouble(folder, metrics=False)) as (server, silent):
        for double, known in ((server, 0), (silent, None)):
            async with open_part(GENERATORS, f"sglang:{double.url}") as generator:
                assert (await generator.stats()).num_preemptions == known


async def test_a_contract_that_says_that_seeds_do_not_hold(folder):
    with running(SglangDouble(folder, deterministic=False)) as double:
        async with open_part(GENERATORS, f"sglang:{double.url}") as generator:
            with pytest.raises(pytest.skip.Exception, match=r"seeds of scripted .* do not hold"):
                await keeps_its_seed(generator, CASE)


async def test_sglang_seeds(folder):
    """Where seeds are obeyed one for all would make all continuations equal: each is sent with its own."""
    with running(SglangDouble(folder), SglangDouble(folder, deterministic=False, old_names=True)) as (exact, free):
        async with open_part(GENERATORS, f"sglang:{exact.url}") as generator:
            some = await generator.generate(await make_request(generator, num_continuations=8))
            assert some == await generator.generate(await make_request(generator, num_continuations=8))
            assert len({c.text for c in some}) > 1
            assert (await generator.stats()).cache_capacity_tokens == 8192
        async with open_part(GENERATORS, f"sglang(log_probabilities=false):{free.url}") as generator:
            one, two = [await generator.generate(await make_request(generator, num_continuations=8)) for _ in range(2)]
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
    async with open_part(GENERATORS, f"vllm(patience_s=60):{server.url}") as generator:
        assert len(await generator.generate(await make_request(generator))) == 2
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
    async with open_part(GENERATORS, f"vllm({QUICK}):{server.url}") as generator:
        await generator.generate(await make_request(generator))
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
    async with open_part(GENERATORS, f"vllm({QUICK}):{server.url}") as generator:
        with pytest.raises(error, match=message.replace("'", ".")):
            await generator.generate(await make_request(generator))
    assert len(server.posts("/v1/completions")) == 1


async def test_a_server_that_fails_at_one_request_only(server):
    def trouble(call):
        if call.path == "/v1/completions":
            raise RefusedError(500, "kernel error")

    server.trouble = trouble
    async with open_part(GENERATORS, f"vllm({QUICK}):{server.url}") as generator:
        with pytest.raises(EngineError, match="kernel error, 3 times"):
            await generator.generate(await make_request(generator))


async def test_a_branch_that_does_not_fit_is_cut_and_says_so(server):
    def trouble(call):
        if call.path == "/v1/completions" and len(call.body["prompt"]) > 400:
            raise RefusedError(400, "This model's maximum context length is 400 tokens.")

    server.trouble = trouble
    async with open_part(GENERATORS, f"vllm({QUICK}):{server.url}") as generator:
        result = await search(generator)
    assert {t.end_reason for t in result.trajectories} == {EndReason.LENGTH}
    assert all("maximum context length is 400" in failure.reason for failure in result.failures)


async def test_a_server_that_answers_too_late(server):
    server.trouble = lambda call: 2.0 if call.path == "/v1/completions" else None
    async with open_part(GENERATORS, f"vllm(read_timeout_s=0.2):{server.url}") as generator:
        with pytest.raises(EngineTimeoutError, match="read_timeout_s") as caught:
            await generator.generate(await make_request(generator))
    assert caught.value.retryable


async def test_a_cancelled_request_reaches_the_server(server):
    server.trouble = lambda call: 60.0 if call.path == "/v1/completions" else None
    async with open_part(GENERATORS, f"vllm:{server.url}") as generator:
        task = asyncio.create_task(generator.generate(await make_request(generator)))
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


async def test_no_more_requests_are_in_flight_than_allowed(server):
    server.trouble = lambda call: 0.05 if call.path == "/v1/completions" else None
    async with open_part(GENERATORS, f"vllm(max_in_flight=3):{server.url}") as generator:
        await asyncio.gather(*[generator.generate(await make_request(generator, seed=i)) for i in range(12)])
    assert server.most_at_once == 3


# The double that dies may leave connections that it was just taking in.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_server_that_dies_in_mid_search_and_comes_back_costs_nothing(server):
    straight = await search(GENERATORS.create("scripted"))
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
    async with open_part(GENERATORS, f"vllm(patience_s=30):{server.url}") as generator:
        result = await search(generator)
    assert len(deaths) == 2
    assert shape(result) == shape(straight)
    assert not result.failures


@pytest.mark.parametrize("who", ["policy", "prm"])
async def test_a_server_that_stays_away_ends_the_search_which_can_go_on(folder, who):
    straight = await search(GENERATORS.create("scripted"))
    with running(VllmDouble(folder), VllmDouble(folder)) as (policy, prm):
        dying = {"policy": policy, "prm": prm}[who]

        def refuse(call):
            if call.path == "/v1/completions":
                raise RefusedError(503, "loading")

        def stay_away(event):
            if isinstance(event, Selected):
                dying.trouble = refuse

        specification = "vllm(patience_s=0.3):{}"
        async with (
            open_part(GENERATORS, specification.format(policy.url)) as generator,
            open_part(REWARD_MODELS, specification.format(prm.url)) as reward_model,
        ):
            with pytest.raises(UnavailableError, match=r"503: loading; no answer for 0\.3 s .*patience_s") as caught:
                await search(generator, reward_model=reward_model, on_event=stay_away)
            state = caught.value.state
            assert len(state.depths) >= 1
            state.tree.check_integrity()
            dying.trouble = lambda call: None
            result = await search(generator, reward_model=reward_model, resume=state)
    assert result.answer == straight.answer
    assert shape(result) == shape(straight)


async def test_an_evaluation_stops_when_its_server_stays_away_and_goes_on(folder, tmp_path):
    from etsearch.evaluation.run.folder import read_run
    from etsearch.evaluation.run.recipe import Recipe
    from etsearch.evaluation.run.runner import evaluate

    with running(VllmDouble(folder), VllmDouble(folder)) as (policy, prm):
        recipe = Recipe.of(
            {
                "data": "minimath:test",
                "limit": 3,
                "strategies": ["rebase"],
                "widths": [4],
                "generator": f"vllm(patience_s=0.2):{policy.url}",
                "prm": f"vllm(patience_s=0.2):{prm.url}",
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
        async with open_part(GENERATORS, f"openai(format={form}):{plain.url}") as generator:
            result = await search(generator)
            assert result.answer
            monkeypatch.setenv("ETSEARCH_API_KEY", "sk-other")
        async with open_part(GENERATORS, f"openai(format={form}):{plain.url}") as generator:
            with pytest.raises(ConfigError, match="environment variable ETSEARCH_API_KEY"):
                await generator.generate(await make_request(generator))
    assert "secret" not in caplog.text
    assert "sk-other" not in caplog.text
    assert "secret" not in str(result.to_dict())


async def test_limits_of_the_search_hold_with_a_server(server):
    async with open_part(GENERATORS, f"vllm:{server.url}") as generator:
        result = await run_search(
            PROBLEM,
            generator=generator,
            reward_model=ScriptedRewardModel(world.reward_of),
            strategy=STRATEGIES.create("rebase"),
            settings=settings(limits=Limits(max_depth=2)),
        )
    assert result.stop_reason is StopReason.MAX_DEPTH


async def test_a_body_that_drips_is_not_waited_for_for_ever(server):
    server.spoil = lambda call, answer: Raw(b" " * 1000, pause_s=0.05) if call.path == "/v1/completions" else answer
    async with open_part(GENERATORS, f"vllm(read_timeout_s=0.2, connect_timeout_s=1):{server.url}") as generator:
        with pytest.raises(EngineTimeoutError, match="came to no end of its answer"):
            await generator.generate(await make_request(generator))


async def test_a_body_is_read_as_far_as_max_answer_mb(server):
    def spoil(call, answer):
        return Raw(b" " * 1_200_000) if call.path == "/v1/completions" else answer

    server.spoil = spoil
    async with open_part(GENERATORS, f"vllm(max_answer_mb=1):{server.url}") as generator:
        with pytest.raises(EngineError, match="answered more than 1 MB"):
            await generator.generate(await make_request(generator))


async def test_half_a_character_of_a_server_is_replaced_and_told(server, caplog):
    def spoil(call, answer):
        if call.path == "/v1/completions":
            for choice in answer["choices"]:
                choice["text"] = "half \ud800 a character\n"
        return answer

    server.spoil = spoil
    async with open_part(GENERATORS, f"vllm:{server.url}") as generator:
        found = await generator.generate(await make_request(generator))
    assert {c.text for c in found} == {"half \ufffd a character\n"}
    assert "answers text that is no Unicode" in caplog.text


KEY = "sk-live/0123456789+abcdef"


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 418, 422, 429, 500, 502, 503])
@pytest.mark.parametrize(
    "content",
    [
        f'{{"error": {{"message": "the key {KEY} is wrong"}}}}',
        f"<html>{KEY}</html>",
        '{"error": {"message": "' + KEY.replace("/", "\\/").replace("s", "\\u0073") + '"}}',
        f'{{"choices": [{{"index": "{KEY}"}}]}}',
        f'[["{KEY}"',
    ],
)
async def test_a_key_that_a_server_repeats_is_shown_nowhere(server, monkeypatch, caplog, status, content):
    monkeypatch.setenv("ETSEARCH_API_KEY", KEY)
    answer = Raw(content.encode(), status, {"x-key": KEY, "retry-after": "0"})
    async with open_part(GENERATORS, f"vllm(patience_s=0):{server.url}") as generator:
        request = await make_request(generator)
        server.spoil = lambda *_: answer
        with pytest.raises(EtsearchError) as caught:
            await generator.generate(request)
    error, told = caught.value, [caplog.text]
    while error is not None:
        told.append(str(error))
        error = error.__cause__
    assert "0123456789" not in " ".join(told)


async def test_a_key_in_the_models_own_text_enters_no_record(server, monkeypatch):
    monkeypatch.setenv("ETSEARCH_API_KEY", KEY)

    def spoil(call, answer):
        if call.path == "/v1/completions":
            for choice in answer["choices"]:
                choice["text"] = f"{KEY} {choice['text']}"
        return answer

    server.spoil = spoil
    async with open_part(GENERATORS, f"vllm:{server.url}") as generator:
        result = await search(generator)
    assert "0123456789" not in f"{result.to_dict()}{result.tree.trajectory(1)}"
    assert result.tree.continuation(1).text.startswith("[key] ")

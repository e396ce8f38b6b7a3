"""The gateway as its clients see it: over HTTP, by the openai package."""

import asyncio
import json
import threading
import time

import httpx
import openai
import pytest

from etsearch.serving.keys import add_key
from etsearch.serving.running import Status
from tests.gateways import ANSWER, QUESTION, SCRIPTED, SLOW, config_of, served

ASK = {"model": "small", "messages": [{"role": "user", "content": QUESTION}], "seed": 3}
SLOWLY = {**ASK, "model": "slow"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with served(config_of(tmp_path_factory.mktemp("gateway"), most_body_kb=64)) as running:
        yield running


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_an_answer(gateway):
    answer = gateway.client().chat.completions.create(**ASK)
    choice, facts = answer.choices[0], answer.etsearch
    assert (answer.object, answer.model, choice.finish_reason) == ("chat.completion", "small", "stop")
    assert choice.message.content.endswith(f"The answer is {ANSWER}.")
    assert facts["answer"] == ANSWER == facts["votes"][0]["answer"]
    assert (facts["width"], facts["seed"], facts["price"], facts["aggregation"]) == (16, 3, 0, "last")
    assert facts["kv_tokens"] > 0 < facts["depth"]
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
    assert gateway.client().chat.completions.create(**ASK).choices == answer.choices


def test_a_streamed_answer_is_the_same_to_the_letter(gateway):
    client = gateway.client()
    for seed in range(6):
        whole = client.chat.completions.create(**{**ASK, "seed": seed})
        chunks = list(
            client.chat.completions.create(**{**ASK, "seed": seed}, stream=True, stream_options={"include_usage": True})
        )
        *pieces, usage = chunks
        assert "".join(c.choices[0].delta.content or "" for c in pieces) == whole.choices[0].message.content
        assert pieces[0].choices[0].delta.role == "assistant"
        assert pieces[-1].choices[0].finish_reason == whole.choices[0].finish_reason
        assert pieces[-1].etsearch["votes"] == whole.etsearch["votes"]
        assert usage.usage == whole.usage
        assert {c.id for c in chunks} == {pieces[0].id}
        assert any(getattr(c.choices[0].delta, "reasoning_content", None) for c in pieces)


def test_a_stream_ends_as_streams_do_and_names_its_search(gateway):
    with gateway.http() as http, http.stream("POST", "/v1/chat/completions", json={**ASK, "stream": True}) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: ") for line in lines)
    assert json.loads(lines[0][6:])["id"] == answer.headers["x-search-id"]


def test_comments_keep_a_slow_stream_alive(gateway, monkeypatch):
    monkeypatch.setattr("etsearch.serving.app.PING_S", 0.1)
    with gateway.http() as http, http.stream("POST", "/v1/chat/completions", json={**SLOWLY, "stream": True}) as answer:
        assert any(line.startswith(":") for line in answer.iter_lines())


def test_models_are_profiles(gateway):
    listed = gateway.client().models.list().data
    assert [model.id for model in listed] == ["small", "slow"]
    assert gateway.client().models.retrieve("slow").etsearch["width"] == 8
    with pytest.raises(openai.NotFoundError):
        gateway.client().models.retrieve("nothing")
    assert "scripted" not in json.dumps([model.to_dict() for model in listed])


def test_health_readiness_and_figures(gateway):
    with gateway.http() as http:
        assert http.get("/health").json() == {"status": "ok"}
        assert http.get("/ready").status_code == 200
        gateway.client().chat.completions.create(**ASK)
        text = http.get("/metrics").text
        assert 'etsearch_searches_total{model="small",status="completed"' in text
        assert 'etsearch_requests_total{route="/v1/chat/completions",status="200"}' in text
        wait_for(lambda: "etsearch_kv_cache_tokens" in http.get("/metrics").text)
        live = http.get("/live").json()
        assert live["searches"][-1]["status"] == "completed"
        assert live["looks"]
        assert http.get("/live", params={"since": live["now"] + 60}).json()["looks"] == []
        assert http.get("/live", params={"since": "yesterday"}).status_code == 400
        assert http.get("/").status_code == 200


def test_a_search_can_be_looked_at_while_it_goes_on_and_stopped(gateway):
    results = {}

    def ask():
        with gateway.http() as http:
            results["answer"] = http.post("/v1/chat/completions", json=SLOWLY)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_for(lambda: any(r.state is not None and r.state.depths for r in gateway.gateway.open.values()))
    (search_id,) = gateway.gateway.open
    with gateway.http() as http:
        seen = http.get(f"/v1/searches/{search_id}", params={"tree": "true"}).json()
        assert (seen["status"], seen["object"], seen["completion"]) == ("in_progress", "search", None)
        assert seen["depth"] == len(seen["tree"]["depths"]) >= 1
        assert max(node["depth"] for node in seen["tree"]["nodes"]) == seen["depth"]
        assert "tree" not in http.get(f"/v1/searches/{search_id}").json()
        assert http.get(f"/v1/searches/{search_id}", params={"tree": "yes"}).status_code == 400
        assert http.delete(f"/v1/searches/{search_id}").json()["status"] == "cancelled"
        assert http.delete(f"/v1/searches/{search_id}").json()["status"] == "cancelled"
        assert http.get("/v1/searches/search-none").status_code == 404
    asking.join()
    assert results["answer"].status_code == 409
    assert results["answer"].json()["error"]["code"] == "cancelled"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_stops_its_search(gateway, stream):
    gateway.gateway._over.clear()
    if stream:
        with (
            gateway.http() as http,
            http.stream("POST", "/v1/chat/completions", json={**SLOWLY, "stream": True}) as answer,
        ):
            next(answer.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{gateway.url}/v1/chat/completions", json=SLOWLY, timeout=httpx.Timeout(5, read=0.25))
    wait_for(lambda: not gateway.gateway.open)
    cancelled = [r for r in gateway.gateway._over.values() if r.status is Status.CANCELLED]
    assert cancelled
    assert gateway.gateway.engines[0].market.figures.num_running == 0


def test_a_search_in_the_background_is_fetched_by_its_id(gateway):
    with gateway.http() as http:
        taken = http.post("/v1/chat/completions", json={**ASK, "background": True, "metadata": {"run": "7"}})
        assert taken.status_code == 202
        search_id = taken.json()["id"]
        wait_for(lambda: http.get(f"/v1/searches/{search_id}").json()["status"] == "completed")
        done = http.get(f"/v1/searches/{search_id}", params={"tree": "true"}).json()
    whole = gateway.client().chat.completions.create(**ASK)
    assert done["completion"]["choices"][0]["message"]["content"] == whole.choices[0].message.content
    assert done["metadata"] == {"run": "7"}
    assert done["tree"]["nodes"]
    gateway.gateway._over.clear()
    with gateway.http() as http:
        wait_for(lambda: http.get(f"/v1/searches/{search_id}").json()["status"] == "completed")
        assert http.get(f"/v1/searches/{search_id}", params={"tree": "true"}).json() == done


def test_a_question_that_the_model_cannot_read_is_the_clients_fault(gateway):
    with pytest.raises(openai.BadRequestError) as refusal:
        gateway.client().chat.completions.create(**{**ASK, "messages": [{"role": "user", "content": "hello"}]})
    assert refusal.value.body["code"] == "unreadable_question"


def test_a_conversation_needs_a_model_for_chat(gateway):
    messages = [{"role": "system", "content": "Be brief."}, *ASK["messages"]]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refusal:
            gateway.client().chat.completions.create(**{**ASK, "messages": messages}, stream=stream)
        assert "reads one question alone" in refusal.value.body["message"]


def test_limits_are_the_clients_to_lower(gateway):
    cut = gateway.client().chat.completions.create(**SLOWLY, extra_body={"etsearch": {"deadline_s": 0.3, "width": 2}})
    assert cut.choices[0].finish_reason == "length"
    assert (cut.etsearch["stop_reason"], cut.etsearch["width"]) == ("deadline", 2)
    assert cut.choices[0].message.content  # the best so far


def test_what_fails_inside_is_told_in_the_log_and_not_to_the_client(gateway, monkeypatch):
    async def fail(*_, **__):
        raise RuntimeError("secret /path/of/mine")

    monkeypatch.setattr("etsearch.serving.gateway.search", fail)
    with gateway.http() as http:
        answer = http.post("/v1/chat/completions", json=ASK)
        streamed = http.post("/v1/chat/completions", json={**ASK, "stream": True})
    assert answer.status_code == 500
    assert streamed.status_code == 200
    for text in (answer.text, streamed.text):
        assert "secret" not in text
        assert "internal_error" in text
    assert "secret /path/of/mine" in gateway.log.getvalue()


def test_questions_are_in_the_log_only_if_that_is_asked_for(gateway, tmp_path):
    gateway.client().chat.completions.create(**ASK)
    assert QUESTION[:30] not in gateway.log.getvalue()
    with served(config_of(tmp_path, log_questions=True)) as open_book:
        open_book.client().chat.completions.create(**ASK)
        wait_for(lambda: any(e["event"] == "search" for e in open_book.events))
        assert [e["question"] for e in open_book.events if e["event"] == "search"] == [QUESTION]


def test_keys_and_their_limits(tmp_path):
    keys = tmp_path / "keys.yaml"
    ann = add_key(keys, {"name": "ann", "most_open": 1})
    bob = add_key(keys, {"name": "bob", "requests_per_minute": 2})
    profiles = {"small": SCRIPTED, "slow": {**SLOW, "generator": "scripted(delay_s=20)"}}  # until it is cancelled
    with served(config_of(tmp_path, keys=str(keys), profiles=profiles)) as gateway, gateway.http() as http:
        for path in ("/v1/models", "/metrics", "/live", "/v1/searches/x"):
            assert http.get(path).status_code == 401
        assert http.get("/health").status_code == http.get("/").status_code == 200
        with pytest.raises(openai.AuthenticationError):
            gateway.client("wrong").chat.completions.create(**ASK)
        theirs = {"Authorization": f"Bearer {ann}"}
        first = http.post("/v1/chat/completions", json={**SLOWLY, "background": True}, headers=theirs).json()
        too_many = http.post("/v1/chat/completions", json=SLOWLY, headers=theirs)
        assert (too_many.status_code, too_many.json()["error"]["code"]) == (429, "too_many_searches")
        assert int(too_many.headers["retry-after"]) >= 1
        for _ in range(2):
            assert gateway.client(bob).chat.completions.create(**ASK)
        with pytest.raises(openai.RateLimitError):
            gateway.client(bob).chat.completions.create(**ASK)
        other = {"Authorization": f"Bearer {bob}"}
        assert http.get(f"/v1/searches/{first['id']}", headers=other).status_code == 404
        assert http.delete(f"/v1/searches/{first['id']}", headers=other).status_code == 404
        assert http.get("/live", headers=other).json()["searches"][-1]["id"] != first["id"]
        assert http.delete(f"/v1/searches/{first['id']}", headers=theirs).json()["status"] == "cancelled"
        assert ann not in gateway.log.getvalue()


def test_too_many_are_refused_with_a_time_to_come_back(tmp_path):
    with served(config_of(tmp_path, most_open=3)) as gateway, gateway.http() as http:
        answers = [http.post("/v1/chat/completions", json={**SLOWLY, "background": True}) for _ in range(5)]
        assert [a.status_code for a in answers] == [202, 202, 202, 429, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert answers[-1].json()["error"]["type"] == "rate_limit_error"
        wait_for(lambda: not gateway.gateway.open)
        assert http.post("/v1/chat/completions", json=ASK).status_code == 200


def test_searches_of_a_small_cache_wait_for_one_another_and_all_are_answered(tmp_path):
    market = {"cache_tokens": 1500, "least_width": 4}
    profiles = {"small": {**SCRIPTED, "width": 32, "generator": "scripted(delay_s=0.02)"}}
    with served(config_of(tmp_path, market=market, profiles=profiles)) as gateway:
        client, answers = gateway.client(), []

        def ask(number):
            answers.append(client.chat.completions.create(**{**ASK, "seed": number}))

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 12
    assert max(a.etsearch["price"] for a in answers) > 0
    assert min(a.etsearch["num_continuations"] for a in answers) < 32 * 4
    assert sum(a.etsearch["answer"] == ANSWER for a in answers) >= 10


def test_an_ending_gateway_takes_nothing_more_and_keeps_what_is_unfinished(tmp_path):
    config = config_of(tmp_path, drain_s=0.3)
    answers = {}
    with served(config) as gateway, gateway.http() as http:

        def ask(name, stream):
            answers[name] = httpx.post(
                f"{gateway.url}/v1/chat/completions", json={**SLOWLY, "stream": stream}, timeout=30
            )

        threads = [threading.Thread(target=ask, args=pair) for pair in (("plain", False), ("stream", True))]
        for thread in threads:
            thread.start()
        wait_for(lambda: sum(bool(r.state and r.state.depths) for r in gateway.gateway.open.values()) == 2)
        draining = asyncio.run_coroutine_threadsafe(gateway.gateway.drain(), gateway.loop)
        wait_for(lambda: gateway.gateway.is_draining)
        assert http.get("/ready").status_code == 503
        assert http.get("/health").status_code == 200
        refused = http.post("/v1/chat/completions", json=ASK)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        draining.result(30)
        for thread in threads:
            thread.join()
    assert answers["plain"].status_code == 503
    assert "shutting_down" in answers["stream"].text
    ids = [answer.headers.get("x-search-id") or _id_in(answer.json()) for answer in answers.values()]
    with served(config) as again, again.http() as http:
        for search_id in ids:
            wait_for(lambda name=search_id: http.get(f"/v1/searches/{name}").json()["status"] == "completed")
            done = http.get(f"/v1/searches/{search_id}").json()
            assert done["completion"]["etsearch"]["answer"] == ANSWER
        whole = again.client().chat.completions.create(**SLOWLY)
        assert done["completion"]["choices"][0]["message"]["content"] == whole.choices[0].message.content


def _id_in(body):
    return body["error"]["message"].rpartition("/")[2]


def test_a_job_whose_profile_has_changed_is_ended_with_a_word(tmp_path):
    with served(config_of(tmp_path)) as gateway, gateway.http() as http:
        job = http.post("/v1/chat/completions", json={**SLOWLY, "background": True}).json()["id"]
        wait_for(lambda: any(r.state and r.state.depths for r in gateway.gateway.open.values()))
    changed = {"slow": {**SLOW, "strategy": "rebase"}, "small": SCRIPTED}
    with served(config_of(tmp_path, profiles=changed)) as gateway, gateway.http() as http:
        ended = http.get(f"/v1/searches/{job}").json()
    assert (ended["status"], "changed" in ended["error"]["message"]) == ("failed", True)


def test_bodies_have_a_limit_and_must_be_json(gateway):
    with gateway.http() as http:
        for content, status in ((b"{" * 10, 400), (b"\xff\xfe", 400), (b"", 400), (b"[]", 400), (b"x" * 70_000, 413)):
            answer = http.post("/v1/chat/completions", content=content)
            assert answer.status_code == status
            assert answer.json()["error"]["message"]
        deep = b"[" * 5000 + b"]" * 5000
        assert http.post("/v1/chat/completions", content=deep).status_code == 400
        assert http.get("/v1/nothing").json()["error"]["code"] == "not_found"
        assert http.get("/v1/chat/completions").status_code == 405
        assert http.post("/health").status_code == 405


def test_an_engine_that_is_killed_is_waited_for_and_its_searches_go_on(folder, tmp_path):
    from tests.doubles.http import running
    from tests.doubles.vllm import VllmDouble

    with running(VllmDouble(folder)) as engine:
        profile = {"generator": f"vllm(patience_s=0.2):{engine.url}", "prm": "scripted"}
        profiles = {"m": {**profile, "width": 8, "early_stop": False}}
        ask = {**ASK, "model": "m"}
        with served(config_of(tmp_path, profiles=profiles, patience_s=20)) as gateway:
            whole = gateway.client().chat.completions.create(**ask)
            asked_before = len(engine.posts("/v1/completions"))
            results = []
            engine.trouble = lambda call: 0.05 if call.path == "/v1/completions" else None
            asking = threading.Thread(target=lambda: results.append(gateway.client().chat.completions.create(**ask)))
            asking.start()
            wait_for(lambda: len(engine.posts("/v1/completions")) > asked_before + 2)
            engine.stop()
            wait_for(lambda: any(e["event"] == "engine_away" for e in gateway.events))
            with gateway.http() as http:
                assert http.get("/ready").status_code == 503
                assert http.get("/health").status_code == 200
            engine.start()
            asking.join(30)
            assert results[0].choices == whole.choices
            assert results[0].etsearch["votes"] == whole.etsearch["votes"]
            with gateway.http() as http:
                assert http.get("/ready").status_code == 200


def test_an_engine_that_stays_away_is_a_503_and_no_address_of_it_is_told(folder, tmp_path):
    from tests.doubles.http import running
    from tests.doubles.vllm import VllmDouble

    with running(VllmDouble(folder)) as engine:
        profile = {"generator": f"vllm(patience_s=0.1):{engine.url}", "prm": "scripted"}
        with served(config_of(tmp_path, profiles={"m": profile}, patience_s=0.3)) as gateway, gateway.http() as http:
            assert http.post("/v1/chat/completions", json={**ASK, "model": "m"}).status_code == 200
            engine.stop()
            away = http.post("/v1/chat/completions", json={**ASK, "model": "m"})
    assert (away.status_code, away.json()["error"]["code"]) == (503, "engine_unavailable")
    assert engine.url not in away.text
    assert away.headers["retry-after"]

"""The gateway's own parts: what a request asks for, keys, what is decided, jobs, the file that says what is served."""

import asyncio
import json
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateways import QUESTION, config_of
from tests.unit.test_lossless import Streams, ragged
from tests.worlds import run

from etsearch import Limits
from etsearch.errors import ConfigError
from etsearch.loop.events import Selected
from etsearch.serving.asked import _ONE_WAY, _Body, read
from etsearch.serving.config import Config, Profile, is_loopback
from etsearch.serving.decided import DecidedText
from etsearch.serving.jobs import Job, Jobs
from etsearch.serving.keys import KeyEntry, Keys, add_key, hash_of, read_keys
from etsearch.serving.running import Running, answer_text
from etsearch.serving.trouble import ApiError

PROFILES = {
    "ets": Profile.model_validate({"width": 32, "most_width": 64, "limits": {"deadline_s": 60, "max_tokens": 500}}),
    "fixed": Profile.model_validate({"width": 8, "allow": []}),
}


def body(**values):
    return {"model": "ets", "messages": [{"role": "user", "content": QUESTION}], **values}


def refused(**values):
    with pytest.raises(ApiError) as refusal:
        read(body(**values), PROFILES)
    assert refusal.value.status in (400, 404)
    assert refusal.value.body["error"]["message"]
    return refusal.value


def test_what_is_asked_for_is_what_is_searched_with():
    asked = read(
        body(
            temperature=0.5,
            top_p=0.9,
            seed=7,
            max_completion_tokens=90,
            stream=True,
            stream_options={"include_usage": True},
            user="me",
            metadata={"run": "1"},
            etsearch={"width": 48, "deadline_s": 5, "max_generated_tokens": 4000},
        ),
        PROFILES,
    )
    chosen = asked.settings
    assert (chosen.width, chosen.seed, chosen.sampling.temperature, chosen.sampling.top_p) == (48, 7, 0.5, 0.9)
    limits = chosen.limits
    assert (limits.max_tokens, limits.deadline_s, limits.max_generated_tokens) == (90, 5, 4000)
    assert (asked.stream, asked.include_usage, asked.background) == (True, True, False)
    assert asked.labels == {"user": "me", "metadata": {"run": "1"}}
    assert read(asked.body, PROFILES) == asked


def test_a_request_without_a_seed_draws_one_and_its_body_has_it():
    one, other = read(body(), PROFILES), read(body(), PROFILES)
    assert one.settings.seed != other.settings.seed
    assert read(one.body, PROFILES).settings == one.settings


def test_a_conversation_is_one():
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "How many"}, {"type": "text", "text": " are there?"}]},
        {"role": "assistant", "content": "Seven."},
        {"role": "user", "content": "And twice that?"},
    ]
    problem = read(body(messages=messages), PROFILES).problem
    assert problem.question == "And twice that?"
    assert [(m.role, m.content) for m in problem.messages] == [
        ("system", "Be brief."),
        ("user", "How many are there?"),
        ("assistant", "Seven."),
    ]


OPENAI_FIELDS = {
    "n": 2,
    "stop": ["\n"],
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "required",
    "functions": [{"name": "f"}],
    "function_call": {"name": "f"},
    "parallel_tool_calls": True,
    "response_format": {"type": "json_object"},
    "logprobs": True,
    "top_logprobs": 3,
    "logit_bias": {"50256": -100},
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "modalities": ["audio"],
    "audio": {"voice": "alloy"},
    "prediction": {"type": "content", "content": "x"},
    "reasoning_effort": "high",
    "verbosity": "low",
    "web_search_options": {},
    "service_tier": "flex",
    "store": True,
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
}


@pytest.mark.parametrize("name", OPENAI_FIELDS)
def test_what_a_search_cannot_honour_is_refused_by_its_name(name):
    refusal = refused(**{name: OPENAI_FIELDS[name]})
    assert refusal.param == name
    assert name in refusal.message


@pytest.mark.parametrize("name", _ONE_WAY)
def test_what_asks_for_nothing_else_is_taken(name):
    for value in _ONE_WAY[name]:
        assert read(body(**{name: value}), PROFILES)
    assert name in OPENAI_FIELDS


def test_every_field_of_the_openai_client_is_honoured_or_refused():
    import inspect

    from openai.resources.chat.completions import Completions

    transport = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
    known = {*_Body.model_fields, *_ONE_WAY}
    missing = set(inspect.signature(Completions.create).parameters) - transport - known
    for name in missing:  # a field of a newer client: refused, by its name
        assert refused(**{name: "x"}).param == name
    assert len(missing) <= 4, missing


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"model": "gpt-4"}, "model"),
        ({"model": 3}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "tool", "content": "x"}, {"role": "user", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "messages.0"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": 1.5}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"background": True, "stream": True}, "background"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"surprise": 1}, "surprise"),
        ({"etsearch": {"width": 65}}, "etsearch.width"),
        ({"etsearch": {"width": 0}}, "etsearch"),
        ({"etsearch": {"width": "wide"}}, "etsearch"),
        ({"etsearch": {"deadline_s": 61}}, "etsearch.deadline_s"),
        ({"etsearch": {"deadline_s": None}}, "etsearch.deadline_s"),
        ({"etsearch": {"strategy": "rebase"}}, "etsearch.strategy"),
        ({"etsearch": {"merge": False}}, "etsearch.merge"),
        ({"etsearch": []}, "etsearch"),
        ({"model": "fixed", "etsearch": {"width": 4}}, "etsearch.width"),
    ],
)
def test_what_is_wrong_is_named(values, param):
    assert refused(**values).param.startswith(param)


def test_a_body_that_is_no_object_is_refused():
    for wrong in (None, 3, "x", [], [body()]):
        with pytest.raises(ApiError) as refusal:
            read(wrong, PROFILES)
        assert refusal.value.status == 400


SEARCHES = ["beam", "dvts", "rebase", "ets", "ets_kv", "best_of_n", "ets(lambda_b=0, leaves=steps, inherit=true)"]


def shared_start(so_far, rng):
    """Two steps that are the same for all, then two that differ, then an answer."""
    steps = so_far.count("\n") - 1
    if steps < 2:
        return f"first {steps}\n"
    return f"take {rng.choice('ab')}\n" if steps < 4 else f"The answer is {rng.choice('778')}."


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SEARCHES),
    st.integers(1, 16),
    st.integers(0, 10**6),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 400)),
    st.booleans(),
)
def test_what_is_told_while_a_search_goes_on_is_its_answer_to_the_letter(strategy, width, seed, early, most, is_ragged):
    running = Running(None, None)
    decided, told = DecidedText(), []

    def listen(event):
        running.listen(event)
        if isinstance(event, Selected):
            told.append(decided.take(event))

    generator = Streams(ragged if is_ragged else shared_start, seed)
    limits = Limits(max_depth=6, max_generated_tokens=most)
    result = asyncio.run(
        run(strategy, width, generator=generator, on_event=listen, early_stop=early, merge=True, limits=limits)
    )
    answer = answer_text(result, running.kept)
    so_far = ""
    for piece in told:
        so_far += piece
        assert answer.startswith(so_far)
    assert so_far + decided.finish(answer) == answer
    if result.trajectories:
        assert answer


def test_what_all_share_is_told_early():
    decided, told = DecidedText(), []
    asyncio.run(
        run(
            "rebase", 8, write=shared_start, on_event=lambda e: isinstance(e, Selected) and told.append(decided.take(e))
        )
    )
    assert told[:2] == ["first 0\n", "first 1\n"]


def test_a_key_is_shown_once_and_kept_as_a_hash(tmp_path):
    path = tmp_path / "keys.yaml"
    token = add_key(path, {"name": "ann", "weight": 2.0, "most_open": 1, "requests_per_minute": 2})
    other = add_key(path, {"name": "bob"})
    assert token != other
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in read_keys(path)] == ["ann", "bob"]
    keys = Keys.load(str(path))
    ann = keys.of({"authorization": f"Bearer {token}"})
    assert (ann.name, ann.entry.weight) == ("ann", 2.0)
    for wrong in (
        {},
        {"authorization": "Bearer nothing"},
        {"authorization": f"Basic {token}"},
        {"authorization": token},
    ):
        with pytest.raises(ApiError) as refusal:
            keys.of(wrong)
        assert refusal.value.status == 401
    for bad in ({"name": "ann"}, {"name": "a b"}, {"name": "x", "weight": 0}, {"name": "x", "most_open": 0}):
        with pytest.raises(ConfigError):
            add_key(path, bad)
    with pytest.raises(ConfigError, match="twice"):
        path.write_text(json.dumps([{"name": n, "sha256": hash_of("x")} for n in "ab"])) and read_keys(path)


def test_a_key_has_its_limits():
    now = [0.0]
    key = Keys([KeyEntry(name="a", sha256=hash_of("k"), most_open=1, requests_per_minute=2)]).of(
        {"authorization": "Bearer k"}
    )
    key.clock = lambda: now[0]
    key.count_request()
    now[0] = 20.0
    key.count_request()
    with pytest.raises(ApiError) as refusal:
        key.count_request()
    assert (refusal.value.status, refusal.value.headers) == (429, {"Retry-After": "40"})
    now[0] = 60.5
    key.count_request()
    key.check_room(3)
    key.num_open = 1
    with pytest.raises(ApiError) as refusal:
        key.check_room(3)
    assert (refusal.value.status, refusal.value.headers) == (429, {"Retry-After": "3"})


def job(number, **values):
    plain = {"key": "k", "model": "m", "created_at": float(number), "finished_at": None, "status": "queued"}
    return Job(f"search-{number}", **{**plain, "request": {"a": 1}, "profile": {"b": 2}, **values})


async def test_jobs_are_there_when_the_file_is_opened_again(tmp_path):
    path = str(tmp_path / "jobs.sqlite")
    async with Jobs(path) as jobs:
        with pytest.raises(ConfigError, match="another gateway"):
            Jobs(path)
        await jobs.add(job(2))
        await jobs.add(job(1))
        await asyncio.gather(*(jobs.keep("search-1", {"depth": n}) for n in range(20)))
        await jobs.finish("search-2", "completed", {"content": "x"}, 5.0)
    async with Jobs(path) as jobs:
        assert [j.id for j in await jobs.unfinished()] == ["search-1"]
        assert (await jobs.get("search-1")).state == {"depth": 19}
        done = await jobs.get("search-2")
        assert (done.status, done.answer, done.finished_at) == ("completed", {"content": "x"}, 5.0)
        assert await jobs.get("search-3") is None
        await jobs.forget(keep_days=1)
        assert await jobs.get("search-2") is None
        assert await jobs.get("search-1") is not None


def test_a_file_that_is_no_file_of_jobs_is_refused(tmp_path):
    (tmp_path / "text").write_text("no database, but more than a hundred letters of text " * 10)
    with pytest.raises(ConfigError, match="cannot be used"):
        Jobs(str(tmp_path / "text"))
    with pytest.raises(ConfigError, match="cannot be used"):
        Jobs(str(tmp_path))


def test_a_gateway_is_not_open_to_others_unless_it_is_told(tmp_path):
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "example.com")))
    with pytest.raises(ConfigError, match="no keys"):
        config_of(tmp_path, host="0.0.0.0")
    assert config_of(tmp_path, host="0.0.0.0", open=True).open
    assert config_of(tmp_path, host="0.0.0.0", keys="keys.yaml").keys


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"profiles": {}}, "profiles is empty"),
        ({"profiles": {"m": {"strategy": "nothing"}}}, "nothing"),
        ({"profiles": {"m": {"width": 0}}}, "width"),
        ({"profiles": {"m": {"width": 8, "most_width": 4}}}, "most_width"),
        ({"profiles": {"m": {"search": {}}}}, "no key 'search'"),
        ({"profiles": {"m": {"surprise": 1}}}, "surprise"),
        ({"profiles": {"m": {"allow": ["generator"]}}}, "no setting"),
        ({"profiles": {"m": {"prm": "none"}}}, "reward model"),
        ({"market": {"least_width": 0}}, "least_width"),
        ({"market": {"order": "lifo"}}, "order"),
        ({"port": 70000}, "port"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_file_that_cannot_be_served_is_named(values, match, tmp_path):
    with pytest.raises(ConfigError, match=match):
        config_of(tmp_path, **values)


def test_a_file_is_read(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text("profiles:\n  m:\n    strategy: rebase\n    limits: {max_depth: 9}\nmarket: {least_width: 8}\n")
    read_config = Config.load(path)
    assert read_config.profiles["m"].search.limits.max_depth == 9
    assert read_config.profiles["m"].search.width == 64
    for wrong in ("", "[]", "profiles: [", "profiles: 3"):
        path.write_text(wrong)
        with pytest.raises(ConfigError):
            Config.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.load(tmp_path / "none.yaml")


def test_the_reasoning_that_is_told_goes_on_or_begins_anew():
    running = Running(None, None)
    studied = [running._study(best) for best in ("a\n", "a\nb\n", "a\nb\n", "", "c\n")]
    assert studied == ["a\n", "b\n", "", "", "\n\nc\n"]

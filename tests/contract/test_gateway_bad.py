"""Requests that nobody should make, by the hundred: each is a 4xx in OpenAI's shape, and nothing breaks."""

import json
import random

import pytest

from tests.gateways import ANSWER, QUESTION, config_of, served

MOST = 400
GOOD = {"model": "small", "messages": [{"role": "user", "content": QUESTION}], "seed": 1}
ODD = [
    None,
    True,
    -1,
    0,
    2**63,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x" * 5000,
    "\x00\x1b[31m",
    "\ud800",
    "</script><script>alert(1)</script>",
    "../../etc/passwd",
    [],
    {},
    [[[[[[]]]]]],
    {"a": {"b": {"c": None}}},
    ["user"],
    [None],
]
FIELDS = [
    *(
        "model",
        "messages",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "seed",
        "max_tokens",
        "user",
        "metadata",
    ),
    *("max_completion_tokens", "safety_identifier", "background", "etsearch", "n", "stop", "tools", "response_format"),
    *("logit_bias", "surprise", "__class__", "generator", "prm", ""),
]


def bad_bodies():
    """Bodies with something odd in one or two places, and texts that are no bodies."""
    rng = random.Random(14)
    for field in FIELDS:
        for value in ODD:
            yield {**GOOD, field: value}
    for _ in range(100):
        yield {**GOOD, **{rng.choice(FIELDS): rng.choice(ODD) for _ in range(2)}}
    for value in ODD:
        yield {**GOOD, "messages": [{"role": value, "content": QUESTION}]}
        yield {**GOOD, "messages": [{"role": "user", "content": value}]}
        yield {**GOOD, "messages": [{"role": "user", "content": QUESTION, "surprise": value}]}
        yield {**GOOD, "messages": [{"role": "user", "content": [{"type": "text", "text": value}]}]}
        for setting in ("width", "deadline_s", "max_generated_tokens", "strategy", "limits", ""):
            yield {**GOOD, "etsearch": {setting: value}}


def raw_bodies():
    whole = json.dumps(GOOD).encode()
    yield from (whole[:end] for end in range(0, len(whole), 17))
    yield from (whole.replace(b'"', b"'"), b"\xff" * 50, b"[" * 3000, b"{}" * 3, b"null", whole + b"}", b"\x00" * 20)


def shape_is_right(answer):
    error = answer.json()["error"]
    return set(error) == {"message", "type", "param", "code"} and isinstance(error["message"], str) and error["message"]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_no_request_breaks_the_gateway(tmp_path):
    asked, by_status = 0, {}
    with served(config_of(tmp_path)) as gateway, gateway.http() as http:
        bodies = [json.dumps(body).encode() for body in bad_bodies()]
        for content in [*bodies, *raw_bodies()]:
            answer = http.post("/v1/chat/completions", content=content)
            asked += 1
            by_status[answer.status_code] = by_status.get(answer.status_code, 0) + 1
            assert answer.status_code < 500, (content, answer.text)
            assert "Traceback" not in answer.text
            assert str(tmp_path) not in answer.text
            assert "etsearch/" not in answer.text
            assert len(answer.text) < 20_000
            if answer.status_code >= 400:
                assert shape_is_right(answer), answer.text
                assert answer.status_code in (400, 404, 413), answer.text
        assert asked > MOST
        assert by_status[400] > MOST * 0.7
        http_level = [
            ("GET", "/v1/searches/" + "x" * 3000, {}),
            ("GET", "/v1/searches/%00%ff", {}),
            ("GET", "/v1/searches/../../etc/passwd", {}),
            ("DELETE", "/v1/searches/'; DROP TABLE jobs; --", {}),
            ("PUT", "/v1/chat/completions", {}),
            ("GET", "/live?x=" + "y" * 2000, {}),
            ("GET", "/v1/models/../../x", {}),
            ("POST", "/v1/chat/completions", {"Authorization": "Bearer " + "x" * 4000}),
            ("POST", "/v1/chat/completions", {"Content-Type": "text/xml"}),
            ("POST", "/v1/chat/completions", {"Authorization": "Basic Zm9v"}),
        ]
        for method, path, headers in http_level:
            answer = http.request(method, path, headers=headers)
            assert answer.status_code < 500, (method, path, answer.text)
        failed = [e for e in gateway.events if e["event"] == "request_failed"]
        assert not failed
        good = http.post("/v1/chat/completions", json=GOOD)
        assert good.json()["etsearch"]["answer"] == ANSWER
        assert http.get("/ready").status_code == 200

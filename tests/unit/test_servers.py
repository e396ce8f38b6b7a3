"""Addresses, conditions, and figures of servers."""

import pytest

from etsearch.errors import ConfigError
from etsearch.generators import GENERATORS
from etsearch.servers.address import Address, addresses
from etsearch.servers.client import Server
from etsearch.servers.conditions import Conditions
from etsearch.servers.figures import read_figures, total
from etsearch.servers.vllm import vllm_stats, vllm_totals


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a:8000", [("http://a:8000", None)]),
        ("http://a:8000/", [("http://a:8000", None)]),
        ("http://a:8000/owner/model", [("http://a:8000", "owner/model")]),
        ("https://host/v1", [("https://host", None)]),
        ("https://host/api/v1/owner/model", [("https://host/api", "owner/model")]),
        ("http://host/v1beta-model", [("http://host", "v1beta-model")]),
        ("http://[::1]:80/m", [("http://[::1]:80", "m")]),
        ("http://a:1/m, http://b:2", [("http://a:1", "m"), ("http://b:2", "m")]),
    ],
)
def test_addresses(text, expected):
    assert addresses(text) == tuple(Address(*pair) for pair in expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:8000", "no address"),
        ("ftp://a", "no address"),
        ("http://", "no address"),
        ("http://a:port", "no address"),
        ("http://a:1,http://a:1", "twice"),
        ("http://a/m,http://b/n", "one model; these are m, n"),
        ("http://a/m?key=1", "more than an address"),
        ("http://me:secret@a:1", "keys are read from the environment"),
    ],
)
def test_addresses_that_are_none(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        addresses(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"connect_timeout_s": 0}, {"read_timeout_s": -1}, {"patience_s": -1}, {"max_in_flight": 0}]
)
def test_conditions_that_make_no_sense(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        Conditions(**change)


def test_a_key_is_read_from_the_environment_and_shown_nowhere(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-hidden")
    conditions = Conditions(api_key_variable="MY_KEY")
    assert conditions.headers == {"Authorization": "Bearer sk-hidden"}
    assert Conditions().headers == {}
    monkeypatch.setenv("MY_KEY", "sk-hidden\n")
    assert conditions.headers == {"Authorization": "Bearer sk-hidden"}
    monkeypatch.setenv("MY_KEY", "sk-hidden\nX-More: yes")
    with pytest.raises(ConfigError, match="MY_KEY holds letters") as caught:
        conditions.headers  # noqa: B018 - it raises
    assert "hidden" not in str(caught.value)
    monkeypatch.setenv("MY_KEY", "sk-hidden")
    server = Server(Address("http://127.0.0.1:9"), conditions)
    assert "hidden" not in f"{conditions!r} {server!r}"


def test_settings_are_checked_by_name():
    with pytest.raises(ConfigError, match="patience_s"):
        GENERATORS.create("vllm(patience_s=long):http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="no setting 'patience'"):
        GENERATORS.create("vllm(patience=1):http://127.0.0.1:9")


def test_a_server_that_is_not_there():
    with pytest.raises(ConfigError, match=r"no server answers: http://127\.0\.0\.1:9/.*ConnectError.*Start it"):
        GENERATORS.create("vllm(connect_timeout_s=0.5):http://127.0.0.1:9")


METRICS = """# HELP vllm:num_requests_running Number
vllm:num_requests_running{engine="0",model_name="a b"} 3.0
vllm:num_requests_running{engine="1",model_name="a b"} 4.0
vllm:num_requests_waiting{engine="0"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:prefix_cache_hits_total{engine="0"} 1.2e+06
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.75
vllm:cache_config_info{block_size="16",num_gpu_blocks="100",kv_cache_size_tokens="None"} 1.0
"""


def test_figures_are_summed_over_engines_and_servers():
    figures = read_figures([METRICS, "other 1\n"], ["vllm:num_requests_running", "vllm:num_requests_waiting"])
    assert total(figures, "vllm:num_requests_running") == 7
    assert total(figures, "vllm:num_requests_waiting") == 1
    assert total(figures, "vllm:nothing") is None
    stats = vllm_stats([METRICS, METRICS])
    assert (stats.num_running, stats.num_waiting) == (14, 2)
    assert vllm_totals(METRICS) == {"prefix_hit_tokens": 1_200_000, "num_preemptions": 0}
    assert (stats.cache_use, stats.cache_capacity_tokens) == (0.5, 3200)
    assert vllm_stats([]).cache_use is None

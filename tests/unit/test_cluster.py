"""What of a run on a cluster is decided before there is one."""

import asyncio
import sys

import pytest
from tests.cli.process import ets
from tests.evaluations import recipe

from etsearch.cluster import ClusterSettings, ray_crew
from etsearch.cluster.introduction import Introduction
from etsearch.errors import ConfigError, MissingDependencyError
from etsearch.types import Identity


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"address": "ray://head:10001"}, "start the run on a machine of the cluster"),
        ({"address": " "}, "address is empty"),
        ({"address": "auto", "workers": 0}, "workers is 0"),
        ({"address": "auto", "gpus": -1.0}, "gpus is -1"),
        ({"address": "auto", "cpus": 0.0}, "neither CPU nor GPU"),
    ],
)
def test_settings_that_cannot_be(given, reason):
    with pytest.raises(ConfigError, match=reason):
        ClusterSettings(**given)


def begin(asked):
    async def enter():
        async with ray_crew(asked, ClusterSettings("local")):
            pass

    asyncio.run(enter())


def test_throughput_is_measured_on_one_engine(tmp_path):
    with pytest.raises(ConfigError, match="throughput is measured on one engine"):
        begin(recipe(tmp_path, measure="throughput"))


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"etsearch\[ray\]"):
        begin(recipe(tmp_path))


def test_options_without_an_address():
    done = ets("eval", "minimath:validation", "--strategy", "rebase", "--ray-workers", "2")
    assert (done.returncode, "--ray-workers is for a run on a cluster" in done.stderr) == (2, True)


def test_in_what_workers_differ():
    one = Introduction({"generator": Identity("a")}, {"./mine.py:Mine": "12"}, "3.11.2", {"numpy": "2.0"})
    assert one.differences(one) == []
    other = Introduction({"generator": Identity("b")}, {"./mine.py:Mine": "13"}, "3.11.2", {"numpy": None})
    told = one.differences(other)
    assert [text.partition(" is ")[0] for text in told] == [
        "identity of the generator",
        "sha256 of ./mine.py:Mine",
        "version of numpy",
    ]

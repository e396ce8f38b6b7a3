"""A gateway that is killed goes on: jobs from their last depth, and they end as if nothing had been."""

import signal
import sqlite3
import time

import pytest
from tests.gateways import ANSWER, QUESTION, Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PROFILE = {"generator": "scripted(delay_s=0.1)", "prm": "scripted", "width": 8}
ASK = {"model": "m", "messages": [{"role": "user", "content": QUESTION}], "seed": 5, "background": True}


def depths_kept(folder):
    """How many depths of each job are on the disk."""
    with sqlite3.connect(folder / "jobs.sqlite") as database:
        rows = database.execute("SELECT id, json_array_length(state, '$.depths') FROM jobs").fetchall()
    database.close()
    return dict(rows)


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.005)
    return found


def ended(http, search_id):
    found = http.get(f"/v1/searches/{search_id}").json()
    return found if found["status"] not in ("queued", "in_progress") else None


def facts(found):
    kept = found["completion"]["etsearch"]
    return {key: kept[key] for key in ("answer", "votes", "depth", "kv_tokens", "num_continuations", "stop_reason")}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The jobs of three seeds, never disturbed."""
    with Process(tmp_path_factory.mktemp("straight"), profiles={"m": PROFILE}) as gateway, gateway.http() as http:
        ids = [http.post("/v1/chat/completions", json={**ASK, "seed": s}).json()["id"] for s in range(3)]
        found = [until(lambda name=name: ended(http, name)) for name in ids]
        assert gateway.kill(signal.SIGTERM) == 0
    assert all(one["completion"]["etsearch"]["answer"] == ANSWER for one in found)
    return found


@pytest.mark.parametrize("num_depths", [0, 1, 2, 3])
def test_killed_at_any_depth_a_job_ends_as_it_would_have(straight, num_depths, tmp_path):
    gateway = Process(tmp_path, profiles={"m": PROFILE})
    with gateway, gateway.http() as http:
        ids = [http.post("/v1/chat/completions", json={**ASK, "seed": s}).json()["id"] for s in range(3)]
        if num_depths:
            until(lambda: max(depth or 0 for depth in depths_kept(tmp_path).values()) >= num_depths)
        assert gateway.kill() == -signal.SIGKILL
    before = depths_kept(tmp_path)
    assert set(before) == set(ids)
    with gateway, gateway.http() as http:
        for search_id, one in zip(ids, straight, strict=True):
            found = until(lambda name=search_id: ended(http, name))
            assert found["status"] == "completed"
            assert facts(found) == facts(one)
            assert found["content"] == one["content"]
        assert gateway.kill(signal.SIGTERM) == 0
    with gateway, gateway.http() as http:  # once it is over it stays so
        assert facts(ended(http, ids[0])) == facts(straight[0])


def test_told_to_end_it_drains_and_tells_how_it_ended(tmp_path):
    gateway = Process(tmp_path, profiles={"m": PROFILE}, drain_s=20)
    with gateway, gateway.http() as http:
        taken = http.post("/v1/chat/completions", json=ASK).json()["id"]
        until(lambda: depths_kept(tmp_path)[taken])
        assert gateway.kill(signal.SIGTERM) == 0
    assert '"event": "drained", "num_kept": 0' in "".join(gateway.errors)
    with gateway, gateway.http() as http:
        assert ended(http, taken)["status"] == "completed"
        assert '"num_taken_up": 0' in "".join(gateway.errors)


def test_a_second_signal_ends_it_at_once(tmp_path):
    gateway = Process(tmp_path, profiles={"m": {**PROFILE, "generator": "scripted(delay_s=1)"}}, drain_s=600)
    with gateway, gateway.http() as http:
        http.post("/v1/chat/completions", json=ASK)
        time.sleep(0.3)
        began = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in "".join(gateway.errors))
        gateway.kill(signal.SIGINT)
        assert time.monotonic() - began < 25
    with gateway, gateway.http() as http:
        assert depths_kept(tmp_path)

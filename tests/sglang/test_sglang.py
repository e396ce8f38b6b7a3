"""Real SGLang servers on this CPU, the miniature models on them, and stand-ins for the kernels that only a GPU has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import etsearch
from etsearch import minimath
from etsearch.launch.serve import ServedModel
from tests.vllm.fixtures import dying, serving

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(900)]

STAND_INS = Path(__file__).parent / "stand_ins"
PROBLEM = minimath.example(1)


@pytest.fixture(scope="module")
def serve(tmp_path_factory, miniature):
    """Starts a server of a miniature model as ``ets up`` does, and in the end stops it."""
    pytest.importorskip("sglang", reason="needs SGLang: make test-sglang")
    logs = tmp_path_factory.mktemp("logs")

    def start(kind):
        served = ServedModel(
            engine="sglang",
            model=str(miniature[kind]),
            options=("--max-total-tokens", "20000", "--mem-fraction-static", "0.1"),
            environment={"PYTHONPATH": str(STAND_INS)},
        )
        return serving(served, f"minimath-{kind}", logs)

    return start


@pytest.fixture(scope="module")
def policy(serve):
    with serve("policy") as server:
        yield server


@pytest.fixture(scope="module")
def prm(serve):
    with serve("prm") as server:
        yield server


async def search(policy, prm, **settings):
    values = {"generator": f"sglang:{policy.url}", "prm": f"sglang:{prm.url}", "width": 16, "seed": 0}
    return await etsearch.search(PROBLEM, **(values | settings))


def test_the_contract_suite(policy, prm):
    named = {
        "ETSEARCH_LIVE_GENERATORS": f"sglang:{policy.url}",
        "ETSEARCH_LIVE_PRMS": f"sglang:{prm.url}",
    }
    command = [sys.executable, "-m", "pytest", "-m", "live", "tests/contract/test_parts.py", "-q", "-rA"]
    done = subprocess.run(command, env=os.environ | named, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert len(skipped) <= 1  # seeds, which it says that it does not obey on a CPU
    assert done.stdout.count("PASSED") >= 12


@pytest.mark.parametrize("strategy", ["ets", "rebase"])
async def test_a_whole_search(policy, prm, strategy):
    result = await search(policy, prm, strategy=strategy)
    assert result.answer == PROBLEM.answer
    assert not result.failures
    assert result.engine.cache_capacity_tokens == 20_000
    assert result.engine.peak_cache_tokens > 0
    assert result.engine.num_preemptions == 0
    assert result.engine.prefix_hit_tokens > result.tree.prefix_tokens(0)


async def test_a_server_that_is_killed_and_comes_back(serve, prm):
    """In mid-search: it is waited for, and nothing is lost."""
    with serve("policy") as server, dying(server) as on_event:
        result = await search(server, prm, strategy="rebase", on_event=on_event, early_stop=False)
    assert not result.failures
    assert len(result.trajectories) == 16

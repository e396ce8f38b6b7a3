"""The contract suite on real vLLM servers, as anybody runs it on servers of their own: named by the environment."""

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]


def test_the_contract_suite(policy, prm, miniature):
    form = miniature["policy"] / "etsearch.json"
    generators = [f"vllm:{policy.url}", f"openai(format={form}):{policy.url}/v1/minimath-policy"]
    prms = [f"vllm:{prm.url}", f"vllm(route=generative_scoring, max_batch=2):{prm.url}"]
    named = {"ETSEARCH_LIVE_GENERATORS": ";".join(generators), "ETSEARCH_LIVE_PRMS": ";".join(prms)}
    command = [sys.executable, "-m", "pytest", "-m", "live", "tests/contract/test_parts.py", "-q", "-rA"]
    done = subprocess.run(command, env=os.environ | named, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout
    assert "SKIPPED" not in done.stdout
    assert done.stdout.count("PASSED") >= 2 * 6 + 2 * 5

"""The miniature models on real vLLM servers: searches, an evaluation, a server that is killed, and what is sent."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from types import SimpleNamespace

import pytest

import etsearch
from etsearch import minimath
from etsearch.errors import ConfigError, UnavailableError
from etsearch.generators import GENERATORS
from etsearch.prms import REWARD_MODELS
from etsearch.servers.vllm import vllm_totals
from etsearch.types import EndReason, FinishReason, GenerateRequest, Sampling, Step, Trajectory
from tests.vllm.fixtures import dying

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

PROBLEM = minimath.example(1)


def figures(server):
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
        return SimpleNamespace(**vllm_totals(answer.read().decode()))


async def search(policy, prm, **settings):
    """To its very end, so that all that was asked of a server is in the tree."""
    values = {"generator": f"vllm:{policy.url}", "prm": f"vllm:{prm.url}", "strategy": "ets", "width": 16, "seed": 0}
    return await etsearch.search(PROBLEM, **({"early_stop": False} | values | settings))


async def test_a_whole_search(policy, prm):
    before = figures(policy)
    result = await search(policy, prm)
    after = figures(policy)
    assert result.answer == PROBLEM.answer
    assert not result.failures
    assert result.stop_reason == "completed"
    assert len([t for t in result.trajectories if t.end_reason is EndReason.ANSWERED]) == 16
    hits = after.prefix_hit_tokens - before.prefix_hit_tokens
    assert hits == result.engine.prefix_hit_tokens > result.tree.prefix_tokens(0)
    assert result.engine.cache_capacity_tokens > 100_000
    assert result.engine.peak_cache_tokens > 0
    assert result.engine.num_preemptions == 0
    assert all(0 <= r <= 1 for t in result.trajectories for r in t.rewards)


async def test_the_command_line(policy, prm):
    command = [sys.executable, "-m", "etsearch", "solve", "--example", "--width", "8", "--seed", "1"]
    command += ["--generator", f"vllm:{policy.url}", "--prm", f"vllm:{prm.url}"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for line in ("Answer: ", "KV tokens, summed over depths", "as the engine measured it", "found in its cache"):
        assert line in done.stdout


async def test_rewards_are_those_of_the_embedded_model(prm):
    """The same weights, by completions, by generative scoring, and in process, where the rotary tables are rounded."""
    import random

    rng = random.Random(0)
    asked = [
        Trajectory(p.question, tuple(Step(f"{s}\n") for s in minimath.world.solution(p, rng)))
        for p in minimath.world.problems("test", 24)
    ]
    found = {}
    for name in ("minimath", f"vllm:{prm.url}", f"vllm(route=generative_scoring):{prm.url}"):
        model = REWARD_MODELS.create(name)
        scores = await asyncio.gather(*(model.score(t, 0) for t in asked))
        await model.aclose()
        found[name] = [r for s in scores for r in s.rewards]
    ours, *others = found.values()
    for other in others:
        assert other == pytest.approx(ours, abs=0.02)


async def test_what_a_generator_promises(policy):
    generator = GENERATORS.create(f"vllm:{policy.url}")
    prefix = tuple(await generator.encode_prompt(PROBLEM.question))
    assert generator.facts.engine == "vllm 0.32.0"
    assert generator.facts.has_prefix_cache
    ask = GenerateRequest(prefix, 32, 100, ("\n",), 7)
    some, again = await generator.generate(ask), await generator.generate(ask)
    other = await generator.generate(GenerateRequest(prefix, 32, 100, ("\n",), 8))
    assert sum(a.token_ids == b.token_ids for a, b in zip(some, again, strict=True)) >= 28
    assert {c.text for c in some} != {c.text for c in other}
    for c in some:
        assert c.finish_reason is FinishReason.STEP
        assert c.text.endswith("\n")
        assert list(c.token_ids) == await generator.encode(c.text)
        assert c.log_probability < 0
    (ended,) = await generator.generate(
        GenerateRequest((*prefix, *await generator.encode("The answer is 3.")), 1, 50, ("\n",), 0)
    )
    assert (ended.finish_reason, ended.token_ids, ended.text) == (FinishReason.END, (), "")
    greedy = await generator.generate(GenerateRequest(prefix, 3, 100, ("\n",), 0, Sampling(0.0)))
    assert len({c.token_ids for c in greedy}) == 1
    with pytest.raises(ConfigError, match=r"does not know .*'zebras'"):
        await generator.encode_prompt("There are 3 zebras. How many zebras are there?")
    await generator.aclose()


async def test_a_cancelled_request_leaves_the_server(policy):
    generator = GENERATORS.create(f"vllm:{policy.url}")
    prefix = tuple(await generator.encode_prompt(PROBLEM.question))
    asked = [GenerateRequest(prefix, 64, 450, (), seed, Sampling(temperature=2.0)) for seed in range(4)]
    tasks = [asyncio.create_task(generator.generate(ask)) for ask in asked]
    while not (await generator.stats()).num_running:
        assert not any(task.done() for task in tasks), "they never ran"
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert any(isinstance(result, asyncio.CancelledError) for result in done)
    for _ in range(100):
        if not (await generator.stats()).num_running:
            break
        await asyncio.sleep(0.05)
    assert (await generator.stats()).num_running == 0
    await generator.aclose()


async def test_an_evaluation_is_resumed(policy, prm, tmp_path):
    """Killed in mid-run, the same command goes on from the last depth that was over."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "etsearch", "eval", "minimath:test", "--strategy", "ets", "--width", "8"]
    command += ["--limit", "4", "--out", str(out), "--generator", f"vllm:{policy.url}", "--prm", f"vllm:{prm.url}"]
    first = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = out / "searches.jsonl"
    for _ in range(1200):
        if list(out.glob("open/*.json")) or (lines.exists() and lines.stat().st_size) or first.returncode is not None:
            break
        await asyncio.sleep(0.05)
    if first.returncode is None:
        first.kill()
    await first.wait()
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(records) == 4
    assert {r["status"] for r in records} == {"done"}
    # of a search that was gone on with the figures are since then, which may be its last depth alone
    assert all(r["engine"]["prefix_hit_tokens"] > 0 for r in records if not r["resumed"])
    assert "vllm 0.32.0" in (out / "run.json").read_text()


async def test_requests_and_tokens_of_a_wide_search(policy, prm, capsys):
    """Counted at the server, against the least possible: every step written once, every step scored once."""
    before = figures(policy), figures(prm), served(policy), served(prm)
    result = await search(policy, prm, width=64)
    after = figures(policy), figures(prm), served(policy), served(prm)
    tree = result.tree
    expanded = {tree.original(tree.parent_of(node)) for node in range(1, len(tree))}
    steps = {tree.trajectory(node).text for node in range(1, len(tree))}
    told = {
        "policy: requests": after[2]["requests"] - before[2]["requests"],
        "policy: sequences": after[2]["sequences"] - before[2]["sequences"],
        "policy: generated tokens": after[2]["generated"] - before[2]["generated"],
        "policy: prompt tokens not in the cache": uncached(before[0], after[0]),
        "prm: requests": after[3]["requests"] - before[3]["requests"],
        "prm: sequences": after[3]["sequences"] - before[3]["sequences"],
        "prm: prompt tokens": after[1].prefix_query_tokens - before[1].prefix_query_tokens,
        "prm: prompt tokens not in the cache": uncached(before[1], after[1]),
    }
    least = {
        "policy: requests": len(expanded),
        "policy: sequences": len(tree) - 1,
        "policy: generated tokens": sum(len(tree.continuation(n).token_ids) for n in range(1, len(tree))),
        "policy: prompt tokens not in the cache": tree.prefix_tokens(0),
        "prm: sequences": len(steps),
    }
    with capsys.disabled():
        print(f"\nets, width 64: {len(expanded)} expansions")
        for name, value in told.items():
            print(f"  {name:40} {value:8,} at the server; least possible {least.get(name, '–')}")
    assert told["policy: requests"] == least["policy: requests"]
    assert told["policy: sequences"] == least["policy: sequences"]
    ended = sum(tree.continuation(n).finish_reason is FinishReason.END for n in range(1, len(tree)))
    assert told["policy: generated tokens"] == least["policy: generated tokens"] + ended
    assert told["prm: sequences"] == least["prm: sequences"]


def uncached(before, after):
    asked = after.prefix_query_tokens - before.prefix_query_tokens
    return asked - (after.prefix_hit_tokens - before.prefix_hit_tokens)


def served(server):
    """Requests that arrived, sequences that came to their end, and tokens that were generated."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines() if line and not line.startswith("#")]

    def count(name, within=""):
        return int(sum(float(line[-1]) for line in lines if line[0].startswith(name + "{") and within in line[0]))

    return {
        "requests": count("http_requests_total", 'handler="/v1/completions"'),
        "sequences": count("vllm:request_success_total"),
        "generated": count("vllm:generation_tokens_total"),
    }


async def test_a_server_that_is_killed_and_comes_back(serve, miniature, prm):
    """In mid-search; nothing is lost. One that stays away ends the search, which goes on from its state."""
    straight = None
    with serve(miniature["policy"], "--max-num-seqs", "128") as server:
        with dying(server) as on_event:
            result = await search(server, prm, strategy="rebase", on_event=on_event)
        assert not result.failures
        assert len(result.trajectories) == 16
        straight = result.answer

        def on_first(event):
            if isinstance(event, etsearch.loop.events.Selected) and event.summary.depth == 1:
                server.kill()

        patience = f"vllm(patience_s=1, connect_timeout_s=1):{server.url}"
        with pytest.raises(UnavailableError, match="patience_s") as caught:
            await search(server, prm, strategy="rebase", generator=patience, on_event=on_first)
        assert len(caught.value.state.depths) == 1
        server.start().wait()
        from etsearch.loop import run_search
        from etsearch.loop.settings import SearchSettings
        from etsearch.strategies import STRATEGIES

        generator, reward_model = GENERATORS.create(f"vllm:{server.url}"), REWARD_MODELS.create(f"vllm:{prm.url}")
        resumed = await run_search(
            PROBLEM,
            generator=generator,
            reward_model=reward_model,
            strategy=STRATEGIES.create("rebase"),
            settings=SearchSettings(16, early_stop=False),
            resume=caught.value.state,
        )
        await generator.aclose()
        await reward_model.aclose()
        assert len(resumed.trajectories) == 16
        assert resumed.answer == straight

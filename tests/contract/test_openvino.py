"""The embedded generator and reward model, with the shipped miniature models."""

import asyncio
import json
import math
import random
import subprocess
import sys
from collections import Counter
from typing import final

import numpy as np
import pytest

from etsearch import minimath
from etsearch.errors import ConfigError, ContextLengthError, EngineError, RewardError
from etsearch.generators._kv_room import KvRoom, Need
from etsearch.generators._lengths import Lengths
from etsearch.generators._openvino_thread import MAX_BATCHED_TOKENS, PipelineThread
from etsearch.generators.base import STEP_BY_STEP
from etsearch.loop.watch import EngineWatch
from etsearch.prms import REWARD_MODELS
from etsearch.prms.families import PrmFamily, find_family
from etsearch.prms.in_process import InProcessRewardModel
from etsearch.prms.log_probability import LogProbabilityRewardModel
from etsearch.prms.reading import PrmReader
from etsearch.types import FinishReason, GenerateRequest, Identity, Sampling, Step, Trajectory
from tests.contract.tiny_models import QUESTION, STOP, model_path, request

pytestmark = pytest.mark.model
NUM_TOKENS = len(minimath.language.vocabulary())


@pytest.fixture(scope="module")
def shared():
    from etsearch.generators.openvino import OpenVinoGenerator

    generator = OpenVinoGenerator(model_path("policy"), read_question=minimath.read_question)
    yield generator
    asyncio.run(generator.aclose())


@pytest.fixture(scope="module")
def prm():
    from etsearch.prms.openvino import OpenVinoRewardModel

    model = OpenVinoRewardModel(model_path("prm"))
    yield model
    asyncio.run(model.aclose())


def small(**settings):
    from etsearch.generators.openvino import OpenVinoGenerator

    return OpenVinoGenerator(model_path("policy"), **settings)


def ids_of(continuations):
    """What must be the same again; log probabilities move in the last digits with the batch."""
    return [c.token_ids for c in continuations]


def same_share(some, others):
    """The share of continuations that are the same: a draw can fall on the other side with the batch's last digits."""
    return np.mean([a == b for a, b in zip(ids_of(some), ids_of(others), strict=True)])


async def endless(generator, count=1, *, max_tokens=400, seed=0):
    """A request that runs for a while: at a temperature this high the model seldom ends."""
    return await request(generator, count, max_tokens=max_tokens, stop=(), seed=seed, temperature=50.0)


async def test_a_step_keeps_its_delimiter_and_its_ids_spell_its_text(shared):
    continuations = await shared.generate(await request(shared, 32))
    assert len(continuations) == 32
    assert {c.finish_reason for c in continuations} == {FinishReason.STEP}
    for c in continuations:
        assert c.text.endswith("\n")
        assert c.text.count("\n") == 1
        assert shared._tokenizer.decode(list(c.token_ids)) == c.text
        assert c.log_probability < 0


async def test_children_continue_their_parent_until_the_end(shared):
    written = ()
    for _ in range(12):
        (c,) = await shared.generate(await request(shared, after=written, temperature=0.0))
        written += c.token_ids
        if c.finish_reason is FinishReason.END:
            break
    (whole,) = await shared.generate(await request(shared, max_tokens=300, stop=(), temperature=0.0))
    assert whole.finish_reason is FinishReason.END
    assert whole.token_ids == written
    assert "<eos>" not in whole.text
    assert whole.text.splitlines()[-1].startswith("The answer is ")


async def test_the_token_limit(shared):
    for c in await shared.generate(await request(shared, 8, max_tokens=5)):
        assert c.finish_reason is FinishReason.LENGTH
        assert len(c.token_ids) == 5


@pytest.mark.parametrize("stop", [(".\n",), ("are 1", ".\n"), (" = 1", "so 1", ".\n")])
async def test_a_delimiter_of_several_tokens_stays_whole(shared, stop):
    for c in await shared.generate(await request(shared, 24, stop=stop)):
        but_last = shared._tokenizer.decode(list(c.token_ids[:-1]))
        assert c.finish_reason is FinishReason.STEP
        assert any(s in c.text for s in stop)
        assert not any(s in but_last for s in stop)
        assert shared._tokenizer.decode(list(c.token_ids)) == c.text


async def test_both_ways_of_stopping_give_the_same_greedy_step(shared):
    one, several = [await shared.generate(await request(shared, stop=s, temperature=0.0)) for s in (STOP, (".\n",))]
    assert ids_of(one) == ids_of(several)


async def test_a_seed_fixes_the_continuations_whatever_else_runs(shared):
    ask = await request(shared, 32, seed=5)
    alone = await shared.generate(ask)
    others = [shared.generate(await request(shared, 3, seed=i, max_tokens=20)) for i in range(20)]
    together, *_ = await asyncio.gather(shared.generate(ask), *others)
    assert same_share(together, alone) >= 0.8
    assert same_share(await shared.generate(await request(shared, 32, seed=6)), alone) < 0.5


@pytest.mark.parametrize("stop", [STOP, (".\n",)])
async def test_continuations_of_one_request_differ(shared, stop):
    continuations = await shared.generate(await request(shared, 32, stop=stop))
    assert len({c.text for c in continuations}) > 4


async def test_greedy_continuations_are_copies(shared):
    continuations = await shared.generate(await request(shared, 3, temperature=0.0))
    assert len(continuations) == 3
    assert len(set(continuations)) == 1


async def test_sampling_is_from_the_whole_distribution(shared):
    """The first token's frequencies fit its log probabilities, down to tokens far behind the fiftieth."""
    count = 2000
    continuations = await shared.generate(await request(shared, count, max_tokens=1, stop=()))
    seen = Counter(c.token_ids for c in continuations)
    probability = {c.token_ids: math.exp(c.log_probability) for c in continuations}
    assert sum(probability.values()) == pytest.approx(1, abs=0.05)
    expected = {ids: count * p for ids, p in probability.items() if count * p >= 5}
    chi_square = sum((seen[ids] - e) ** 2 / e for ids, e in expected.items())
    assert chi_square < len(expected) + 5 * math.sqrt(2 * len(expected))
    hot = await shared.generate(await request(shared, count, max_tokens=1, stop=(), temperature=100.0))
    assert len({c.token_ids for c in hot}) > 90  # of 99 tokens: no top-k of 50


async def test_top_p_cuts_the_tail(shared):
    ask = GenerateRequest(tuple(await shared.encode_prompt(QUESTION)), 500, 1, (), 1, Sampling(1.0, top_p=0.5))
    few = {c.token_ids: math.exp(c.log_probability) for c in await shared.generate(ask)}
    assert sum(few.values()) - min(few.values()) <= 0.5


async def test_many_callers_at_once(shared):
    asked = [await request(shared, 1 + i % 4, seed=i) for i in range(64)]
    answers = await asyncio.gather(*map(shared.generate, asked))
    assert [len(a) for a in answers] == [r.num_continuations for r in asked]
    alone = [await shared.generate(ask) for ask in asked]
    assert np.mean([same_share(many, one) for many, one in zip(answers, alone, strict=True)]) >= 0.7


def test_callers_on_several_event_loops(shared):
    ask = asyncio.run(request(shared, 16, seed=3))
    assert same_share(asyncio.run(shared.generate(ask)), asyncio.run(shared.generate(ask))) >= 0.8


async def test_more_continuations_than_a_step_computes(shared):
    count = MAX_BATCHED_TOKENS + 1
    assert len(await shared.generate(await request(shared, count, max_tokens=2, stop=()))) == count


async def test_more_continuations_than_the_batch_holds():
    generator = small(max_num_seqs=16)
    continuations = await generator.generate(await request(generator, 50))
    assert len(continuations) == 50
    await generator.aclose()


@pytest.mark.parametrize("stop", [STOP, (".\n",)])
async def test_a_small_cache_loses_nothing(stop):
    """Smaller than one request: it is split, and the others wait."""
    generator = small(num_kv_blocks=8)
    asked = [await request(generator, 6, seed=i, stop=stop) for i in range(6)]
    async with EngineWatch(generator).search() as watched:
        answers = await asyncio.gather(*map(generator.generate, asked))
    stats = await generator.stats()
    await generator.aclose()
    assert [len(a) for a in answers] == [6] * 6
    assert all(c.finish_reason is FinishReason.STEP for a in answers for c in a)
    assert stats.cache_capacity_tokens == 8 * 32
    assert watched.figures.peak_cache_tokens >= 0.5 * 8 * 32


async def test_the_shortest_search_has_a_peak_of_its_own():
    generator = small()
    watch = EngineWatch(generator)
    async with watch.search() as wide:
        await generator.generate(await request(generator, 16))
    async with watch.search() as narrow:
        await generator.generate(await request(generator, 1, max_tokens=1))
    await generator.aclose()
    assert 0 < narrow.figures.peak_cache_tokens < wide.figures.peak_cache_tokens
    assert narrow.figures.num_preemptions == 0


async def test_figures_of_a_search_are_not_those_of_the_one_before():
    """The pipeline goes on showing its last step, until the first of the next request."""
    generator = small()
    await generator.generate(await request(generator, 64))
    seen = []
    pipeline = generator._pipeline
    step = pipeline._step
    pipeline._step = lambda: (seen.append(pipeline.stats()), step())
    (c,) = await generator.generate(await request(generator))
    await generator.aclose()
    assert c.text
    assert (seen[0].cache_use, seen[0].num_running, seen[0].num_waiting) == (0.0, 0, 1)
    assert all(s.cache_use > 0 for s in seen[1:])


async def test_searches_side_by_side_see_the_whole_cache_step_by_step():
    generator = small()
    watch = EngineWatch(generator)
    async with watch.search() as long, EngineWatch(generator).search() as other:
        async with watch.search() as short:
            await generator.generate(await request(generator, 32))
        await generator.generate(await request(generator))
    uses = [use * generator._num_blocks * 32 for _, use in generator._pipeline._uses]
    await generator.aclose()
    for watched in (long, other, short):
        assert watched.figures.peak_cache_tokens == pytest.approx(max(uses), abs=0.1)


async def steps_of(monkeypatch, prefixes):
    """Of each step while so many requests of one sequence are under way: the cache in use, and how many it left out."""
    steps = []
    generator = small(num_kv_blocks=24)
    pipeline = generator._pipeline
    settle = pipeline._settle

    def note():
        metrics = pipeline._metrics
        steps.append((metrics.cache_usage, metrics.requests - metrics.scheduled_requests))
        settle()

    monkeypatch.setattr(pipeline, "_settle", note)
    asked = [await endless(generator, seed=seed, max_tokens=150) for seed in range(prefixes)]
    answers = await asyncio.gather(*map(generator.generate, asked))
    stats = await generator.stats()
    await generator.aclose()
    assert [len(a) for a in answers] == [1] * prefixes
    assert stats.num_preemptions == 0
    return steps


async def test_what_was_let_in_never_loses_its_place(monkeypatch):
    """The metrics show no preemptions, but a sequence that lost its place is left out of the next steps."""
    steps = await steps_of(monkeypatch, 12)
    assert all(left_out == 0 for _, left_out in steps)


async def test_without_its_room_the_pipeline_would_preempt(monkeypatch):
    """What the test above sees, where it happens: single sequences, which the pipeline survives."""
    monkeypatch.setattr(KvRoom, "has_room", lambda self, need: True)
    monkeypatch.setattr(KvRoom, "is_safe", True)
    steps = await steps_of(monkeypatch, 12)
    assert max(use for use, _ in steps) == pytest.approx(100)
    assert any(left_out > 0 for _, left_out in steps)


async def outgrown(blocks):
    """A small engine whose sequences were short so far, and requests whose sequences will be long."""
    generator = small(num_kv_blocks=blocks)
    await generator.generate(await request(generator, 64, max_tokens=5, stop=()))
    return generator, [await endless(generator, 1 + seed % 4, seed=seed, max_tokens=150) for seed in range(16)]


def taken_out(generator, monkeypatch):
    """The requests that are taken out from now on."""
    thread, out = generator._pipeline, []
    take_out = thread._take_out
    monkeypatch.setattr(thread, "_take_out", lambda job: (out.append(job), take_out(job)))
    return out


@pytest.mark.parametrize("blocks", [25, 40, 80])
async def test_what_outgrows_its_room_begins_anew_once_and_ends_the_same(monkeypatch, blocks):
    generator, asked = await outgrown(blocks)
    out = taken_out(generator, monkeypatch)
    answers = await asyncio.gather(*map(generator.generate, asked))
    stats = await generator.stats()
    monkeypatch.setattr(generator._pipeline, "_lengths", Lengths(fewest=math.inf))
    unhurried = await asyncio.gather(*map(generator.generate, asked))
    assert (await generator.stats()).num_preemptions == stats.num_preemptions
    await generator.aclose()
    assert out
    assert len(set(map(id, out))) == len(out)
    assert stats.num_preemptions == sum(job.need.num_sequences for job in out)
    assert [len(a) for a in answers] == [r.num_continuations for r in asked]
    assert np.mean([same_share(one, other) for one, other in zip(answers, unhurried, strict=True)]) >= 0.9


async def most_at_once(monkeypatch, generator):
    thread, running = generator._pipeline, []
    settle = thread._settle
    monkeypatch.setattr(thread, "_settle", lambda: (running.append(len(thread._jobs)), settle()))
    asked = [await request(generator, 4, max_tokens=256, seed=seed) for seed in range(40)]
    await asyncio.gather(*map(generator.generate, asked))
    assert (await generator.stats()).num_preemptions == 0
    return max(running)


async def test_more_requests_run_at_once_where_steps_are_short(monkeypatch):
    generator = small(num_kv_blocks=120)
    monkeypatch.setattr(generator._pipeline, "_lengths", Lengths(fewest=math.inf))
    assert await most_at_once(monkeypatch, generator) == 3
    monkeypatch.setattr(generator._pipeline, "_lengths", Lengths())
    assert await most_at_once(monkeypatch, generator) >= 10
    await generator.aclose()


async def test_the_pipeline_itself_preempts_none_of_what_outgrows_its_room(monkeypatch):
    """Left out of a step is then only what leaves; a crash of this test is a failure of it too."""
    generator, asked = await outgrown(30)
    thread, left_out = generator._pipeline, []
    count_step = thread._room.count_step

    def note(num_used):
        metrics = thread._metrics
        left_out.append(metrics.requests - metrics.scheduled_requests - len(thread._room._leaving))
        count_step(num_used)

    monkeypatch.setattr(thread._room, "count_step", note)
    await asyncio.gather(*map(generator.generate, asked))
    await generator.aclose()
    assert max(left_out) <= 0


async def test_what_was_taken_out_can_be_cancelled(monkeypatch):
    generator, asked = await outgrown(30)
    out = taken_out(generator, monkeypatch)
    tasks = [asyncio.create_task(generator.generate(ask)) for ask in asked]
    while not out:  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0.001)
    first = out[0]
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(a, asyncio.CancelledError) for a in answers[::2])
    assert [len(a) for a in answers[1::2]] == [r.num_continuations for r in asked[1::2]]
    assert first.future.done()
    stats = await generator.stats()
    assert (stats.num_running, stats.num_waiting, stats.cache_use) == (0, 0, 0.0)
    await generator.generate(asked[0])
    await generator.aclose()


async def test_closing_ends_what_was_taken_out(monkeypatch):
    generator, asked = await outgrown(30)
    out = taken_out(generator, monkeypatch)
    tasks = [asyncio.create_task(generator.generate(ask)) for ask in asked]
    while not out:  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0.001)
    await generator.aclose()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    closed = [a for a in answers if isinstance(a, EngineError)]
    assert closed
    assert all("closed" in str(a) for a in closed)
    assert all(job.future.done() for job in out)


@pytest.mark.slow
@pytest.mark.parametrize(("blocks", "seed"), [(20, 0), (45, 1), (90, 2)])
def test_hundreds_of_requests_of_every_kind_in_a_small_cache(blocks, seed):
    """In a process of its own, which the pipeline would crash if it preempted requests of several sequences."""
    script = f"""
import asyncio, random
from etsearch.generators.openvino import OpenVinoGenerator
from etsearch.types import GenerateRequest, Sampling
rng = random.Random({seed})
async def main():
    generator = OpenVinoGenerator({str(model_path("policy"))!r}, num_kv_blocks={blocks})
    await generator.generate(GenerateRequest((64, 4), 64, 5, (), 0))
    def ask(seed):
        prefix = (64, 4, *rng.choices(range(5, 90), k=rng.randrange(90)))
        stop = rng.choice([(), ("\\n",), (".\\n",)])
        most = rng.choice([3, 40, 256])
        return GenerateRequest(prefix, rng.choice([1, 2, 16]), most, stop, seed, Sampling(rng.choice([1.0, 50.0])))
    async def put(seed):
        request = ask(seed)
        await asyncio.sleep(rng.random())
        return len(await generator.generate(request)) == request.num_continuations
    tasks = [asyncio.create_task(put(seed)) for seed in range(300)]
    await asyncio.sleep(0.5)
    for task in rng.sample(tasks, 20):
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(a is True for a in answers) >= 280, answers
    assert all(a is True or isinstance(a, asyncio.CancelledError) for a in answers), answers
    stats = await generator.stats()
    assert stats.num_preemptions > 0
    assert (stats.num_running, stats.num_waiting) == (0, 0)
    await generator.aclose()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=110, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def test_a_cancelled_request_leaves_and_frees():
    generator = small()
    task = asyncio.create_task(generator.generate(await endless(generator, 32)))
    while (await generator.stats()).num_running != 1:  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (c,) = await generator.generate(await request(generator))
    assert c.finish_reason is FinishReason.STEP
    stats = await generator.stats()
    assert (stats.num_running, stats.num_waiting, stats.cache_use) == (0, 0, 0.0)
    assert not generator._pipeline._pipeline.has_non_finished_requests()
    await generator.aclose()


async def test_closing_ends_what_is_in_flight(capfd):
    generator = small()
    asked = await request(generator)
    tasks = [asyncio.create_task(generator.generate(await endless(generator, 4, seed=i))) for i in range(8)]
    while (await generator.stats()).num_running != 8:  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0.001)
    await generator.aclose()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(a, EngineError) and "closed" in str(a) for a in answers)
    assert "leaked" not in capfd.readouterr().err
    await generator.aclose()
    with pytest.raises(EngineError, match="closed"):
        await generator.generate(asked)


class Stubborn:
    """A request that cannot be taken out of the pipeline."""

    def poll(self):
        return None

    def cancel(self):
        raise RuntimeError("cannot cancel")


class Failing:
    """A pipeline whose steps fail, and worse if told so."""

    def __init__(self, *, is_hopeless):
        self.is_hopeless = is_hopeless

    def get_metrics(self):
        return None

    def step(self):
        raise RuntimeError("no step")

    def has_non_finished_requests(self):
        if self.is_hopeless:
            raise RuntimeError("no figures")
        return False


@pytest.mark.parametrize("is_hopeless", [False, True])
def test_nobody_waits_for_a_pipeline_that_fails(is_hopeless):
    pytest.importorskip("openvino", reason="needs the extra 'local'")
    thread = PipelineThread(Failing(is_hopeless=is_hopeless), 8)
    need = Need(1, 1, 1)
    waiting = [thread.submit(Stubborn, need) for _ in range(3)]
    for future in waiting:
        with pytest.raises(EngineError, match=r"no step|no figures|closed"):
            future.result(timeout=20)
    thread.stop()
    with pytest.raises(EngineError, match="closed"):
        thread.submit(Stubborn, need)


async def test_figures(shared):
    async with EngineWatch(shared).search() as watched:
        await asyncio.gather(*[shared.generate(await request(shared, 16, seed=i)) for i in range(16)])
    stats, figures = await shared.stats(), watched.figures
    assert stats.cache_capacity_tokens > 100_000
    assert 0 < figures.mean_cache_tokens <= figures.peak_cache_tokens < stats.cache_capacity_tokens
    assert (stats.cache_use, stats.num_running, stats.num_waiting) == (0.0, 0, 0)


async def test_a_prefix_beyond_the_context(shared):
    with pytest.raises(ContextLengthError, match="512"):
        await shared.generate(await request(shared, after=await shared.encode("\n" * 480)))


async def test_a_step_limit_beyond_the_context_is_lowered_to_it(shared):
    prompt = await shared.encode_prompt(QUESTION)
    after = await shared.encode("\n" * (500 - len(prompt)))
    for c in await shared.generate(await request(shared, 4, after=after, max_tokens=256, stop=())):
        assert 0 < len(c.token_ids) <= 12


@pytest.mark.parametrize("size", ["cache_gb", "num_kv_blocks", "max_num_seqs"])
def test_sizes_below_one_are_refused(size):
    with pytest.raises(ConfigError, match=f"{size} is 0"):
        small(**{size: 0})


@pytest.mark.parametrize(
    "change", [{"count": 0}, {"max_tokens": 0}, {"stop": ("",)}, {"after": (NUM_TOKENS,)}, {"temperature": -1.0}]
)
async def test_a_request_that_makes_no_sense(shared, change):
    with pytest.raises(ConfigError):
        await shared.generate(await request(shared, **change))


async def test_text_and_ids(shared):
    rng = random.Random(0)
    for problem in minimath.world.problems("test", 50):
        text = minimath.language.PROMPT.format(question=problem.question)
        assert await shared.encode(text) == await shared.encode_prompt(problem.question)
        steps = "".join(f"{s}\n" for s in minimath.world.solution(problem, rng))
        assert shared._tokenizer.decode(await shared.encode(text + steps)) == text + steps
    assert await shared.encode("") == []
    with pytest.raises(ConfigError, match="zebras"):
        await shared.encode_prompt("There are 3 zebras. How many zebras are there?")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "missing", "does not exist"),
        (lambda p: p, r"openvino_model\.xml"),
        (lambda p: p / "model.bin", "no .gguf file"),
        (lambda p: p / "bad.gguf", "is no whole GGUF file: it begins with b'no m'"),
        (lambda p: p / "broken", "cannot read the model"),
    ],
)
def test_models_that_cannot_be_loaded(tmp_path, make, message):
    from etsearch.generators.openvino import OpenVinoGenerator

    model_path("policy")
    (tmp_path / "model.bin").write_bytes(b"")
    (tmp_path / "bad.gguf").write_bytes(b"no model")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "openvino_model.xml").write_text("<net/>")
    with pytest.raises(ConfigError, match=message):
        OpenVinoGenerator(make(tmp_path))


async def test_the_format_comes_from_the_folder(shared, tmp_path):
    from etsearch.generators.openvino import OpenVinoGenerator

    assert shared.format == minimath.FORMAT
    for file in model_path("policy").iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "etsearch.json").unlink()
    generator = OpenVinoGenerator(tmp_path)
    assert generator.format == STEP_BY_STEP
    assert await generator.encode_prompt("{}")  # no chat template: plain text
    await generator.aclose()
    (tmp_path / "etsearch.json").write_text(json.dumps({"format": {"templat": ""}}))
    with pytest.raises(ConfigError, match="step_delimiter"):
        OpenVinoGenerator(tmp_path)


def test_an_interpreter_that_never_closes_it_still_ends():
    script = f"""
import asyncio
from etsearch.generators.openvino import OpenVinoGenerator
from etsearch.types import GenerateRequest
async def main():
    generator = OpenVinoGenerator({str(model_path("policy"))!r})
    asyncio.create_task(generator.generate(GenerateRequest((64, 4), 64, 400, (), 0)))
    await asyncio.sleep(0.2)
    return generator
kept = asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


def trajectories(count):
    rng = random.Random(0)
    for problem in minimath.world.problems("test", count):
        yield Trajectory(problem.question, tuple(Step(f"{s}\n") for s in minimath.world.solution(problem, rng)))


async def test_batched_rewards_equal_single_ones(prm):
    asked = list(trajectories(24))
    single = [await prm.score(t, 0) for t in asked]
    batched = await asyncio.gather(*(prm.score(t, 0) for t in asked))
    for one, many, trajectory in zip(single, batched, asked, strict=True):
        assert len(one.rewards) == len(trajectory.steps)
        assert all(0 <= r <= 1 for r in one.rewards)
        assert many.rewards == pytest.approx(one.rewards, abs=1e-5)
        assert many.num_tokens == one.num_tokens > 20


async def test_a_reward_depends_on_the_steps_before_only(prm):
    trajectory = max(trajectories(12), key=lambda t: len(t.steps))
    whole = (await prm.score(trajectory, 0)).rewards
    for last in range(1, len(trajectory.steps)):
        part = await prm.score(Trajectory(trajectory.question, trajectory.steps[:last]), last - 1)
        assert part.rewards == pytest.approx(whole[last - 1 : last], abs=1e-5)


async def test_first_outside_the_steps(prm):
    trajectory = next(trajectories(1))
    for first in (-1, len(trajectory.steps)):
        with pytest.raises(RewardError, match="first"):
            await prm.score(trajectory, first)
        with pytest.raises(RewardError, match="first"):
            await LogProbabilityRewardModel().score(trajectory, first)


async def test_closing_the_reward_model():
    from etsearch.prms.openvino import OpenVinoRewardModel

    model = OpenVinoRewardModel(model_path("prm"), max_batch=1)
    tasks = [asyncio.create_task(model.score(t, 0)) for t in trajectories(40)]
    await asyncio.sleep(0.05)
    await model.aclose()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert any(isinstance(a, RewardError) for a in answers)
    await model.aclose()
    with pytest.raises(RewardError, match="closed"):
        await model.score(next(trajectories(1)), 0)


class Spoilt:
    """The network of the reward model; its figures are what ``spoil`` makes of them."""

    def __init__(self, network):
        self.network, self.spoil = network, lambda figures: figures

    def figures(self, sequences):
        for batch, figures in self.network.figures(sequences):
            yield batch, self.spoil(figures)


@final
class SpoiltRewardModel(InProcessRewardModel):
    """The reward model over a network that a test can spoil."""

    identity = Identity("spoilt")

    def __init__(self):
        from etsearch.prms.openvino import OpenVinoCodec, OpenVinoNetwork

        folder = model_path("prm")
        reader = PrmReader(find_family(None, folder.name, folder), OpenVinoCodec(folder))
        self.network = Spoilt(OpenVinoNetwork(folder, reader.family.head, reader.label_ids, max_batch=64))
        super().__init__(reader, self.network, None)


@pytest.fixture
async def spoilt():
    model = SpoiltRewardModel()
    yield model
    await model.aclose()


@pytest.mark.parametrize("shape", [(2,), (3, 2), (1, 1, 2)])
async def test_an_output_of_another_shape_is_an_error_for_all_who_wait(spoilt, shape):
    spoilt.network.spoil = lambda _: np.zeros(shape)
    for trajectory in trajectories(2):
        with pytest.raises(RewardError, match="failed"):
            await spoilt.score(trajectory, 0)
    spoilt.network.spoil = lambda figures: figures
    assert (await spoilt.score(trajectory, 0)).rewards


async def test_the_reward_model_refuses_words_it_cannot_read():
    model = REWARD_MODELS.create("minimath")
    with pytest.raises(ConfigError, match="does not know 'Why'"):
        await model.score(Trajectory("Why is the sky blue?", (Step("Because."),)), 0)
    await model.aclose()


async def test_a_packed_tree_scores_as_its_trajectories_one_by_one(prm):
    many = list(trajectories(12))
    many += [Trajectory(t.question, t.steps[:-1]) for t in many if len(t.steps) > 1] + many[:3]
    together = await asyncio.gather(*(prm.score(t, 0) for t in many))
    for trajectory, scores in zip(many, together, strict=True):
        alone = await prm.score(trajectory, 0)
        assert scores.rewards == pytest.approx(alone.rewards, abs=1e-5)


async def test_logits_that_are_no_numbers(spoilt):
    spoilt.network.spoil = lambda figures: [rows * math.nan for rows in figures]
    with pytest.raises(RewardError, match="no numbers"):
        await spoilt.score(next(trajectories(1)), 0)


def family(**changes):
    values = {"template": minimath.language.PROMPT, "tag": "\n", "good": "+", "bad": "-"}
    return PrmFamily(name="mine", **(values | changes))


def test_a_reward_model_needs_a_family_with_single_token_labels(tmp_path):
    from etsearch.prms.openvino import OpenVinoRewardModel

    for file in model_path("prm").iterdir():
        (tmp_path / file.name).symlink_to(file)
    with pytest.raises(ConfigError, match="'7 more than the'"):
        OpenVinoRewardModel(tmp_path, family=family(good="7 more than the"))
    (tmp_path / "etsearch.json").unlink()
    with pytest.raises(ConfigError, match="nothing tells how"):
        OpenVinoRewardModel(tmp_path)


async def test_log_probability_rewards():
    steps = (Step("a", (1, 2), math.log(0.25)), Step("b", (3,), math.log(0.5)), Step("c", (4,), 0.0))
    scores = await LogProbabilityRewardModel().score(Trajectory("q", steps), 1)
    assert scores.rewards == pytest.approx((0.5, 0.125**0.25))
    assert scores.num_tokens == 0
    with pytest.raises(RewardError, match="step 1"):
        await LogProbabilityRewardModel().score(Trajectory("q", (*steps[:1], Step("x", (1,)))), 0)

"""The embedded generator and reward model, with the shipped miniature models."""

import asyncio
import json
import math
import random
import subprocess
import sys
import time
from typing import final

import numpy as np
import pytest

from etsearch import minimath
from etsearch.errors import ConfigError, EngineError, RewardError
from etsearch.generators._kv_room import KvRoom, Need
from etsearch.generators._lengths import Lengths
from etsearch.generators._openvino_thread import PipelineThread
from etsearch.generators.base import STEP_BY_STEP
from etsearch.loop.watch import EngineWatch
from etsearch.prms import REWARD_MODELS
from etsearch.prms.families import PrmFamily, find_family
from etsearch.prms.in_process import InProcessRewardModel
from etsearch.prms.log_probability import LogProbabilityRewardModel
from etsearch.prms.reading import PrmReader
from etsearch.types import Identity, Step, Trajectory
from tests.contract.tiny_models import STOP, endless, model_path, request, same_share

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
    uses = [use * generator._num_blocks * 32 for _, use in generator._pipeline.uses.steps]
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
    monkeypatch.setattr(thread, "_take_out", lambda job, need: (out.append(job), take_out(job, need)))
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


@pytest.mark.parametrize("size", ["cache_gb", "num_kv_blocks", "max_num_seqs"])
def test_sizes_below_one_are_refused(size):
    with pytest.raises(ConfigError, match=f"{size} is 0"):
        small(**{size: 0})


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


async def alone(requests):
    """What an engine of its own writes for each request."""
    outputs = []
    for one in requests:
        generator = small()
        outputs += await generator.generate(one)
        await generator.aclose()
    return outputs


@pytest.mark.parametrize("stop", [STOP, ("\n\n",)])
async def test_siblings_read_in_one_step_are_continued_each_by_itself(stop):
    """They begin as a sequence that has ended, in the middle of a block, and part after it."""
    generator = small()
    beginning = await request(generator, max_tokens=9, stop=(), temperature=0.0)
    (ended,) = await generator.generate(beginning)
    vocabulary = list(range(NUM_TOKENS - 8, NUM_TOKENS))
    after = [ended.token_ids[:-1] + (token,) * 3 for token in vocabulary]
    siblings = [await request(generator, max_tokens=6, after=one, stop=stop, temperature=0.0) for one in after]
    together = await asyncio.gather(*map(generator.generate, siblings))
    again = await asyncio.gather(*map(generator.generate, siblings))
    await generator.aclose()
    for one, other, by_itself in zip(together, again, await alone(siblings), strict=True):
        assert one[0].token_ids == other[0].token_ids == by_itself.token_ids
        assert one[0].log_probability == pytest.approx(by_itself.log_probability, abs=0.02)
        assert other[0].log_probability == pytest.approx(by_itself.log_probability, abs=0.02)


async def test_nobody_finds_what_a_cancelled_request_was_reading(monkeypatch):
    """Those that are still being read may have found its blocks half written: they begin anew."""
    generator = small()
    thread = generator._pipeline
    begun = [i % 60 + 20 for i in range(64)]
    await generator.generate(await request(generator, after=begun, max_tokens=2, stop=()))
    asked = [
        await request(generator, after=[*begun, *(i % 90 + 5 for i in range(n, n + 380))], temperature=0.0)
        for n in range(10)  # of which one step reads 2,048 tokens
    ]
    book, out, step = thread._book, taken_out(generator, monkeypatch), thread._step
    loop, asking = asyncio.get_running_loop(), []
    found_before = book.place(asked[8].prefix).ids[0]

    def cancel_after_a_step():
        step()
        if len(thread._jobs) == len(asked):
            (job,) = [job for job in thread._jobs if job.work.place.prefix == asked[8].prefix]
            loop.call_soon_threadsafe(asking[8].cancel)
            while not job.future.cancelled():
                time.sleep(0.001)

    monkeypatch.setattr(thread, "_step", cancel_after_a_step)
    asking += [asyncio.ensure_future(generator.generate(one)) for one in asked]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[8], asyncio.CancelledError)
    assert {job.need.num_prefix_tokens for job in out} == {len(asked[0].prefix)}
    assert 3 <= len(out) <= 6
    assert book.place(asked[8].prefix).ids[0] != found_before
    await generator.aclose()
    others = [one for index, one in enumerate(asked) if index != 8]
    told = [answer[0].token_ids for index, answer in enumerate(answers) if index != 8]
    assert told == [one.token_ids for one in await alone(others)]

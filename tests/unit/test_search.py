"""The loop on scripted worlds, where everything can be counted."""

import asyncio
import math
import random

import pytest
from tests.worlds import NUM_STEPS, PROBLEM, reward_of, run, write

from etsearch import Aggregation, Limits, Problem, Sampling
from etsearch.errors import ConfigError, ContextLengthError, EngineError, EngineOverloadedError, RewardError
from etsearch.generators.scripted import ScriptedGenerator
from etsearch.loop import run_search
from etsearch.loop.events import Completed, Expanded, Finished, Scored, Selected
from etsearch.loop.settings import SearchSettings
from etsearch.prms.scripted import ScriptedRewardModel
from etsearch.strategies import STRATEGIES, BestOfN, Rebase
from etsearch.strategies.base import reaches_back
from etsearch.tree import ROOT
from etsearch.types import EndReason, PromptFormat, StopReason

SEARCHES = [e.name for e in STRATEGIES.entries()]


async def test_the_answer_is_the_heaviest_vote():
    result = await run("rebase", 16)
    assert result.answer == "7"
    assert result.stop_reason is StopReason.COMPLETED
    assert len(result.trajectories) == 16
    assert result.votes[0].weight == max(v.weight for v in result.votes)
    assert sum(v.count for v in result.votes) == 16
    assert result.best.answer == "7"
    assert result.best.weight == 1.0
    assert len(result.best.steps) == len(result.best.rewards) == NUM_STEPS + 1
    result.tree.check_integrity()


@pytest.mark.parametrize("strategy", SEARCHES)
@pytest.mark.parametrize("width", [1, 4, 16, 64])
async def test_the_widths_add_up(strategy, width):
    result = await run(strategy, width)
    goes_back = reaches_back(STRATEGIES.create(strategy))
    sampled = result.depths[0].num_sampled if goes_back else width
    for depth in result.depths:
        assert depth.num_sampled == sampled
        assert goes_back or depth.num_sampled == depth.num_completed + len(depth.nodes)
        sampled = sum(depth.widths)
        assert sampled <= depth.remaining_width
    assert sampled == 0
    assert result.usage.num_calls == sum(d.num_sampled for d in result.depths) == len(result.tree) - 1
    given_back = width - len(result.trajectories)
    assert given_back >= 0 if strategy == "adaptive_width" else given_back == 0


@pytest.mark.parametrize("strategy", SEARCHES)
async def test_the_same_seed_gives_the_same_search(strategy):
    first, second = await run(strategy, 8), await run(strategy, 8)
    assert first.trajectories == second.trajectories
    assert [d.widths for d in first.depths] == [d.widths for d in second.depths]


async def test_another_seed_gives_another_search():
    first, other = await run("best_of_n", 8), await run("best_of_n", 8, seed=1)
    assert first.trajectories != other.trajectories


@pytest.mark.parametrize("strategy", SEARCHES)
async def test_timing_does_not_change_the_search(strategy):
    class Jittery:
        """Answers in an order of its own."""

        def __init__(self):
            self.inner, self.rng = ScriptedGenerator(write), random.Random(0)

        def __getattr__(self, name):
            return getattr(self.inner, name)

        async def generate(self, request):
            await asyncio.sleep(self.rng.choice((0, 0.002, 0.004)))
            return await self.inner.generate(request)

    quick = await run(strategy, 8)
    slow = await run(strategy, 8, generator=Jittery())
    assert [t.steps for t in quick.trajectories] == [t.steps for t in slow.trajectories]
    assert quick.tree.parent.tolist() == slow.tree.parent.tolist()


async def test_kv_tokens_by_hand():
    # Every step is "take x\n", 7 tokens; the prompt has 18. Best-of-N shares nothing but the prompt.
    result = await run("best_of_n", 2)
    prompt, step, answer = 18, 7, len("The answer is 7.")
    shared = [prompt + 2 * step, prompt + 4 * step, prompt + 6 * step, prompt + 6 * step + 2 * answer]
    assert result.tree.prefix_tokens(ROOT) == prompt
    assert [d.kv_tokens for d in result.depths] == shared
    assert result.usage.kv_tokens == sum(shared)
    assert result.usage.peak_kv_tokens == shared[-1]
    # The paper's figure leaves out the prompt and what has ended.
    assert result.usage.kv_tokens_paper == sum((2 * step, 4 * step, 6 * step))
    assert result.usage.kv_tokens_unshared == sum(shared) + 4 * prompt


async def test_requests_are_one_per_node_and_in_token_ids():
    generator = ScriptedGenerator(write)
    result = await run("beam(keep=2)", 4, generator=generator)
    assert len(generator.requests) == 1 + 2 * NUM_STEPS
    assert generator.requests[0].num_continuations == 4
    for request in generator.requests[1:]:
        assert request.num_continuations == 2
        assert generator.decode(request.prefix).startswith(PROBLEM.question + "\n")
    assert len({r.seed for r in generator.requests}) == len(generator.requests)
    assert result.usage.generated_tokens == sum(result.tree.tokens[1:])


async def test_steps_are_scored_while_siblings_are_written():
    log = []

    def watch(event):
        log.append(type(event))

    class Staggered:
        """The first expansion of a depth comes at once, the others later."""

        def __init__(self):
            self.inner, self.seen = ScriptedGenerator(write), 0

        def __getattr__(self, name):
            return getattr(self.inner, name)

        async def generate(self, request):
            self.seen += 1
            if self.seen > 2:
                await asyncio.sleep(0.05)
            return await self.inner.generate(request)

    await run("beam(keep=2)", 4, generator=Staggered(), on_event=watch)
    depth_two = log[log.index(Selected) + 1 :]
    assert depth_two[:4] == [Expanded, Scored, Scored, Expanded]


async def test_events_tell_the_whole_story():
    events = []
    result = await run("ets", 8, on_event=events.append)
    kinds = {kind: [e for e in events if isinstance(e, kind)] for kind in (Expanded, Scored, Completed, Selected)}
    assert sum(len(e.continuations) for e in kinds[Expanded]) == result.usage.num_calls
    assert len(kinds[Scored]) == result.usage.num_calls
    assert [e.node for e in kinds[Completed]] == [t.node for t in result.trajectories]
    assert tuple(e.summary for e in kinds[Selected]) == result.depths
    assert isinstance(events[-1], Finished)
    assert events[-1].result is result


async def test_best_of_n_scores_each_trajectory_once_at_its_end():
    calls = []

    def count(question, steps):
        calls.append(len(steps))
        return reward_of(question, steps)

    result = await run("best_of_n", 5, reward_of=count)
    assert sorted(calls) == sorted([1, 2, 3, 4] * 5)
    assert all(not math.isnan(r) for t in result.trajectories for r in t.rewards)


async def test_majority_needs_no_reward_model():
    result = await run("best_of_n", 9, reward_model=None, aggregation=Aggregation.MAJORITY)
    assert result.votes[0].weight == result.votes[0].count
    assert result.usage.prm_tokens == 0
    with pytest.raises(ConfigError, match="needs a reward model"):
        await run("rebase", 4, reward_model=None, aggregation=Aggregation.MAJORITY)
    with pytest.raises(ConfigError, match="needs a reward model"):
        await run("best_of_n", 4, reward_model=None)


async def test_a_cut_trajectory_votes_if_it_states_an_answer():
    result = await run("rebase", 4, write=lambda _s, _r: "The answer is 3.\n", limits=Limits(max_depth=1))
    assert (result.answer, result.votes[0].count) == ("3", 4)
    result = await run("rebase", 4, write=lambda _s, _r: "on and on\n", limits=Limits(max_depth=2))
    assert result.answer is None
    assert result.stop_reason is StopReason.MAX_DEPTH
    assert {t.end_reason for t in result.trajectories} == {EndReason.DEPTH}
    assert len(result.trajectories) == 4


async def test_token_limits():
    endless = "x" * 50
    limits = Limits(max_step_tokens=10, max_tokens=25)
    result = await run("rebase", 2, write=lambda _s, _r: endless, limits=limits)
    assert {t.end_reason for t in result.trajectories} == {EndReason.LENGTH}
    assert [len(s) for s in result.trajectories[0].steps] == [10, 10, 5]


async def test_the_prompt_is_never_taken_for_an_answer():
    question = Problem("The answer is 9. Why?")
    result = await run("rebase", 2, problem=question, write=lambda _s, _r: "no idea\n", limits=Limits(max_depth=2))
    assert result.answer is None


async def test_an_empty_ending_keeps_the_last_reward():
    def end_early(so_far, rng):
        return "" if so_far.count("\n") > 1 else "half of it\n"

    result = await run("rebase", 2, write=end_early)
    assert {t.end_reason for t in result.trajectories} == {EndReason.ANSWERED}
    assert all(t.rewards[0] == t.rewards[1] for t in result.trajectories)


async def test_a_generator_that_ends_before_its_first_step_is_recorded():
    result = await run("rebase", 2, write=lambda _s, _r: "")
    assert result.answer is None
    assert result.stop_reason is StopReason.FAILED
    assert [f.reason for f in result.failures] == ["the generator ended the solution before its first step"] * 2


class Flaky:
    """Passes on to a scripted generator, but raises the given errors first."""

    def __init__(self, errors, *, after=0):
        self.inner, self.errors, self.after = ScriptedGenerator(write), list(errors), after

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def generate(self, request):
        if self.after:
            self.after -= 1
        elif self.errors:
            raise self.errors.pop(0)
        return await self.inner.generate(request)


async def test_a_passing_failure_costs_nothing(monkeypatch):
    monkeypatch.setattr("etsearch.loop.retry.RETRY_DELAY_S", 0.0)
    calm = await run("rebase", 8)
    shaken = await run("rebase", 8, generator=Flaky([EngineOverloadedError("full")] * 2))
    assert [t.steps for t in shaken.trajectories] == [t.steps for t in calm.trajectories]
    assert shaken.failures == ()


async def test_a_lasting_failure_is_recorded_and_the_rest_goes_on(monkeypatch):
    monkeypatch.setattr("etsearch.loop.retry.RETRY_DELAY_S", 0.0)
    result = await run("beam(keep=2)", 4, generator=Flaky([EngineError("lost the node")], after=1))
    assert result.answer is not None
    assert [(f.request, f.reason) for f in result.failures] == [("expand", "EngineError: lost the node")]
    assert [t.end_reason for t in result.trajectories].count(EndReason.FAILED) == 1
    voters = [t for t in result.trajectories if t.end_reason is EndReason.FAILED]
    assert voters[0].weight == 0


async def test_a_search_that_loses_everything_says_so(monkeypatch):
    monkeypatch.setattr("etsearch.loop.retry.RETRY_DELAY_S", 0.0)
    result = await run("rebase", 4, generator=Flaky([EngineOverloadedError("full")] * 3))
    assert result.stop_reason is StopReason.FAILED
    assert result.answer is None
    assert "full" in result.failures[0].reason


async def test_a_prefix_too_long_for_the_engine_cuts_the_branch():
    result = await run("beam(keep=2)", 4, generator=Flaky([ContextLengthError("too long")], after=1))
    (cut,) = [t for t in result.trajectories if t.end_reason is EndReason.LENGTH]
    assert [(f.node, f.reason) for f in result.failures] == [(cut.node, "ContextLengthError: too long")]
    assert sum(d.num_completed for d in result.depths) == len(result.trajectories)


async def test_a_question_too_long_for_the_engine_is_an_error():
    with pytest.raises(ConfigError, match="the question is too long for this engine: 512 tokens"):
        await run("rebase", 4, generator=Flaky([ContextLengthError("512 tokens")]))


async def test_a_branch_that_the_engine_cuts_votes_though_nothing_was_scored_before():
    """Best-of-N scores at the end; here the engine has no room left after the answer's step."""
    texts = iter(["The answer is\n", "5\n"])
    generator = Flaky([ContextLengthError("too long")], after=2)
    generator.inner = ScriptedGenerator(lambda _so_far, _rng: next(texts))
    result = await run("best_of_n", 1, generator=generator, reward_of=lambda _question, _steps: 0.75)
    assert [(t.end_reason, t.weight, t.rewards) for t in result.trajectories] == [
        (EndReason.LENGTH, 0.75, (0.75, 0.75))
    ]
    assert result.answer == "5"


@pytest.mark.parametrize(("limits", "answer"), [(Limits(max_step_tokens=16), "128"), (Limits(max_tokens=16), None)])
async def test_half_an_answer_is_none(limits, answer):
    """A step limit leaves the trajectory open, and the rest of the answer follows; a trajectory limit ends it."""
    whole = "The answer is 128."
    rest = lambda so_far, _rng: whole[len(so_far) - len(PROBLEM.question) - 1 :]  # noqa: E731
    result = await run("rebase", 2, write=rest, limits=limits, reward_of=lambda _question, _steps: 0.5)
    assert result.answer == answer


@pytest.mark.parametrize(("cut_votes", "answer"), [(True, "3"), (False, None)])
async def test_whether_a_cut_trajectory_votes_is_a_setting(cut_votes, answer):
    write = lambda so_far, _rng: "3\n" if so_far.endswith("is\n") else "The answer is\n"  # noqa: E731
    arguments = {"write": write, "limits": Limits(max_depth=2), "reward_of": lambda _question, _steps: 0.5}
    result = await run("rebase", 2, cut_votes=cut_votes, **arguments)
    assert {t.end_reason for t in result.trajectories} == {EndReason.DEPTH}
    assert result.answer == answer


async def test_an_error_of_the_judge_stops_the_scores_beside_it():
    seen = []

    class Broken:
        async def score(self, trajectory, first):
            del first
            seen.append("asked")
            if len(seen) == 1:
                raise ConfigError("cannot read this")
            await asyncio.sleep(0.01)
            seen.append("ran on")

        async def aclose(self):
            pass

    with pytest.raises(ConfigError, match="cannot read this"):
        await run("rebase", 4, reward_model=Broken())
    await asyncio.sleep(0.03)
    assert "ran on" not in seen


async def test_a_wrong_number_of_continuations_is_a_failure():
    class Short(Flaky):
        async def generate(self, request):
            return (await self.inner.generate(request))[:-1]

    result = await run("rebase", 4, generator=Short([]))
    assert "gave 3 continuations; 4 were asked for" in result.failures[0].reason


@pytest.mark.parametrize(
    ("reward_of", "reason"),
    [
        (lambda _q, _s: math.nan, r"reward of step 1 is nan; it must lie in \[0, 1\]"),
        (lambda _q, _s: 1.01, "reward of step 1 is 1.01"),
    ],
)
async def test_a_bad_reward_is_retried_then_recorded(reward_of, reason, monkeypatch):
    monkeypatch.setattr("etsearch.loop.retry.RETRY_DELAY_S", 0.0)
    result = await run("rebase", 2, reward_of=reward_of)
    assert result.stop_reason is StopReason.FAILED
    assert len(result.failures) == 2
    with pytest.raises(RewardError, match=reason):
        raise RewardError(result.failures[0].reason)
    assert len(result.tree) == 3


async def test_a_lost_score_loses_one_branch_only(monkeypatch):
    monkeypatch.setattr("etsearch.loop.retry.RETRY_DELAY_S", 0.0)
    seen = []

    def fail_once_for_good(question, steps):
        if not seen or seen[0] == (len(steps), steps[-1]):
            seen.append((len(steps), steps[-1]))
            raise RewardError("no score")
        return reward_of(question, steps)

    result = await run("rebase", 8, reward_of=fail_once_for_good)
    assert result.answer is not None
    assert {f.request for f in result.failures} == {"score"}
    failed = [t for t in result.trajectories if t.end_reason is EndReason.FAILED]
    assert len(failed) == len(result.failures)


async def test_a_strategy_that_breaks_its_contract_is_named():
    class Greedy:
        needs_rewards, needs_clusters = True, False

        def select(self, frontier, width):
            selection = Rebase().select(frontier, width)
            return type(selection)(selection.widths[:-1])

    with pytest.raises(ConfigError, match=r"Greedy.select gave widths"):
        await run_search(
            PROBLEM,
            generator=ScriptedGenerator(write),
            reward_model=ScriptedRewardModel(reward_of),
            strategy=Greedy(),
            settings=SearchSettings(4),
        )


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (SearchSettings, {"width": 0}, "width is 0"),
        (Limits, {"max_depth": 0}, "max_depth is 0"),
        (Limits, {"max_step_tokens": -1}, "max_step_tokens is -1"),
        (Sampling, {"temperature": -1.0}, "temperature is -1.0"),
        (Sampling, {"temperature": math.nan}, "temperature is nan"),
        (Sampling, {"top_p": 0.0}, r"top_p is 0\.0"),
        (Sampling, {"top_p": 1.5}, r"top_p is 1\.5"),
    ],
)
def test_bad_settings_are_named(kind, arguments, message):
    with pytest.raises(ConfigError, match=message):
        kind(**arguments)


async def test_an_empty_question_is_refused():
    with pytest.raises(ConfigError, match="question is empty"):
        await run("rebase", 4, problem=Problem("  \n"))


async def test_ets_without_an_embedder_is_refused():
    with pytest.raises(ConfigError, match="give an embedder"):
        await run("ets", 4, embedder=None)
    assert (await run("ets_kv", 4, embedder=None)).answer is not None


async def test_searches_run_side_by_side_on_one_engine():
    generator = ScriptedGenerator(write, delay_s=0.001)
    alone = await run("ets", 8, seed=3)
    together = await asyncio.gather(*(run("ets", 8, seed=seed, generator=generator) for seed in range(6)))
    assert [t.steps for t in together[3].trajectories] == [t.steps for t in alone.trajectories]


async def test_cancelling_a_search_stops_its_requests():
    class Endless:
        """Never answers, and notes that it was told to stop."""

        def __init__(self):
            self.inner, self.asked, self.was_cancelled = ScriptedGenerator(write), asyncio.Event(), False

        def __getattr__(self, name):
            return getattr(self.inner, name)

        async def generate(self, request):
            del request
            self.asked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise

    generator = Endless()
    task = asyncio.create_task(run("rebase", 4, generator=generator))
    await generator.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert generator.was_cancelled


def test_best_of_n_is_a_strategy_like_any_other():
    assert STRATEGIES.create("best_of_n") == BestOfN()


@pytest.mark.parametrize(
    ("ends", "depths"),
    [
        (None, 1),  # a stated answer ends a trajectory
        (("Therefore",), 2),  # a text of the format does, and no stated answer
        ((), 3),  # nothing but the end of sequence does
    ],
)
async def test_what_ends_a_trajectory_is_the_formats(ends, depths):
    texts = ("The answer is 7.\n", "Therefore it is.\n", "Goodbye.")
    form = PromptFormat("{question}\n", "\n", ends=ends)
    generator = ScriptedGenerator(lambda so_far, rng: texts[so_far.count("\n") - 1], format=form)
    result = await run("rebase", 2, generator=generator, reward_of=lambda question, steps: 0.5)
    assert len(result.depths) == depths
    assert result.answer == "7"

"""Where no answer is stated, or none is to be voted on, the trajectory with the best reward is the answer."""

import asyncio
import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluations import run as evaluate
from tests.evaluations import searches
from tests.unit.test_lossless import STRATEGIES_HERE, Streams
from tests.worlds import run

from etsearch import Aggregation, Limits
from etsearch.errors import EngineError, RewardError
from etsearch.evaluation.run.folder import read_run
from etsearch.evaluation.run.record import SearchRecord
from etsearch.generators.scripted import ScriptedGenerator
from etsearch.loop.early_stop import RunningVote
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.loop.voting import vote
from etsearch.prms.scripted import ScriptedRewardModel
from etsearch.tree import SearchTree
from etsearch.types import Continuation, EndReason, EngineFigures, FinishReason, StopReason
from etsearch.viewer import to_view

VOTING = [a for a in Aggregation if a is not Aggregation.BEST_REWARD]


def poem(so_far: str, rng: random.Random) -> str:
    """Two or three lines, and no answer."""
    lines = so_far.splitlines()[1:]
    return f"line {rng.randrange(30)}\n" if len(lines) < 2 else f"the end {rng.randrange(30)}"


def likes(question, steps) -> float:
    """A reward of the last step, some of them equal."""
    del question
    return int(steps[-1].split()[-1]) % 10 / 10


def ended(*trajectories, prompt=(1,)) -> SearchState:
    """A search at its end: of each trajectory its steps as (text, reward, log probability), and why it ended."""
    state = SearchState(SearchTree("q", prompt))
    for steps, reason in trajectories:
        node = 0
        for text, reward, log_probability in steps:
            ids = tuple(map(ord, text))
            node = state.tree.add(node, Continuation(ids, text, FinishReason.STEP, log_probability))
            if reward is not None:
                state.tree.set_reward(node, reward)
        state.ended[node] = reason
    return state


def best_of(state, **given):
    result = vote(state, SearchSettings(8, **given), StopReason.COMPLETED, EngineFigures())
    return result, result.best.text if result.best else None


A, C, D, F = EndReason.ANSWERED, EndReason.LENGTH, EndReason.DEPTH, EndReason.FAILED


@pytest.mark.parametrize("strategy", ["best_of_n", "rebase", "ets", "beam"])
@pytest.mark.parametrize("aggregation", list(Aggregation))
async def test_without_a_stated_answer_the_best_reward_is_the_answer(strategy, aggregation):
    result = await run(strategy, 16, write=poem, reward_of=likes, aggregation=aggregation)
    rewards = [t.rewards[-1] for t in result.trajectories]
    assert (result.answer, result.votes, result.aggregation) == (None, (), Aggregation.BEST_REWARD)
    assert result.best is result.trajectories[rewards.index(max(rewards))]  # the first of equals
    assert result.best.text == "".join(result.best.steps)
    assert result.best.weight == 0.0
    plain = json.loads(json.dumps(result.to_dict()))
    assert (plain["aggregation"], plain["best"], plain["answer"]) == ("best_reward", result.best.node, None)


@pytest.mark.parametrize("aggregation", VOTING)
async def test_where_an_answer_is_stated_the_vote_is_as_it_was(aggregation):
    result = await run("rebase", 16, aggregation=aggregation)
    assert result.aggregation is aggregation
    assert result.answer == result.votes[0].answer == result.best.answer
    assert result.best.weight == max(result.trajectories[i].weight for i in result.votes[0].voters)
    assert result.to_dict()["aggregation"] == str(aggregation)


async def test_by_name_there_is_no_vote_though_answers_are_stated():
    """Seven sevens with a reward of 0.4 and one eight with 0.9."""
    lines = iter(["The answer is 8."] + ["The answer is 7."] * 7)
    like = lambda _, steps: 0.9 if "8" in steps[-1] else 0.4  # noqa: E731
    result = await run("rebase", 8, write=lambda *_: next(lines), reward_of=like, aggregation="best_reward")
    assert (result.answer, result.best.answer, result.votes) == ("8", "8", ())
    assert [t.weight for t in result.trajectories] == [0.9] + [0.4] * 7
    lines = iter(["The answer is 8."] + ["The answer is 7."] * 7)
    assert (await run("rebase", 8, write=lambda *_: next(lines), reward_of=like)).answer == "7"


def test_by_name_the_best_may_state_no_answer_where_others_do():
    state = ended(([("The answer is 7.", 0.5, None)], A), ([("A poem.", 0.8, None)], A))
    result, text = best_of(state, aggregation="best_reward")
    assert (result.answer, text) == (None, "A poem.")
    result, text = best_of(state)
    assert (result.answer, text, result.aggregation) == ("7", "The answer is 7.", "last")


def test_the_last_step_counts_and_the_first_of_equals():
    state = ended(([("x", 1.0, None), ("low", 0.2, None)], A), ([("one", 0.6, None)], A), ([("two", 0.6, None)], A))
    assert best_of(state)[1] == "one"


@pytest.mark.parametrize(
    ("trajectories", "cut_votes", "text"),
    [
        ([([("cut", 0.9, None)], C), ([("whole", 0.1, None)], A)], True, "cut"),
        ([([("cut", 0.9, None)], C), ([("whole", 0.1, None)], A)], False, "whole"),
        ([([("cut", 0.2, None)], C), ([("open", 0.3, None)], D)], False, "open"),  # none may vote
        ([([("lost", 0.9, None)], F), ([("whole", 0.1, None)], A)], True, "whole"),
        ([([("lost", 0.9, None)], F), ([("cut", 0.1, None)], C)], False, "cut"),
        ([([("lost", 0.1, None)], F), ([("lost too", 0.4, None)], F)], True, "lost too"),
        ([([], F)], True, None),
        ([], True, None),
    ],
)
@pytest.mark.parametrize("aggregation", ["last", "best_reward"])
def test_which_trajectories_it_is_one_of(trajectories, cut_votes, text, aggregation):
    result, found = best_of(ended(*trajectories), cut_votes=cut_votes, aggregation=aggregation)
    assert found == text
    assert result.answer is None
    assert result.aggregation == (aggregation if text is None else "best_reward")


def test_what_may_not_vote_gives_no_answer_but_its_text():
    state = ended(([("The answer is 7.\n", 0.9, None)], F))
    for aggregation in ("last", "best_reward"):
        result, text = best_of(state, aggregation=aggregation)
        assert (result.answer, text) == (None, "The answer is 7.\n")


def test_without_rewards_the_likeliest_per_token_is_the_answer():
    long, short = [("aaaa", None, -2.0), ("bbbb", None, -2.0)], [("cc", None, -1.5)]
    untold = [("dd", None, None)]
    assert best_of(ended((untold, A), (short, A), (long, A)), aggregation="majority")[1] == "aaaabbbb"
    assert best_of(ended((untold, A), ([("ee", None, None)], A)), aggregation="majority")[1] == "dd"
    rewarded = [("ff", 0.0, -90.0)]
    assert best_of(ended((long, A), (rewarded, A)))[1] == "ff"  # any reward goes before none


async def test_a_plain_majority_without_a_reward_model_has_a_best_too():
    result = await run("best_of_n", 5, write=poem, reward_model=None, aggregation="majority")
    assert result.best is result.trajectories[0]  # the script tells no log probabilities
    assert all(math.isnan(reward) for reward in result.best.rewards)


async def test_a_search_that_failed_altogether_has_nothing_to_show():
    class Broken:
        """Fails at everything."""

        def __init__(self):
            self.inner = ScriptedGenerator(poem)

        def __getattr__(self, name):
            return getattr(self.inner, name)

        async def generate(self, request):
            raise EngineError("no")

    result = await run("rebase", 4, generator=Broken(), aggregation="best_reward")
    assert (result.stop_reason, result.best, result.answer) == (StopReason.FAILED, None, None)
    assert result.to_dict()["best"] is None


async def test_where_every_score_is_lost_what_was_written_is_shown():
    class Blind(ScriptedRewardModel):
        async def score(self, trajectory, first):
            raise RewardError("no", retryable=False)

    result = await run("rebase", 4, write=poem, reward_model=Blind(likes))
    assert result.stop_reason is StopReason.FAILED
    assert result.best is result.trajectories[0]
    assert (result.best.end_reason, result.answer) == (EndReason.FAILED, None)


def sometimes(so_far: str, rng: random.Random) -> str:
    """Solutions of two to five steps, of which few state an answer."""
    lines = so_far.splitlines()[1:]
    if len(lines) < 2 or (len(lines) < 5 and rng.random() < 0.4):
        return f"take {rng.choice('aab')}\n"
    return "The answer is 7." if rng.random() < 0.05 else f"nothing {rng.randrange(9)}"


def coarse(question, steps) -> float:
    """A reward of all steps with few values, so that many are equal."""
    del question
    return sum(map(ord, "".join(steps))) % 5 / 4


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(STRATEGIES_HERE),
    st.integers(1, 24),
    st.integers(0, 10**6),
    st.sampled_from(list(Aggregation)),
    st.booleans(),
)
def test_an_early_stop_is_lossless_where_few_state_an_answer(strategy, width, seed, aggregation, merge):
    def run_it(*, early_stop):
        arguments = {"aggregation": aggregation, "merge": merge, "limits": Limits(max_depth=5)}
        generator = Streams(sometimes, seed)
        return asyncio.run(
            run(strategy, width, generator=generator, reward_of=coarse, early_stop=early_stop, **arguments)
        )

    whole, early = run_it(early_stop=False), run_it(early_stop=True)
    assert (early.answer, early.aggregation) == (whole.answer, whole.aggregation)
    if early.aggregation is Aggregation.BEST_REWARD:
        assert early.stop_reason is not StopReason.DECIDED
        assert early.trajectories == whole.trajectories
        assert early.best.node == whole.best.node


def test_it_is_never_decided_early():
    running = RunningVote(SearchState(SearchTree("q", [1])), SearchSettings(4, aggregation="best_reward"))
    for _ in range(4):
        running.add("7", (1.0,), EndReason.ANSWERED)
    assert not running.is_decided(0, 0.0)


async def test_a_cut_search_gives_the_best_so_far():
    limits = Limits(max_generated_tokens=200)
    result = await run("rebase", 16, write=poem, reward_of=likes, limits=limits, aggregation="best_reward")
    assert result.best is None or not math.isnan(result.best.rewards[-1])


def test_a_run_keeps_what_was_chosen_and_what_others_state(tmp_path):
    evaluate(tmp_path / "run", aggregation="best_reward", widths=[8])
    evaluate(tmp_path / "voted", widths=[8], early_stop=False)
    chosen, voted = (read_run(tmp_path / name).records for name in ("run", "voted"))
    assert {r.aggregation for r in chosen} == {"best_reward"}
    assert {r.aggregation for r in voted} == {"last"}
    others = {record.key: record for record in voted}
    for record in chosen:
        assert record.answer == record.answers[0]  # in this world every trajectory states one
        assert set(record.answers) == set(others[record.key].answers)
        best = max(record.trajectories, key=lambda trajectory: trajectory[1])
        assert record.answers[best[0]] == record.answer
        assert record.right["corrected"] == (0 in record.right_answers["corrected"])
    assert searches(tmp_path / "run")


def test_records_from_before_are_read():
    plain = SearchRecord(problem="p", strategy="ets", width=4, seed=0, gold="7").model_dump(mode="json")
    assert plain.pop("aggregation") == ""
    assert SearchRecord.model_validate(plain).aggregation == ""


def test_the_page_shows_the_trajectory_that_was_chosen():
    state = ended(([("x", 0.1, None)], A), ([("y", 0.7, None)], A))
    values = to_view("t", state, SearchSettings(4), "completed").values
    assert (values["answer"], values["votes"], values["best"]) == (None, [], 2)
    voted = ended(([("The answer is 7.", 0.1, None)], A))
    assert to_view("t", voted, SearchSettings(4), "completed").values["best"] is None
    lost = ended(([("x", 0.1, None)], F))
    assert to_view("t", lost, SearchSettings(4), "failed").values["best"] is None

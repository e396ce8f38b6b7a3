"""A question with what was said before it: checked as a kind, shown to the generator and to the reward model."""

import json

import pytest
from tests.unit.test_room import ShortModel
from tests.worlds import PROBLEM, reward_of, run, write

from etsearch import Message, Problem
from etsearch.errors import ConfigError
from etsearch.evaluation.datasets import Dataset
from etsearch.generators.base import ReadsConversations
from etsearch.generators.scripted import ScriptedGenerator
from etsearch.loop.events import Selected
from etsearch.loop.state import SearchState
from etsearch.prms.scripted import ScriptedRewardModel
from etsearch.tree import ROOT

BEFORE = (Message("system", "Be brief."), Message("user", "Count."), Message("assistant", "One, two."))
ASKED = Problem(PROBLEM.question, messages=BEFORE)
TRANSCRIPT = f"System: Be brief.\n\nUser: Count.\n\nAssistant: One, two.\n\nUser: {PROBLEM.question}"


class Conversing:
    """The scripted generator with a chat template of its own: a line for what was said before."""

    def __init__(self, write=write):
        self.inner = ScriptedGenerator(write)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def encode_conversation(self, messages, question):
        said = " / ".join(f"{m.role}: {m.content}" for m in messages)
        return await self.inner.encode(f"{said} / user: {self.format.prompt(question)}")


@pytest.mark.parametrize("role", ["tool", "System", "", None, ["user"]])
def test_a_message_has_one_of_three_roles(role):
    with pytest.raises(ConfigError, match=r"role of a message is .*choose one of system, user, assistant"):
        Message(role, "x")


@pytest.mark.parametrize(("content", "told"), [(None, "a NoneType"), ("a\ud800", "half a character"), ([], "a list")])
def test_a_message_holds_a_text(content, told):
    with pytest.raises(ConfigError, match=f"the content of the user's message.*{told}"):
        Message("user", content)


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ("hello", "give a tuple of etsearch.Message"),
        ([Message("user", "x")], "give a tuple of etsearch.Message"),
        (({"role": "user", "content": "x"},), "give a tuple of etsearch.Message"),
        ((Message("user", "x"), Message("system", "y")), "message 2 is the system's; only the first may be"),
        ((*BEFORE, Message("system", "y")), "message 4 is the system's; only the first may be"),
    ],
)
def test_messages_that_are_no_conversation(messages, told):
    with pytest.raises(ConfigError, match=told):
        Problem("x?", messages=messages)


def test_turns_may_follow_one_another_in_any_order():
    turns = tuple(Message(role, "x") for role in ("assistant", "assistant", "user", "user"))
    assert Problem("y?", messages=turns).messages == turns


def test_a_transcript_is_the_question_alone_or_with_what_was_said_before():
    assert PROBLEM.transcript == PROBLEM.question
    assert Problem(" as it is\n").transcript == " as it is\n"
    assert ASKED.transcript == TRANSCRIPT


async def test_a_search_shows_the_generator_and_the_reward_model_the_conversation():
    generator, read = Conversing(), set()

    def note(question, steps):
        read.add(question)
        return reward_of(question, steps)

    result = await run("rebase", 8, problem=ASKED, generator=generator, reward_of=note)
    plain = await run("rebase", 8)
    prompt = f"system: Be brief. / user: Count. / assistant: One, two. / user: {PROBLEM.question}\n"
    assert generator.decode(result.tree.prefix(ROOT)) == prompt
    assert all(generator.decode(request.prefix).startswith(prompt) for request in generator.requests)
    assert read == {TRANSCRIPT}
    assert result.question == result.to_dict()["question"] == TRANSCRIPT
    assert result.trajectories == plain.trajectories  # the script reads the steps alone


async def test_the_room_is_that_of_the_conversation():
    model = ShortModel(5000)
    await run("rebase", 4, problem=ASKED, generator=Conversing(), reward_model=model)
    assert model.asked == [(TRANSCRIPT, 25)]


async def test_a_generator_without_a_chat_template_says_so():
    assert not isinstance(ScriptedGenerator(write), ReadsConversations)
    with pytest.raises(ConfigError, match=r"write reads one question alone: .*or put what was said before into the"):
        await run("rebase", 4, problem=ASKED)


async def test_a_search_of_a_conversation_goes_on_from_a_state():
    kept = []

    def keep(event):
        if isinstance(event, Selected):
            kept.append(json.dumps(event.state.to_dict()))

    straight = await run("ets", 8, problem=ASKED, generator=Conversing(), on_event=keep)
    for text in kept:
        state = SearchState.from_dict(json.loads(text))
        resumed = await run("ets", 8, problem=ASKED, generator=Conversing(), resume=state)
        assert resumed.question == TRANSCRIPT
        assert resumed.trajectories == straight.trajectories
    for other in (PROBLEM, Problem(PROBLEM.question, messages=BEFORE[:1])):
        state = SearchState.from_dict(json.loads(kept[0]))
        with pytest.raises(ConfigError, match="another prompt; it belongs to another question or conversation"):
            await run("ets", 8, problem=other, generator=Conversing(), resume=state)


async def test_a_reward_model_may_read_the_transcript_as_its_question():
    scores = await ScriptedRewardModel(lambda question, _: float("Count." in question)).score(
        (await run("rebase", 2, problem=ASKED, generator=Conversing())).tree.trajectory(1), 0
    )
    assert scores.rewards == (1.0,)


def test_a_data_set_keeps_what_was_said_before():
    data = Dataset.of([ASKED, Problem("x?", "1")], "few")
    assert data.problems[0].messages == BEFORE
    alone = Dataset.of([PROBLEM, Problem("x?", "1")], "few")
    assert data.sha256 != alone.sha256

"""its_hub's beam search, given the engine as its AbstractLanguageModel and AbstractProcessRewardModel.

Both are asynchronous and take batches: a language model is handed all conversations of a depth at once. Each candidate
is a conversation of its own, though most are copies of one another; ``Door`` folds those.
"""

import asyncio

from door import ANSWER, steps_of
from its_hub.api import AbstractLanguageModel, AbstractProcessRewardModel
from its_hub.core.algorithms.beam_search import BeamSearch
from its_hub.core.lms.step_generation import StepGeneration


class Model(AbstractLanguageModel):
    """Continues the assistant's turn of each conversation by a step, which comes without its delimiter."""

    def __init__(self, door):
        self._door = door

    async def agenerate(self, messages, stop=None, **_):
        if stop != "\n":
            raise ValueError(f"steps of minimath end with a newline, not {stop!r}")
        asks = [(turns[0].content, steps_of(turns[1].content) if len(turns) > 1 else ()) for turns in messages]
        steps = await self._door.write_each(asks)
        return [{"role": "assistant", "content": step.text} for step in steps]


class Judge(AbstractProcessRewardModel):
    """The reward of each response's last step."""

    def __init__(self, door):
        self._door = door

    async def ascore(self, prompt_or_messages, steps):
        return await asyncio.gather(*(self._door.reward(prompt_or_messages, steps_of(text)) for text in steps))

    def score(self, prompt_or_messages, steps):
        return asyncio.run(self.ascore(prompt_or_messages, steps))


async def solve(parts, problem):
    """The response with the highest reward, which is its_hub's own choice."""
    terms = parts.terms
    # A candidate is stopped by the step after ``max_steps``.
    steps = StepGeneration(terms.max_steps - 1, "\n", ANSWER, temperature=terms.sampling.temperature)
    search = BeamSearch(steps, Judge(parts.door), beam_width=terms.keep)
    return (await search.ainfer(Model(parts.door), problem.question, budget=terms.width))["content"]

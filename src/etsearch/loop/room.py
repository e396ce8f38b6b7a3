"""Room: how many tokens a trajectory may have, so that generator and reward model can hold it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from etsearch.errors import QuestionError
from etsearch.loop.parts import Parts
from etsearch.loop.settings import SearchSettings
from etsearch.prms.base import TellsRoom


@runtime_checkable
class TellsContext(Protocol):
    """A generator that knows how much it holds."""

    @property
    def context_tokens(self) -> int | None:
        """Tokens of prompt and trajectory together; None where nobody tells."""
        ...


async def fit(
    parts: Parts, settings: SearchSettings, question: str, prompt_ids: Sequence[int]
) -> tuple[SearchSettings, tuple[str, ...]]:
    """The settings with ``max_tokens`` as low as generator and reward model need it, and a note where that is lower.

    A reward model with another tokenizer counts other tokens: of it this is an estimate.

    Raises:
        QuestionError: one of them cannot hold the question.
    """
    told: dict[str, int] = {}
    if isinstance(parts.generator, TellsContext) and (context := parts.generator.context_tokens) is not None:
        told["the generator"] = context - len(prompt_ids)
    if isinstance(parts.reward_model, TellsRoom):
        room = await parts.reward_model.room(question, settings.limits.max_depth)
        if room is not None:
            told["the reward model"] = room
    if not told or min(told.values()) >= settings.limits.max_tokens:
        return settings, ()
    who = min(told, key=told.__getitem__)
    if told[who] < 1:
        raise QuestionError(
            f"the question is too long for {who}: with {settings.limits.max_depth} steps it leaves "
            f"{told[who]} tokens; shorten it, lower max_depth, or take a model with a longer context"
        )
    limits = replace(settings.limits, max_tokens=told[who])
    note = f"max_tokens was lowered from {settings.limits.max_tokens} to {told[who]}: {who} holds no more"
    return replace(settings, limits=limits), (note,)

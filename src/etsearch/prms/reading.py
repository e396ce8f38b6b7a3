"""From a trajectory to what a PRM reads: token ids, and the positions to read at.

Every piece of text (the question in its template, each step with what leads to it, the tag) is tokenised by itself,
once,
and positions are counted, never searched for: a step may contain the tag. Whole texts tokenised again would differ from
step to step, and no prefix cache would hit.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, final

from etsearch.errors import ConfigError, RewardError
from etsearch.models.codec import Codec
from etsearch.prms.families import QUESTION, STEP, Head, PrmFamily
from etsearch.types import Trajectory

KEPT_QUESTIONS: Final = 1024
"""Questions that are remembered as the model reads them: looking at one may take a millisecond."""
KEPT_TEXTS: Final = 65_536
"""Texts whose tokens are remembered; a step is read again with each step after it."""

_Q: Final = "Qqq0question0qqQ"
_S: Final = "Sss{}step{}ssS"
_L: Final = "Lll{}label{}llL"
"""Stand-ins that find their places in a chat template again."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model reads: all ids, and the positions in them to read at, one a step that was asked for."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]

    def up_to(self, position: int) -> tuple[int, ...]:
        """The ids that a position depends on."""
        return self.ids[: position + 1]


@dataclass(frozen=True, slots=True)
class _Layout:
    """The texts around question and steps."""

    start: str
    before_first: str
    before_later: str
    tag: str


@final
class PrmReader:
    """Turns trajectories into readings, by a family's row and a tokenizer.

    Args:
        family: the row.
        codec: the PRM's tokenizer.
        read_question: called with each question; gives the question as the model reads it, or raises ConfigError.

    Raises:
        ConfigError: a label is not one token, the tag is none, an id is not what the row says, or a chat template or a
            starting token is needed that the tokenizer does not have.
    """

    def __init__(self, family: PrmFamily, codec: Codec, read_question: Callable[[str], str] = str) -> None:
        self.family, self._codec = family, codec
        self._question = lru_cache(KEPT_QUESTIONS)(lambda question: read_question(question).strip())
        self._known: OrderedDict[tuple[str, bool], tuple[int, ...]] = OrderedDict()
        self._layout = _chat_layout(family, codec) if family.chat else _plain_layout(family, codec)
        self._anchor = self._layout.tag
        self._anchor_ids = codec.encode_now(self._anchor)
        self._tag = self._in_context(codec.encode_now(self._anchor + self._layout.tag)) or tuple(self._anchor_ids)
        if not self._tag:
            raise ConfigError(f"the tag {self._layout.tag!r} of {family.name} has no token in this tokenizer")
        if family.tag_id is not None and self._tag[-1] != family.tag_id:
            raise ConfigError(
                f"the tag {family.tag!r} of {family.name} ends in the token {self._tag[-1]} of this tokenizer; "
                f"the family's is {family.tag_id}. Give the model's family, or a .yaml file"
            )
        self.label_ids = self._labels() if family.head is Head.LABELS else None

    @property
    def tag_id(self) -> int:
        """The token at which the model is read."""
        return self._tag[-1]

    def text(self, ids: tuple[int, ...]) -> str:
        """The text of ids that were read."""
        return self._codec.decode_now(ids)

    def _labels(self) -> tuple[int, int]:
        expected = self.family.label_ids or (None, None)
        found = self._label(self.family.good, expected[0]), self._label(self.family.bad, expected[1])
        if self.family.label_ids not in (None, found):
            raise ConfigError(
                f"the labels {self.family.good!r} and {self.family.bad!r} of {self.family.name} are the tokens "
                f"{found} of this tokenizer; the family's are {self.family.label_ids}. Give the model's family"
            )
        return found

    def _label(self, label: str, expected: int | None) -> int:
        """A label as one token: as a text of its own (with the space that some tokenizers put there) or after a tag."""
        alone = tuple(self._codec.encode_now(label))
        after = self._in_context(self._codec.encode_now(self._anchor + label)) or alone
        found = [ids[0] for ids in (alone, after) if len(ids) == 1]
        if not found:
            raise ConfigError(
                f"the label {label!r} must be one token of the PRM's tokenizer; it is {len(alone)}: {list(alone)}"
            )
        return expected if expected in found else found[0]

    def _in_context(self, whole: list[int]) -> tuple[int, ...] | None:
        """The ids after the anchor's; None where the anchor's do not stand before them as they are alone."""
        count = len(self._anchor_ids)
        return tuple(whole[count:]) if whole[:count] == self._anchor_ids else None

    async def _ids(self, text: str, *, starts: bool) -> tuple[int, ...]:
        """Token ids of a piece: of a text that starts an input, or of one that follows a tag."""
        key = text, starts
        if key not in self._known:
            if starts:
                has_start = self._codec.renders_start if self.family.chat else "{bos}" in self.family.template
                ids = tuple(await self._codec.encode(text, special=not has_start))
            else:
                found = self._in_context(await self._codec.encode(self._anchor + text))
                ids = tuple(await self._codec.encode(text)) if found is None else found
            self._known[key] = ids
            while len(self._known) > KEPT_TEXTS:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return self._known[key]

    async def read(self, trajectory: Trajectory, first: int) -> list[Reading]:
        """What is read for the steps ``first`` to last: one reading, or one a step where tags are not kept.

        Raises:
            RewardError: ``first`` is no step of the trajectory.
            ConfigError: the model cannot read the question.
        """
        if not 0 <= first < len(trajectory.steps):
            raise RewardError(
                f"first is {first}; the trajectory has steps 0 to {len(trajectory.steps) - 1}", retryable=False
            )
        start = self._layout.start.replace(_Q, self._question(trajectory.question))
        ids = list(await self._ids(start, starts=True))
        readings, positions = [], []
        for index, step in enumerate(trajectory.steps):
            before = self._layout.before_later if index else self._layout.before_first
            ids += await self._piece(before, self._format_step(step.text, index + 1))
            if not self.family.keeps_tag:
                if index >= first:
                    readings.append(Reading((*ids, *self._tag), (len(ids) + len(self._tag) - 1,)))
                continue
            ids += self._tag
            if index >= first:
                positions.append(len(ids) - 1)
        return readings or [Reading(tuple(ids), tuple(positions))]

    async def room(self, question: str, num_steps: int, context_tokens: int) -> int:
        """Tokens that ``num_steps`` steps may have together in so long a context; below 0 if it holds none."""
        start = await self._ids(self._layout.start.replace(_Q, self._question(question)), starts=True)
        empty = [
            await self._piece(before, self._format_step("", num_steps))
            for before in (self._layout.before_first, self._layout.before_later)
        ]
        around = max(map(len, empty)) + (len(self._tag) if self.family.keeps_tag else 0)
        return context_tokens - len(start) - num_steps * around - len(self._tag)

    async def _piece(self, before: str, step: str) -> tuple[int, ...]:
        return await self._ids(before + step, starts=False) if before + step else ()

    def _format_step(self, text: str, number: int) -> str:
        """A step as the family writes it."""
        family, text = self.family, text.strip()
        if family.taken_off:
            text = text.removesuffix(family.taken_off).rstrip()
        if family.newline is not None:
            text = text.replace("\n", family.newline)
        if family.numbering and re.match(family.numbering, text):
            return text
        return family.step.replace("{number}", str(number)).replace(STEP, text)


def _plain_layout(family: PrmFamily, codec: Codec) -> _Layout:
    start = family.template
    if "{bos}" in start:
        if codec.starts_with is None:
            raise ConfigError(
                f"{family.name} starts with the tokenizer's first token (bos), which nobody tells here; give the "
                "folder of its tokenizer: tokenizer=PATH"
            )
        start = start.replace("{bos}", codec.starts_with)
    return _Layout(start.replace(QUESTION, _Q), family.before_first, family.before_later, family.tag)


def _chat_layout(family: PrmFamily, codec: Codec) -> _Layout:
    """The texts of a chat template around stand-ins for the question, two steps, and the labels after them."""
    turns = [(role, content.replace(QUESTION, _Q).replace(STEP, _S.format(1, 1))) for role, content in family.chat]
    turns += [(role, content.replace(STEP, _S.format(2, 2))) for role, content in family.later]
    is_answered = turns[-1][0] == "assistant"
    if family.later:
        turns = _with_labels(turns)
    text = codec.render_now(turns, opens_answer=not is_answered)
    if text is None:
        raise ConfigError(f"{family.name} needs a chat template, and the tokenizer has none; give one: tokenizer=PATH")
    head, one, rest = text.partition(_S.format(1, 1))
    if not one or _Q not in head:
        raise ConfigError(f"the chat template drops the question or a step; it gives {text[:200]!r}")
    start = head.rstrip(" ")
    before_first = family.before_first or head[len(start) :]
    if not family.later:
        return _Layout(start, before_first, family.before_later, family.tag or rest)
    tag, label, rest = rest.partition(_L.format(1, 1))
    before, two, _ = rest.partition(_S.format(2, 2))
    if not label or not two:
        raise ConfigError(f"the chat template drops a turn; it gives {text[:400]!r}")
    return _Layout(start, before_first, family.good + before, tag)


def _with_labels(turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Stand-ins for what the assistant says."""
    number, out = 0, []
    for role, content in turns:
        if role == "assistant":
            number += 1
            out.append((role, _L.format(number, number)))
        else:
            out.append((role, content))
    return out

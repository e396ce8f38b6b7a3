"""Label PRMs: a language model that is read at a tag after each step, as a softmax over two label tokens.

Source: Math-Shepherd (Wang et al., 2024), whose PRM answers ``+`` or ``-`` at the tag of each step. Here is what such a
model reads and where it is read; a backend computes the logits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self, final

from etsearch.errors import ConfigError, RewardError
from etsearch.model_files import read_description
from etsearch.types import Trajectory

KEPT_TEXTS = 65_536
"""Texts whose tokens are remembered; a step is read again with each step after it."""
KEPT_QUESTIONS = 1024
"""Questions whose tokens are remembered."""


@dataclass(frozen=True, slots=True)
class LabelSpec:
    """How a label PRM is read.

    ``template`` holds ``{question}`` once. Each step, without white space around it, is followed by ``tag``; the
    model's logits of ``good`` and ``bad``, one token each, are read at the last token of the tag.
    """

    template: str
    tag: str
    good: str
    bad: str

    def __post_init__(self) -> None:
        if not all(isinstance(text, str) for text in (self.template, self.tag, self.good, self.bad)):
            raise ConfigError(f"template, tag, good and bad of a label PRM are texts; they are {self}")
        if self.template.count("{question}") != 1:
            raise ConfigError(f"the PRM's template must hold '{{question}}' once; it is {self.template!r}")
        if not (self.tag and self.good and self.bad) or self.good == self.bad:
            raise ConfigError(f"a label PRM needs a tag and two different labels; they are {self}")

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The entry ``label_prm`` of the folder's ``etsearch.json``; None if there is none."""
        entry = read_description(folder, "label_prm")
        if entry is None:
            return None
        try:
            return cls(**entry)
        except TypeError as error:
            message = f"{folder / 'etsearch.json'}: 'label_prm' takes template, tag, good and bad: {error}"
            raise ConfigError(message) from error


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model reads for one trajectory: all ids, and the positions of the tags to read at."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]


@final
class LabelReader:
    """Turns trajectories into ids and positions to read at.

    Every step is tokenised by itself, once, and the positions are counted, never searched for: a step may
    contain the tag.

    Args:
        spec: How the PRM is read.
        encode: Token ids of a text, with the special tokens that start an input if the second argument is true.
        read_question: Called with each question; gives the question as the model reads it, or raises ConfigError.

    Raises:
        ConfigError: A label is not one token, or the tag is none.
    """

    def __init__(
        self,
        spec: LabelSpec,
        encode: Callable[[str, bool], list[int]],
        read_question: Callable[[str], str] = str,
    ) -> None:
        self.spec = spec
        self._prompt = lru_cache(KEPT_QUESTIONS)(
            lambda question: self._encode(spec.template.replace("{question}", read_question(question).strip()), True)
        )
        self._encode = lru_cache(KEPT_TEXTS)(lambda text, starts: tuple(encode(text, starts)))
        self.label_ids = self._label(spec.good), self._label(spec.bad)
        self._tag = self._encode(spec.tag, False)
        if not self._tag:
            raise ConfigError(f"the tag {spec.tag!r} has no token in this model's tokenizer")

    def _label(self, label: str) -> int:
        ids = self._encode(label, False)
        if len(ids) != 1:
            raise ConfigError(f"the label {label!r} must be one token of the PRM's tokenizer; it is {len(ids)}: {ids}")
        return ids[0]

    def read(self, trajectory: Trajectory, first: int) -> Reading:
        """The ids of a whole trajectory, and the positions of the steps ``first`` to last.

        Raises:
            RewardError: ``first`` is no step of the trajectory.
            ConfigError: The model cannot read the question.
        """
        if not 0 <= first < len(trajectory.steps):
            raise RewardError(f"first is {first}; the trajectory has steps 0 to {len(trajectory.steps) - 1}")
        ids, positions = list(self._prompt(trajectory.question)), []
        for step in trajectory.steps:
            ids += self._encode(step.text.strip(), False)
            ids += self._tag
            positions.append(len(ids) - 1)
        return Reading(tuple(ids), tuple(positions[first:]))

"""How each family of process reward models is read: one row a family, and no code path of its own.

A PRM reads a question and steps, and says something at the end of each step. A row says what text it reads, where it is
read, and what is made of what it says there. Users add rows as YAML files: ``vllm(family=FILE.yaml):…``.

Sources: the model cards and released code of each family; ``source`` names them.
"""

from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from etsearch.boundary.files import to_path
from etsearch.boundary.numbers import shown
from etsearch.boundary.plain import read_yaml
from etsearch.errors import ConfigError
from etsearch.models.files import read_description

QUESTION: Final = "{question}"
STEP: Final = "{step}"


class Head(StrEnum):
    """What is made of a position at which a PRM is read, as a reward in [0, 1]."""

    LABELS = "labels"
    """Softmax over the logits of two label tokens as the next token: the good one's share."""
    MEAN_LOGIT = "mean_logit"
    """Sigmoid of the mean of all logits of the vocabulary."""
    VALUE = "value"
    """Sigmoid of a head with one output."""
    CLASSES = "classes"
    """Softmax over a head with two outputs: the second one's share."""


class PrmFamily(BaseModel):
    """A row of the table.

    Attributes:
        name: what ``family=`` calls it.
        summary: one line for a person.
        source: where this was read.
        models: parts of model names by which the family is recognised, in lower case.
        template: the text before the first step, with ``{question}`` once; ``{bos}`` is the token that starts a text.
        chat: instead of ``template``, turns ``[role, content]`` of the model's own chat template. ``{question}`` and
            ``{step}`` stand in them once; what comes before ``{step}`` is read before the first step.
        later: further turns of a chat, one of each step after the first, with ``{step}`` once.
        step: how a step is written, with ``{step}`` and perhaps ``{number}``.
        numbering: a pattern; a step that matches it at its start brings its number along and gets none.
        before_first, before_later: what stands between the question and the first step, and between a tag and the next.
        tag: what follows a step; the model is read at its last token.
        tag_id: the id of that token in the family's tokenizer, checked where it is given.
        keeps_tag: whether the tag stays in the text when a further step follows it.
        taken_off: what is taken off the end of a step: a tag that the generator writes itself.
        newline: what a newline within a step becomes; it stays where this is None.
        head: what is made of a position.
        good, bad: the label tokens.
        label_ids: their ids in the family's tokenizer, checked where they are given.
        weights: of heads beside the language model, the names of its linear layers in the checkpoint, with a ReLU
            between.
        aggregation: how the authors make one reward of a trajectory's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    summary: str = ""
    source: str = ""
    models: tuple[str, ...] = ()
    template: str = ""
    chat: tuple[tuple[str, str], ...] = ()
    later: tuple[tuple[str, str], ...] = ()
    step: str = STEP
    numbering: str | None = None
    before_first: str = ""
    before_later: str = ""
    tag: str = ""
    tag_id: int | None = None
    keeps_tag: bool = True
    taken_off: str = ""
    newline: str | None = None
    head: Head = Head.LABELS
    good: str = ""
    bad: str = ""
    label_ids: tuple[int, int] | None = None
    weights: tuple[str, ...] = ()
    aggregation: str = "last"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        opening = "".join(content for _, content in self.chat) or self.template
        if bool(self.chat) == bool(self.template) or opening.count(QUESTION) != 1:
            raise ValueError(f"give either template or chat, with {QUESTION} once; it is {opening!r}")
        for turns, what in ((self.chat, "chat"), (self.later, "later")):
            if turns and "".join(content for _, content in turns).count(STEP) != 1:
                raise ValueError(f"{what} must hold {STEP} once; it is {turns}")
        if self.step.count(STEP) != 1:
            raise ValueError(f"step must hold {STEP} once; it is {self.step!r}")
        if not self.tag and not self.chat:
            raise ValueError("the tag is empty; give what follows a step")
        if self.head is Head.LABELS and (not self.good or not self.bad or self.good == self.bad):
            raise ValueError(f"two different labels are needed, good and bad; they are {self.good!r} and {self.bad!r}")
        return self

    @classmethod
    def of(cls, values: dict[str, Any], what: str) -> Self:
        """The row with these values. Raises ConfigError, which names the first that cannot be used."""
        try:
            return cls(**values)
        except (ValidationError, TypeError) as error:
            reason = str(error)
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
            raise ConfigError(f"{what}: {reason}") from None


FAMILIES: Final[dict[str, PrmFamily]] = {
    family.name: family
    for family in (
        PrmFamily(
            name="math_shepherd",
            summary="Math-Shepherd: + or - at the tag of each numbered step",
            source="Wang et al. 2024, model card of peiyi9979/math-shepherd-mistral-7b-prm",
            models=("math-shepherd",),
            template="{question}",
            step="Step {number}: {step}",
            numbering=r"Step\s+\d+\s*:",
            before_first=" ",
            before_later="\n",
            tag=" ки",
            taken_off="ки",
            tag_id=12902,
            good="+",
            bad="-",
            label_ids=(648, 387),
            aggregation="min",
        ),
        PrmFamily(
            name="llemma_reward",
            summary="the Llemma PRM of REBASE and ETS: the mean of all logits at the tag",
            source="Wu et al. 2024 (REBASE), released code of REBASE and ETS; tkitsers/Llemma-reward-model",
            models=("llemma-reward", "llemma_reward"),
            template="{question}",
            before_first="\n",
            before_later="\n",
            tag=" ки",
            taken_off="ки",
            tag_id=8094,
            head=Head.MEAN_LOGIT,
            aggregation="last",
        ),
        PrmFamily(
            name="rlhflow_deepseek",
            summary="RLHFlow PRM on Deepseek data: a turn for each step, + or - as the answer",
            source="RLHFlow/Llama3.1-8B-PRM-Deepseek-Data and RLHFlow/RLHF-Reward-Modeling",
            models=("prm-deepseek-data",),
            chat=(("user", "{question} {step}"), ("assistant", "+")),
            later=(("user", "{step}"), ("assistant", "+")),
            good="+",
            bad="-",
            label_ids=(10, 12),
            aggregation="mean",
        ),
        PrmFamily(
            name="rlhflow_mistral",
            summary="RLHFlow PRM on Mistral data: the same; its steps end with ки, which is taken off",
            source="RLHFlow/Llama3.1-8B-PRM-Mistral-Data and RLHFlow/RLHF-Reward-Modeling",
            models=("prm-mistral-data",),
            chat=(("user", "{question} {step}"), ("assistant", "+")),
            later=(("user", "{step}"), ("assistant", "+")),
            taken_off="ки",
            good="+",
            bad="-",
            label_ids=(10, 12),
            aggregation="mean",
        ),
        PrmFamily(
            name="skywork",
            summary="Skywork-o1 Open PRM: a value head at the end of each line",
            source="Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B and its skywork-o1-prm-inference",
            models=("skywork-o1-open-prm",),
            template="{bos}{question}\n",
            tag="\n",
            newline=" ",
            head=Head.VALUE,
            weights=("v_head.summary",),
            aggregation="mean",
        ),
        PrmFamily(
            name="qwen_prm",
            summary="Qwen2.5-Math-PRM: two classes at a tag of its own",
            source="Zhang et al. 2025, model card of Qwen/Qwen2.5-Math-PRM-7B",
            models=("qwen2.5-math-prm",),
            chat=(
                ("system", r"Please reason step by step, and put your final answer within \boxed{}."),
                ("user", "{question}"),
                ("assistant", "{step}"),
            ),
            tag="<extra_0>",
            tag_id=151651,
            head=Head.CLASSES,
            weights=("score.0", "score.2"),
            aggregation="min",
        ),
        PrmFamily(
            name="judge",
            summary="any chat model as a judge: the probability that it says Yes",
            source="LLM as a judge (Zheng et al. 2023), with the verdict's probability as the reward",
            chat=(
                (
                    "user",
                    (
                        "Question:\n{question}\n\nThe beginning of a solution:\n{step}\n\nIs every step of it correct, "
                        "and does it lead towards the answer? Reply with one word, Yes or No."
                    ),
                ),
            ),
            before_later="\n",
            keeps_tag=False,
            good="Yes",
            bad="No",
            aggregation="last",
        ),
    )
}
"""The families by name. One of a user's own is a YAML file, or the entry ``prm`` of its folder's ``etsearch.json``."""


def find_family(name: str | None, model: str, folder: Path | None = None) -> PrmFamily:
    """The family that is asked for, or the one that a model's folder or name tells.

    Args:
        name: a family, a YAML file of one, or None.
        model: the model's name.
        folder: its folder on this machine, where there is one; its ``etsearch.json`` may hold a row as ``prm``.

    Raises:
        ConfigError: there is no such family, or nothing tells it.
    """
    if name and name in FAMILIES:
        return FAMILIES[name]
    if name and Path(name).suffix in (".yaml", ".yml", ".json"):
        return _read_family(to_path(name, "the PRM family"))
    if name:
        raise ConfigError(f"there is no PRM family {name!r}; choose one of {_names()}, or give a .yaml file")
    if folder is not None and (row := read_family(folder)) is not None:
        return row
    found = [f for f in FAMILIES.values() if any(part in model.lower() for part in f.models)]
    if len(found) == 1:
        return found[0]
    raise ConfigError(
        f"nothing tells how the PRM {model!r} is read; give family={_names()}, or a .yaml file of your own"
    )


def _names() -> str:
    return ", ".join(FAMILIES)


def read_family(folder: Path) -> PrmFamily | None:
    """The row in a model folder's ``etsearch.json``: its entry ``prm``; None if there is none."""
    entry = read_description(folder, "prm")
    if entry is None:
        return None
    if set(entry) == {"family"}:
        return find_family(str(entry["family"]), folder.name)
    return PrmFamily.of({"name": folder.name, **entry}, f"{folder / 'etsearch.json'}: 'prm'")


def _read_family(path: Path) -> PrmFamily:
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the PRM family {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"the PRM family {path} holds no keys; write 'template: …', 'tag: …' and so on")
    base = values.pop("like", None)
    if base is not None and not (isinstance(base, str) and base in FAMILIES):
        raise ConfigError(f"{path}: 'like' is {shown(base)}; choose one of {_names()}")
    start = FAMILIES[base].model_dump(exclude_defaults=True, exclude={"models", "name"}) if base else {}
    return PrmFamily.of({"name": path.stem, **start, **values}, f"the PRM family {path}")

"""The values that pass between the parts. All are frozen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import ClassVar, Final, Literal, get_args

from etsearch.boundary.numbers import check_number, shown
from etsearch.boundary.texts import check_text
from etsearch.errors import ConfigError

Role = Literal["system", "user", "assistant"]
"""Who says something in a conversation."""
_ROLES: Final = get_args(Role)


class FinishReason(StrEnum):
    """Why the generator stopped writing a continuation."""

    STEP = "step"
    """It wrote the step delimiter."""
    END = "end"
    """It ended the solution (end-of-sequence token)."""
    LENGTH = "length"
    """It reached the token limit of a step."""


class EndReason(StrEnum):
    """Why a trajectory ended."""

    ANSWERED = "answered"
    """The generator ended it, or its last step holds an answer."""
    LENGTH = "length"
    """It reached the token limit of a trajectory, or of the engine's context."""
    DEPTH = "depth"
    """It was still open at the depth limit."""
    FAILED = "failed"
    """An expansion or a score failed for good; the failure is in the result."""


class StopReason(StrEnum):
    """Why a search stopped. ``message`` says it to a person."""

    COMPLETED = "completed"
    DECIDED = "decided"
    MAX_DEPTH = "max_depth"
    EXHAUSTED = "exhausted"
    FAILED = "failed"
    DEADLINE = "deadline"
    TOKENS = "tokens"
    LOAD = "load"

    @property
    def message(self) -> str:
        return {
            StopReason.COMPLETED: "The whole width was spent on completed trajectories.",
            StopReason.DECIDED: "No vote that was still to come could have changed the answer.",
            StopReason.MAX_DEPTH: "The depth limit was reached with trajectories still open. Try a larger max_depth.",
            StopReason.EXHAUSTED: "No open trajectory was given width, though width was left.",
            StopReason.DEADLINE: "The time was over (deadline_s); this is the best answer so far.",
            StopReason.TOKENS: "The tokens were used up (max_generated_tokens); this is the best answer so far.",
            StopReason.LOAD: "The width that other searches left of the KV cache was spent on completed trajectories.",
            StopReason.FAILED: "Every open trajectory was lost to failures of the engine or the reward model.",
        }[self]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: who says it: ``system``, ``user`` or ``assistant``.
        content: what is said, as it was said.

    Raises:
        ConfigError: another role; a content that is no text, or holds half a character.
    """

    role: Role
    content: str

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ConfigError(f"the role of a message is {shown(self.role)}; choose one of {', '.join(_ROLES)}")
        check_text(f"the content of the {self.role}'s message", self.content)


@dataclass(frozen=True, slots=True)
class Problem:
    """A question, with the reference answer where one is known (never shown to a strategy), and how hard it is.

    ``messages`` are what was said before the question: a system prompt, which comes first if there is one, and earlier
    turns of user and assistant. These may follow one another in any order; where a model's chat template asks for more,
    such as that they alternate, it says so. The question itself is the last turn, the user's, and not among them.

    Raises:
        ConfigError: a text that is none, or holds half a character; messages that are none, or a system message that is
            not the first.
    """

    question: str
    answer: str | None = None
    id: str = ""
    level: str = ""
    messages: tuple[Message, ...] = ()

    def __post_init__(self) -> None:
        for name in ("question", "answer", "id", "level"):
            if name != "answer" or self.answer is not None:
                check_text(f"the {name} of the problem", getattr(self, name))
        if not isinstance(self.messages, tuple) or not all(isinstance(m, Message) for m in self.messages):
            raise ConfigError(f"messages is {shown(self.messages)}; give a tuple of etsearch.Message")
        for number, message in enumerate(self.messages[1:], 2):
            if message.role == "system":
                raise ConfigError(f"message {number} is the system's; only the first may be: put them together there")

    @property
    def transcript(self) -> str:
        """The question as one reads it who is shown no conversation, such as a reward model.

        The question alone where nothing was said before it. Else every message, and the question as the user's last,
        begins with its role (``System:``, ``User:``, ``Assistant:``), and blank lines stand between them.
        """
        if not self.messages:
            return self.question
        turns = [*self.messages, Message("user", self.question)]
        return "\n\n".join(f"{turn.role.capitalize()}: {turn.content.strip()}" for turn in turns)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which part it was, for the record of a run; None where it cannot tell.

    ``sha256`` is of the model's files; ``num_parameters`` that of the network, for FLOPs; ``engine`` what runs it, with
    its version.
    """

    name: str
    sha256: str | None = None
    num_parameters: int | None = None
    engine: str | None = None


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How a question is put to a model, how its steps are told apart, and what ends its solutions.

    Attributes:
        template: holds ``{question}`` once.
        step_delimiter: ends a step and stays in it.
        chat: whether the filled template is the user's turn of the model's own chat template.
        system: the system's turn before it, for chat; a conversation that brings one of its own has that instead.
        ends: texts, case and all; a step that holds one ends its trajectory, beside the end of sequence. None: a stated
            answer does (see ``etsearch.answers``). Empty: nothing else does, as for a model that states answers while
            it thinks.
    """

    template: str
    step_delimiter: str
    chat: bool = False
    system: str = ""
    ends: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.template, str) or self.template.count("{question}") != 1:
            raise ConfigError(f"the prompt template must hold '{{question}}' once; it is {self.template!r}")
        if not isinstance(self.step_delimiter, str) or not self.step_delimiter:
            raise ConfigError("the step delimiter is empty; give the text that ends a step, such as '\\n\\n'")
        check_text("the system prompt of the format", self.system)
        if self.system and not self.chat:
            raise ConfigError("the format has a system prompt and no chat; set chat: true, or put it into the template")
        if self.ends is not None:
            if not isinstance(self.ends, tuple | list) or not all(isinstance(e, str) and e for e in self.ends):
                raise ConfigError(f"ends is {shown(self.ends)}; give a list of texts, none of them empty")
            object.__setattr__(self, "ends", tuple(self.ends))

    def turns(self, messages: Sequence[Message], question: str) -> tuple[Message, ...]:
        """A conversation up to the model's answer: the system's turn, what was said before, the filled template."""
        has_system = not self.system or any(message.role == "system" for message in messages)
        first = () if has_system else (Message("system", self.system),)
        return (*first, *messages, Message("user", self.prompt(question)))

    def prompt(self, question: str) -> str:
        return self.template.replace("{question}", question.strip())


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the generator samples.

    Attributes:
        temperature: sampling temperature, 0 (greedy) to 1,000; never T_R.
        top_p: share of the likeliest tokens that is sampled from, in (0, 1].
    """

    temperature: float = 1.0
    top_p: float = 1.0

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_number("the sampling temperature", self.temperature, 0, 1000)
        check_number("top_p", self.top_p, 0, 1, above=True)


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Asks for ``num_continuations`` continuations of one token-id prefix.

    A continuation ends with the first of ``stop`` (kept in it), with the end-of-sequence token, or after
    ``max_tokens`` tokens. The same request with the same ``seed`` asks for the same continuations. The requests of
    one search share ``search``, so that several servers can keep a tree on the one that has its prefixes.
    """

    prefix: tuple[int, ...]
    num_continuations: int
    max_tokens: int
    stop: tuple[str, ...]
    seed: int
    sampling: Sampling = field(default_factory=Sampling)
    search: str = ""


@dataclass(frozen=True, slots=True)
class Continuation:
    """What the generator wrote after a prefix: ids and their text, the stop string included.

    ``token_ids`` never hold the end-of-sequence token. ``log_probability`` is the sum over the tokens, in
    nats, under the sampling distribution; None where the engine gives none.
    """

    token_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    log_probability: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a solution as a process reward model reads it."""

    text: str
    token_ids: tuple[int, ...] = ()
    log_probability: float | None = None


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The path from the root to a node: the question (see ``Problem.transcript``) and the steps so far."""

    question: str
    steps: tuple[Step, ...]

    @property
    def text(self) -> str:
        return "".join(step.text for step in self.steps)


@dataclass(frozen=True, slots=True)
class Scores:
    """Rewards in [0, 1], one a step asked for, and the tokens of what was scored, shared ones counted each time."""

    rewards: tuple[float, ...]
    num_tokens: int


@dataclass(frozen=True, slots=True)
class EngineStats:
    """An engine's own figures; None where it cannot tell. Totals are since the engine started.

    ``cache_use`` is a share of the KV cache in [0, 1]; ``cache_capacity_tokens`` is the number of tokens it can hold.
    ``block_tokens`` is the number of tokens in a block of it, in whole ones of which every sequence has its room.
    ``prefix_query_tokens`` were asked of the prefix cache, ``prefix_hit_tokens`` of them were there;
    ``num_preemptions`` counts sequences that lost their place in the cache: 0 of an engine that is known to have had
    none, whether it counts them or cannot have any. An engine that is asked now and then shows little of a short
    search; one that sees every step of its own tells the peak between two looks too, see
    ``etsearch.generators.base.TellsPeak``.
    """

    cache_use: float | None = None
    cache_capacity_tokens: int | None = None
    prefix_query_tokens: int | None = None
    prefix_hit_tokens: int | None = None
    num_running: int | None = None
    num_waiting: int | None = None
    num_preemptions: int | None = None
    block_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """What the engine measured while a search ran, all searches in flight together; None where it cannot tell.

    Attributes:
        mean_cache_tokens, peak_cache_tokens: tokens in use in the KV cache while the search ran, those of other
            searches among them; None if no look at the engine fell into the time when it was at work, so never 0.
            The mean is over time, pauses of the engine among it.
        cache_capacity_tokens: what it can hold.
        peak_predicted_tokens: the largest prediction, summed over the searches in flight.
        mean_in_flight: searches in flight.
        prefix_query_tokens, prefix_hit_tokens: tokens asked of the prefix cache, and those that were there.
        num_preemptions: sequences that lost their place in the cache; 0 where there were none, not where none are told.
        peak_running, peak_waiting: sequences.
    """

    mean_cache_tokens: float | None = None
    peak_cache_tokens: float | None = None
    cache_capacity_tokens: int | None = None
    peak_predicted_tokens: int | None = None
    mean_in_flight: float | None = None
    prefix_query_tokens: int | None = None
    prefix_hit_tokens: int | None = None
    num_preemptions: int | None = None
    peak_running: int | None = None
    peak_waiting: int | None = None

    def plain(self) -> dict[str, float]:
        """The figures that there are."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class Level(StrEnum):
    """What a finding means for a search."""

    OK = "ok"
    NOTE = "note"
    """Works, but worse than it could, or not as one may expect."""
    BAD = "bad"
    """Would spoil a run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a part says of itself, or that was tried on it.

    Attributes:
        subject: what was tried.
        found: what came of it.
        means: what that means for a search, and the remedy where there is one.
        level: how bad it is.
    """

    subject: str
    found: str
    means: str = ""
    level: Level = Level.OK

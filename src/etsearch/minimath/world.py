"""Problems of the miniature world: quantities that depend on one another, told in shuffled sentences.

A problem of level ``n`` needs ``n`` arithmetic operations. Its facts form a dependency graph: some
quantities are given, the others follow from one or two others; facts that the answer does not need are
mixed in. Values are whole numbers from 1 to 50. The shipped models were trained on levels 1 to 6 with one such
fact at most; higher levels and more facts are there to be hard.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from etsearch.errors import QuestionError
from etsearch.minimath import language

MAX_LEVEL: Final = 6
"""The highest level of the problems that the shipped models were trained on, and of the standard splits."""
LEVELS: Final = range(1, MAX_LEVEL + 1)
HIGHEST_LEVEL: Final = 10
"""The highest level there is."""
MOST_DISTRACTORS: Final = 6
DISTRACTORS: Final = (0, 1, 1)
"""How many facts that the answer does not need; one of these."""
MAX_VALUE: Final = language.MAX_NUMBER
Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")

_KINDS, _KIND_WEIGHTS = ("more", "fewer", "times", "half", "sum"), (28, 22, 18, 10, 22)


@dataclass(frozen=True, slots=True)
class Fact:
    """One sentence of a problem: quantity ``name`` is given, or follows from others.

    ``operands`` are the names it depends on (none if given, two for a sum, else one); ``amount`` is the
    given value, the difference or the factor (0 for a sum; 2 for a half).
    """

    kind: str
    name: str
    operands: tuple[str, ...] = ()
    amount: int = 0

    def terms(self, values: dict[str, int]) -> tuple[int, str, int]:
        """The operation that yields this quantity: left term, operator, right term."""
        left = values[self.operands[0]]
        right = values[self.operands[1]] if self.kind == "sum" else self.amount
        return left, language.OPERATOR[self.kind], right

    def value(self, values: dict[str, int]) -> int | None:
        """The value of this quantity, or None if it is no whole number from 1 to 50."""
        if self.kind == "given":
            return self.amount
        left, op, right = self.terms(values)
        if op == "/":
            result = left // right if left % right == 0 else 0
        else:
            result = {"+": left + right, "-": left - right, "*": left * right}[op]
        return result if 1 <= result <= MAX_VALUE else None

    def text(self, phrasing: int) -> str:
        """The sentence, in one of the phrasings of its kind."""
        values: dict[str, str | int] = {"x": self.name, "v": self.amount}
        values |= dict(zip("yz", self.operands, strict=False))
        return language.fill(language.fact_templates(self.kind)[phrasing], **values)


@dataclass(frozen=True, slots=True)
class WordProblem:
    """A problem with what its text says: facts in the order told, and the quantity asked for."""

    question: str
    facts: tuple[Fact, ...]
    target: str

    @property
    def values(self) -> dict[str, int]:
        """The value of every quantity, distractors included."""
        values: dict[str, int] = {}
        waiting = list(self.facts)
        while waiting:
            ready = [f for f in waiting if all(o in values for o in f.operands)]
            if not ready:
                raise QuestionError(f"the facts do not determine {', '.join(f.name for f in waiting)}")
            for fact in ready:
                value = fact.value(values)
                if value is None:
                    raise QuestionError(f"the value of {fact.name} is no whole number from 1 to {MAX_VALUE}")
                values[fact.name] = value
            waiting = [f for f in waiting if f.name not in values]
        return values

    @property
    def answer(self) -> int:
        return self.values[self.target]

    def check(self) -> None:
        """Raises ConfigError if the facts give no answer: a circle, a value out of range, nothing about the target."""
        if self.target not in self.values:
            raise QuestionError(f"nothing says how many {self.target} there are; give a fact about them")

    @property
    def needed(self) -> tuple[Fact, ...]:
        """The facts that call for an operation and that the answer depends on."""
        by_name = {f.name: f for f in self.facts}
        needed: dict[str, Fact] = {}
        stack = [self.target]
        while stack:
            fact = by_name[stack.pop()]
            if fact.operands and fact.name not in needed:
                needed[fact.name] = fact
                stack.extend(fact.operands)
        return tuple(needed.values())

    @property
    def level(self) -> int:
        """The number of operations that the answer needs."""
        return len(self.needed)

    @property
    def digest(self) -> bytes:
        """What the problem says, whatever its wording and the order of its facts."""
        text = "|".join(sorted(repr((f.kind, f.name, sorted(f.operands), f.amount)) for f in self.facts))
        return hashlib.sha256(f"{text}?{self.target}".encode()).digest()

    @property
    def split(self) -> Split:
        """The one split this problem can belong to: its digest decides, so that splits never overlap."""
        return "test" if self.digest[0] < 16 else "validation" if self.digest[0] < 32 else "train"


def generate(rng: random.Random, level: int, distractors: Sequence[int] = DISTRACTORS) -> WordProblem:
    """A random problem that needs ``level`` operations, 1 to 10, and as many distractors as one of these numbers."""
    if not 1 <= level <= HIGHEST_LEVEL:
        raise ValueError(f"level is {level}; choose one from 1 to {HIGHEST_LEVEL}")
    facts = None
    while facts is None:
        facts = _needed_facts(rng, level)
    target = facts[-1].name
    facts += _distractors(rng, facts, rng.choice(distractors))
    rng.shuffle(facts)
    sentences = [f.text(rng.randrange(len(language.fact_templates(f.kind)))) for f in facts]
    sentences.append(language.fill(rng.choice(language.QUESTIONS), x=target))
    return WordProblem(" ".join(sentences), tuple(facts), target)


def _needed_facts(rng: random.Random, level: int) -> list[Fact] | None:
    """Given facts and ``level`` operations, the last of which needs all the others; None for a failed draw."""
    num_given = rng.choice((1, 2, 2, 3)[: level + 1])
    names = rng.sample(language.NAMES, num_given + level)
    facts = [Fact("given", name, (), rng.randint(2, 20)) for name in names[:num_given]]
    values = {f.name: f.amount for f in facts}
    unused = set(values)
    for name in names[num_given:]:
        fact = _operation(rng, name, sorted(unused) if rng.random() < 0.75 else sorted(values), sorted(values))
        value = fact.value(values) if fact else None
        if fact is None or value is None:
            return None
        facts.append(fact)
        unused = unused - set(fact.operands) | {name}
        values[name] = value
    return facts if unused == {names[-1]} else None


def _operation(rng: random.Random, name: str, preferred: list[str], known: list[str]) -> Fact | None:
    kind = rng.choices(_KINDS, _KIND_WEIGHTS)[0]
    first = rng.choice(preferred)
    if kind == "sum":
        others = [k for k in (preferred if len(preferred) > 1 else known) if k != first]
        return Fact(kind, name, (first, rng.choice(others))) if others else None
    amount = {"more": rng.randint(1, 9), "fewer": rng.randint(1, 9), "times": rng.randint(2, 4), "half": 2}[kind]
    return Fact(kind, name, (first,), amount)


def _distractors(rng: random.Random, facts: list[Fact], count: int) -> list[Fact]:
    """Facts that the answer does not need: given ones, or ones that depend on the needed."""
    values = {f.name: 0 for f in facts}
    for fact in facts:
        values[fact.name] = fact.value(values) or 0
    extra: list[Fact] = []
    names = rng.sample([n for n in language.NAMES if n not in values], count)
    for name in names:
        drawn = _operation(rng, name, sorted(values), sorted(values)) if rng.random() < 0.6 else None
        is_usable = drawn is not None and drawn.value(values) is not None
        fact = drawn if drawn and is_usable else Fact("given", name, (), rng.randint(2, 20))
        extra.append(fact)
        values[name] = fact.value(values) or 0
    return extra


def problems(
    split: Split,
    count: int,
    seed: int = 0,
    levels: Sequence[int] = LEVELS,
    distractors: Sequence[int] = DISTRACTORS,
) -> Iterator[WordProblem]:
    """``count`` distinct problems of a split, these levels in turn; the same seed gives the same problems."""
    rng = random.Random(f"minimath {split} {seed}")
    seen: set[bytes] = set()
    while len(seen) < count:
        problem = generate(rng, levels[len(seen) % len(levels)], distractors)
        if problem.split == split and problem.digest not in seen:
            seen.add(problem.digest)
            yield problem


def step_text(fact: Fact, values: dict[str, int], result: int, rng: random.Random) -> str:
    """The step that computes ``fact`` with this result, in a random phrasing; the terms of a sum in either order."""
    if fact.kind == "sum" and rng.random() < 0.5:
        fact = Fact(fact.kind, fact.name, fact.operands[::-1])
    left, op, right = fact.terms(values)
    said: dict[str, str | int] = {"x": fact.name, "op": op, "a": left, "b": right, "c": result, "v": fact.amount}
    said |= dict(zip("yz", fact.operands, strict=False))
    return language.fill(rng.choice(language.step_templates(fact.kind)), **said)


def solution(problem: WordProblem, rng: random.Random) -> list[str]:
    """A right solution: the needed steps in a random valid order, each in a random phrasing, then the answer."""
    values = {f.name: f.amount for f in problem.facts if not f.operands}
    waiting, steps = list(problem.needed), []
    while waiting:
        fact = rng.choice([f for f in waiting if all(o in values for o in f.operands)])
        value = fact.value(values)
        assert value is not None
        steps.append(step_text(fact, values, value, rng))
        values[fact.name] = value
        waiting.remove(fact)
    return [*steps, language.fill(language.ANSWER, v=values[problem.target])]


@cache
def _fact_patterns() -> list[tuple[str, re.Pattern[str]]]:
    kinds = ("given", *language.RELATIONS)
    return [(kind, language.pattern(t)) for kind in kinds for t in language.fact_templates(kind)]


def parse(question: str) -> WordProblem:
    """The problem that a text states, its lines broken anywhere; raises ConfigError on a sentence not of this world."""
    *sentences, last = re.findall(r"[^.?]+[.?]", " ".join(question.split())) or [""]
    asked = [m for t in language.QUESTIONS if (m := language.pattern(t).fullmatch(last.strip()))]
    if not asked:
        raise QuestionError(f"the last sentence asks for no quantity: {last.strip()!r}")
    facts = []
    for sentence in sentences:
        matches = [(k, m) for k, p in _fact_patterns() if (m := p.fullmatch(sentence.strip()))]
        if not matches:
            raise QuestionError(f"not a sentence of the miniature world: {sentence.strip()!r}")
        kind, match = matches[0]
        groups = match.groupdict()
        operands = tuple(groups[k] for k in "yz" if groups.get(k))
        facts.append(Fact(kind, groups["x"], operands, int(groups.get("v") or (2 if kind == "half" else 0))))
    return WordProblem(question, tuple(facts), asked[0]["x"])

"""Says of any prefix of steps whether it is right."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from etsearch.minimath import language
from etsearch.minimath.world import Fact, WordProblem


@dataclass(frozen=True, slots=True)
class StatedStep:
    """What a step says: the fact it follows from, and its computation with numbers."""

    fact: Fact
    left: int
    op: str
    right: int
    result: int


@cache
def _step_patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((kind, language.pattern(t)) for kind in language.OPERATOR for t in language.step_templates(kind))


def read_step(text: str) -> StatedStep | None:
    """What a step says; None if it is not a step of this world."""
    for kind, pattern in _step_patterns():
        if match := pattern.fullmatch(text.strip()):
            said = match.groupdict()
            operands = tuple(said[k] for k in "yz" if k in said)
            fact = Fact(kind, said["x"], operands, int(said.get("v", 2 if kind == "half" else 0)))
            return StatedStep(fact, int(said["a"]), said["op"], int(said["b"]), int(said["c"]))
    return None


def right_steps(problem: WordProblem, steps: Sequence[str]) -> list[bool]:
    """For every step, whether it and all before it are right.

    A step is right if it says a fact of the problem again and computes from it, with quantities that are given or
    computed by earlier steps, without a mistake; the terms of a sum may stand in either order. It need not be needed
    for the answer. The answer is right once the quantity asked for has been computed and has that value.
    """
    facts = {f.name: f for f in problem.facts if f.operands}
    values = {f.name: f.amount for f in problem.facts if not f.operands}
    verdicts: list[bool] = []
    for step in steps:
        if answer := language.pattern(language.ANSWER).fullmatch(step.strip()):
            is_right = values.get(problem.target) == int(answer["v"])
        else:
            said = read_step(step)
            is_right = said is not None and _follows(said, facts.get(said.fact.name), values)
            if said and is_right:
                values[said.fact.name] = said.result
        verdicts.append(is_right and (not verdicts or verdicts[-1]))
    return verdicts


def _follows(said: StatedStep, fact: Fact | None, values: dict[str, int]) -> bool:
    if fact is None or any(operand not in values for operand in fact.operands):
        return False
    if fact.kind == "sum" and said.fact.operands == fact.operands[::-1]:
        fact = said.fact
    computed = (said.left, said.op, said.right)
    return said.fact == fact and computed == fact.terms(values) and said.result == fact.value(values)


def first_mistake(problem: WordProblem, steps: Sequence[str]) -> str | None:
    """What is wrong with the first step that is; None if no step is."""
    verdicts = right_steps(problem, steps)
    if all(verdicts):
        return None
    number = verdicts.index(False)
    said = read_step(steps[number])
    if said is None:
        is_answer = language.pattern(language.ANSWER).fullmatch(steps[number].strip())
        return "wrong answer" if is_answer else "no step of this world"
    known = {f.name for f in problem.facts if not f.operands}
    known |= {right.fact.name for step in steps[:number] if (right := read_step(step))}
    fact = {f.name: f for f in problem.facts if f.operands}.get(said.fact.name)
    if fact is None or (fact.kind, fact.amount, set(fact.operands)) != (
        said.fact.kind,
        said.fact.amount,
        set(said.fact.operands),
    ):
        return "another fact"
    if not known.issuperset(fact.operands):
        return "a quantity that is not known yet"
    computed = {"+": said.left + said.right, "-": said.left - said.right, "*": said.left * said.right}
    is_exact = said.left == said.result * said.right if said.op == "/" else computed[said.op] == said.result
    return "another value" if is_exact else "arithmetic"

"""Says of any prefix of steps whether it is right."""

import re
from collections.abc import Sequence

from etsearch.expressions import language
from etsearch.expressions.world import Expression, ExpressionProblem, parse_expression, reductions

_STEP = re.compile(re.escape(language.STEP).replace(re.escape("{expression}"), "(.+)"))
_ANSWER = re.compile(re.escape(language.ANSWER).replace(re.escape("{value}"), r"(\d+)"))


def right_steps(problem: ExpressionProblem, steps: Sequence[str]) -> list[bool]:
    """For every step, whether it and all before it are right.

    A step is right if it is the expression of the step before, the value of one operation of two numbers in its place.
    The answer is right if the step before is that number.
    """
    expression: Expression | None = problem.expression
    verdicts: list[bool] = []
    for step in steps:
        if answer := _ANSWER.fullmatch(step.strip()):
            is_right = expression == int(answer[1])
        else:
            said = read_step(step)
            is_right = said is not None and expression is not None and said in reductions(expression)
            expression = said
        verdicts.append(is_right and (not verdicts or verdicts[-1]))
    return verdicts


def read_step(text: str) -> Expression | None:
    """The expression that a step states; None if it is not a step of this world."""
    match = _STEP.fullmatch(text.strip())
    return parse_expression(match[1]) if match else None


def first_mistake(problem: ExpressionProblem, steps: Sequence[str]) -> str | None:
    """What is wrong with the first step that is; None if no step is."""
    verdicts = right_steps(problem, steps)
    if all(verdicts):
        return None
    number = verdicts.index(False)
    if _ANSWER.fullmatch(steps[number].strip()):
        return "wrong answer"
    said = read_step(steps[number])
    if said is None:
        return "no step of this world"
    before = read_step(steps[number - 1]) if number else problem.expression
    if before is None:
        return "after the end"
    return "arithmetic" if _shape(said) in {_shape(one) for one in reductions(before)} else "another expression"


def _shape(expression: Expression) -> object:
    """The expression without its numbers."""
    if isinstance(expression, int):
        return 0
    return expression.op, _shape(expression.left), _shape(expression.right)

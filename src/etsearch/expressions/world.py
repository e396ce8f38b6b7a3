"""Problems of the world of expressions: arithmetic in brackets, worked out one operation at a time.

A problem of level ``n`` has ``n`` operations. A step writes the whole expression again, the value of one operation
whose terms are both numbers in its place; so steps grow shorter, there are as many as operations, and which operation
comes first is free. Values are whole numbers from 0 to 50. The shipped models were trained on levels 3 to 8.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from etsearch.errors import QuestionError
from etsearch.expressions import language

LEVELS: Final = range(3, 9)
"""The levels of the problems that the shipped models were trained on, and of the standard splits."""
LOWEST_LEVEL: Final = 2
"""The lowest level there is: there are few expressions of one operation, and a split holds a sixteenth of them."""
HIGHEST_LEVEL: Final = 12
"""The highest level there is."""
Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")

_WEIGHTS: Final = {"+": 4, "-": 4, "*": 3}
_LARGEST_LEAF: Final = 20


@dataclass(frozen=True, slots=True)
class Operation:
    """Two terms, each a number or an operation, and what is done with them."""

    left: "Expression"
    op: str
    right: "Expression"


Expression = int | Operation


def text_of(expression: Expression) -> str:
    """The expression with brackets around all operations but the outermost."""
    if isinstance(expression, int):
        return str(expression)
    left, right = (f"({text_of(e)})" if isinstance(e, Operation) else str(e) for e in _terms(expression))
    return f"{left} {expression.op} {right}"


def _terms(operation: Operation) -> tuple[Expression, Expression]:
    return operation.left, operation.right


def apply(left: int, op: str, right: int) -> int | None:
    """The value of one operation, or None if it is no whole number from 0 to 50."""
    value = {"+": left + right, "-": left - right, "*": left * right}[op]
    return value if 0 <= value <= language.MAX_NUMBER else None


def value_of(expression: Expression) -> int | None:
    """Its value, or None if that of any part is no whole number from 0 to 50."""
    if isinstance(expression, int):
        return expression if 0 <= expression <= language.MAX_NUMBER else None
    left, right = map(value_of, _terms(expression))
    return None if left is None or right is None else apply(left, expression.op, right)


def level_of(expression: Expression) -> int:
    """The number of its operations."""
    return 0 if isinstance(expression, int) else 1 + sum(map(level_of, _terms(expression)))


def reductions(expression: Expression) -> Iterator[Expression]:
    """What one right step can make of it: every way to work out one operation of two numbers."""
    if isinstance(expression, int):
        return
    left, right = _terms(expression)
    if isinstance(left, int) and isinstance(right, int):
        value = apply(left, expression.op, right)
        if value is not None:
            yield value
        return
    yield from (Operation(reduced, expression.op, right) for reduced in reductions(left))
    yield from (Operation(left, expression.op, reduced) for reduced in reductions(right))


_TOKENS: Final = re.compile(r"\s*(\d+|[()+*-])")


def parse_expression(text: str) -> Expression | None:
    """The expression that a text states, brackets around all its operations but the outermost; None if it is none."""
    found = _TOKENS.findall(text)
    if _TOKENS.sub("", text).strip():
        return None
    found.reverse()
    expression = _operation(found)
    return None if found else expression


def _operation(tokens: list[str]) -> Expression | None:
    """Reads a term, or two with an operator between them, off the end of the tokens, which are in reverse."""
    left = _term(tokens)
    if left is None or not tokens or tokens[-1] not in language.OPERATORS:
        return left
    op, right = tokens.pop(), _term(tokens)
    return None if right is None else Operation(left, op, right)


def _term(tokens: list[str]) -> Expression | None:
    if not tokens:
        return None
    sign = tokens.pop()
    if sign.isdecimal():
        return int(sign)
    if sign != "(":
        return None
    inner = _operation(tokens)
    return inner if isinstance(inner, Operation) and tokens and tokens.pop() == ")" else None


@dataclass(frozen=True, slots=True)
class ExpressionProblem:
    """An expression to work out."""

    expression: Expression

    @property
    def question(self) -> str:
        return language.QUESTION.format(expression=text_of(self.expression))

    @property
    def answer(self) -> int:
        value = value_of(self.expression)
        if value is None:
            raise QuestionError(
                f"a part of {text_of(self.expression)} is no whole number from 0 to {language.MAX_NUMBER}"
            )
        return value

    @property
    def level(self) -> int:
        """The number of operations."""
        return level_of(self.expression)

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(text_of(self.expression).encode()).digest()

    @property
    def split(self) -> Split:
        """The one split this problem can belong to: its digest decides, so that splits never overlap."""
        return "test" if self.digest[0] < 16 else "validation" if self.digest[0] < 32 else "train"


def generate(rng: random.Random, level: int) -> ExpressionProblem:
    """A random problem of ``level`` operations, 2 to 12."""
    if not LOWEST_LEVEL <= level <= HIGHEST_LEVEL:
        raise ValueError(f"level is {level}; choose one from {LOWEST_LEVEL} to {HIGHEST_LEVEL}")
    return ExpressionProblem(_draw(rng, level)[0])


def _draw(rng: random.Random, level: int) -> tuple[Expression, int]:
    """An expression of so many operations, and its value."""
    if level == 0:
        value = rng.randint(1, _LARGEST_LEAF)
        return value, value
    on_left = rng.randint(0, level - 1)
    (left, left_value), (right, right_value) = _draw(rng, on_left), _draw(rng, level - 1 - on_left)
    if left_value < right_value:
        left, left_value, right, right_value = right, right_value, left, left_value
    results = {op: apply(left_value, op, right_value) for op in language.OPERATORS}
    values = {op: result for op, result in results.items() if result is not None}
    (op,) = rng.choices([*values], [_WEIGHTS[op] for op in values])
    if op != "-" and rng.random() < 0.5:
        left, right = right, left
    return Operation(left, op, right), values[op]


def problems(split: Split, count: int, seed: int = 0, levels: Sequence[int] = LEVELS) -> Iterator[ExpressionProblem]:
    """``count`` distinct problems of a split, these levels in turn; the same seed gives the same problems."""
    rng = random.Random(f"expressions {split} {seed}")
    seen: set[bytes] = set()
    while len(seen) < count:
        problem = generate(rng, levels[len(seen) % len(levels)])
        if problem.split == split and problem.digest not in seen:
            seen.add(problem.digest)
            yield problem


def solution(problem: ExpressionProblem, rng: random.Random) -> list[str]:
    """A right solution: the operations in a random valid order, then the answer."""
    expression, steps = problem.expression, []
    while isinstance(expression, Operation):
        expression = rng.choice([*reductions(expression)])
        steps.append(language.STEP.format(expression=text_of(expression)))
    return [*steps, language.ANSWER.format(value=expression)]


def parse(question: str) -> ExpressionProblem:
    """The problem that a text states. Raises QuestionError if it states none."""
    before, _, after = language.QUESTION.partition("{expression}")
    asked = " ".join(question.split())
    if asked.startswith(before) and asked.endswith(after):
        expression = parse_expression(asked.removeprefix(before).removesuffix(after))
        if expression is not None:
            return ExpressionProblem(expression)
    example = language.QUESTION.format(expression="(3 + 4) * 2")
    raise QuestionError(f"not a question of the world of expressions: {asked!r}; write {example!r}")

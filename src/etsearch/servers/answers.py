"""What servers answer, checked as it comes in: each route's answer is a model, and what is none of it an error."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Protocol, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from etsearch.boundary.numbers import MOST_TOKENS
from etsearch.errors import BadResponseError
from etsearch.registry import reason_of

T = TypeVar("T")

Count = Annotated[int, Field(ge=0, le=MOST_TOKENS)]
"""A number of tokens, or of something else."""
Positive = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
TokenId = Annotated[int, Field(ge=0, lt=1 << 32)]
Figure = Annotated[float, Field(allow_inf_nan=False)]
"""A number that is one."""


class Answer(BaseModel):
    """What a server answers; what we do not read of it may be anything."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def as_list(value: Any) -> Any:
    """One answer, or a list of them, as a list."""
    return [value] if isinstance(value, dict) else value


OneOrMany = BeforeValidator(as_list)
"""Of a list: a server that was asked for one may give it without a list around it."""


class Tokens(Answer):
    """Of a tokenizer: the ids of a text."""

    tokens: list[TokenId]


class ServedModel(Answer):
    """An entry of a list of models."""

    id: Annotated[str, Field(min_length=1)]
    root: str | None = None
    max_model_len: Positive | None = None


class ServedModels(Answer):
    """The models that a server serves."""

    data: list[ServedModel]


TOKENS: Final = TypeAdapter(Tokens)
MODELS: Final = TypeAdapter(ServedModels)


def parse(value: Any, answer: TypeAdapter[T], where: str) -> T:
    """The answer as its model; ``where`` names the server and the route. Raises BadResponseError."""
    try:
        return answer.validate_python(value)
    except ValidationError as error:
        raise BadResponseError(f"{where} answered something else than it should: {reason_of(error)}") from None
    except RecursionError:
        raise BadResponseError(f"{where} answered something that is nested too deep") from None


class Numbered(Protocol):
    """An answer that says which of those that were asked for it is."""

    @property
    def index(self) -> int: ...


N = TypeVar("N", bound=Numbered)


def in_order(answers: Sequence[N], count: int) -> list[N]:
    """The answers by their number, which must be 0 to ``count - 1``. Raises BadResponseError."""
    expect(answers, count)
    by_index = {answer.index: answer for answer in answers}
    if by_index.keys() != set(range(count)):
        raise BadResponseError(
            f"the server numbered its {count} answers {sorted(by_index)[:8]}; they must be 0 to {count - 1}"
        )
    return [by_index[index] for index in range(count)]


def expect(answers: Sequence[Any], count: int) -> None:
    """Raises BadResponseError if a server gave another number of answers than it was asked for."""
    if len(answers) != count:
        raise BadResponseError(f"the server gave {len(answers)} answers; {count} were asked for")

"""What a recipe says of the servers of its models: its key ``serve``."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from etsearch.boundary.numbers import MOST_TOKENS, shown
from etsearch.errors import ConfigError
from etsearch.registry import reason_of

Engine = Literal["vllm", "sglang"]
Role = Literal["generator", "prm"]
ENGINES: Final = get_args(Engine)
ROLES: Final[tuple[Role, ...]] = get_args(Role)
MINIATURE: Final = "minimath"
"""Names the miniature model that ships, as ``model``."""
FIRST_PORT: Final = 8100
LAST_PORT: Final = 65_535
MOST_SERVERS: Final = 1024

_STRICT: Final = ConfigDict(extra="forbid", frozen=True)
_SECRET: Final = re.compile(r"TOKEN$|KEY$|SECRET|PASSWORD", re.IGNORECASE)
_VARIABLE: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)

_Count = Annotated[int, Field(ge=1, le=MOST_SERVERS)]
_Text = Annotated[str, Field(min_length=1)]


class ServedModel(BaseModel):
    """One model, and how it is served.

    Attributes:
        engine: the server, ``vllm`` or ``sglang``; a recipe calls the key ``with``.
        model: its folder on this machine, its name on the hub, or ``minimath``.
        host: the address on which it listens; loopback unless told.
        port: of the first replica, 1 to 65,535, those after it have the next ones; by default ones that are free.
        dtype: in what it computes; ``auto`` is float32 on a CPU.
        context_tokens: tokens of prompt and answer together; by default what the model can hold.
        memory: the share of a GPU's memory, above 0 and at most 1; by default the engine's own, or an equal part where
            servers share a GPU.
        gpus: the numbers of the GPUs; by default of all that there are those that serve least; empty for the CPU.
        tensor_parallel: GPUs that one replica is spread over.
        replicas: servers of the model, on one GPU each (or ``tensor_parallel``); they are one pool.
        block_tokens: prefixes are shared in whole blocks of so many tokens; by default 16 on vLLM (32 on a CPU) and 1
            on SGLang.
        options: of the server's command line, as they stand; they win over what is built.
        environment: variables of the server's environment beside those of ``ets up``.
        python: the interpreter that has the server installed; that of ``ets`` by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    engine: Engine = Field(alias="with")
    model: _Text
    host: _Text = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=LAST_PORT)] | None = None
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    context_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    memory: Annotated[float, Field(gt=0, le=1)] | None = None
    gpus: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    tensor_parallel: _Count = 1
    replicas: _Count = 1
    block_tokens: Annotated[int, Field(ge=1, le=65_536)] | None = None
    options: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    python: _Text | None = None

    @field_validator("options", mode="before")
    @classmethod
    def _number_options_are_texts(cls, value: Any) -> Any:
        return [_text(entry) for entry in value] if isinstance(value, list | tuple) else value

    @field_validator("environment", mode="before")
    @classmethod
    def _number_variables_are_texts(cls, value: Any) -> Any:
        return {key: _text(entry) for key, entry in value.items()} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in self.environment:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"environment names {shown(name)}, which is no variable; use letters, digits and '_'")
            if _SECRET.search(name):
                raise ValueError(
                    f"environment gives {name}, and a recipe is kept with its run: take it out, and set it in the "
                    "shell, whose environment the server has too"
                )
        if self.gpus is not None and len(set(self.gpus)) < len(self.gpus):
            raise ValueError(f"gpus is {list(self.gpus)}; name each once")
        wanted = self.tensor_parallel * self.replicas
        if self.gpus and wanted > len(self.gpus):
            raise ValueError(
                f"replicas {self.replicas} of tensor_parallel {self.tensor_parallel} need {wanted} GPUs, and gpus "
                f"names {len(self.gpus)}; name more, or lower one of them"
            )
        if self.gpus == () and self.tensor_parallel > 1:
            raise ValueError(f"tensor_parallel is {self.tensor_parallel} without GPUs; leave it out on a CPU")
        if self.port is not None and self.port + self.replicas - 1 > LAST_PORT:
            raise ValueError(
                f"port is {self.port}, and {self.replicas} replicas need the ports from there; the last is {LAST_PORT}"
            )
        return self

    @property
    def ports(self) -> frozenset[int]:
        """The ports that are given; none where free ones are to be found."""
        return frozenset() if self.port is None else frozenset(range(self.port, self.port + self.replicas))


class Serve(BaseModel):
    """The servers of a recipe: that of its generator, that of its PRM, or both."""

    model_config = _STRICT

    generator: ServedModel | None = None
    prm: ServedModel | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.models:
            raise ValueError("serve names no server; give 'generator: …', 'prm: …' or both")
        if twice := frozenset.intersection(*(m.ports for m in self.models.values())) if len(self.models) > 1 else None:
            raise ValueError(f"generator and prm are both given port {min(twice)}; give another, or none")
        return self

    @property
    def models(self) -> dict[Role, ServedModel]:
        """The models that are served, by their roles."""
        both: dict[Role, ServedModel | None] = {"generator": self.generator, "prm": self.prm}
        return {role: model for role, model in both.items() if model is not None}

    @classmethod
    def of(cls, values: Mapping[str, Any], what: str) -> Self:
        """The servers with these values. Raises ConfigError, which names the first that cannot be used."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigError(f"{what}: {reason_of(error, keys())}") from None


def keys() -> list[str]:
    """What a served model can be told, as a recipe calls it."""
    return [field.alias or name for name, field in ServedModel.model_fields.items()]


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

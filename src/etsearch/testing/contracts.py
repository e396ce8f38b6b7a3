"""The contracts as test classes; pytest collects a subclass whose name begins with ``Test``."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import pytest

from etsearch.embedders import Embedder
from etsearch.generators import Generator
from etsearch.prms import RewardModel
from etsearch.strategies import Strategy
from etsearch.testing.case import CASE, Case
from etsearch.testing.datasets import DATASET_CHECKS, Made
from etsearch.testing.embedders import EMBEDDER_CHECKS
from etsearch.testing.generators import GENERATOR_CHECKS
from etsearch.testing.reward_models import REWARD_MODEL_CHECKS
from etsearch.testing.strategies import STRATEGY_CHECKS


class _Closable(Protocol):
    async def aclose(self) -> None: ...


_Part = TypeVar("_Part", bound=_Closable)
_Check = Callable[[Any, Case], Awaitable[None]]


def _name(check: Callable[..., object]) -> str:
    return check.__name__


class StrategyContract(ABC):
    """The contract of a strategy."""

    @abstractmethod
    def make(self) -> Strategy:
        """The strategy under test, made anew for each check."""

    @pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=_name)
    def test_contract(self, check: Callable[[Strategy], None]) -> None:
        check(self.make())


class DatasetContract(ABC):
    """The contract of a data set."""

    @abstractmethod
    def make(self) -> Made:
        """The data set under test, read anew at each call."""

    @pytest.mark.parametrize("check", DATASET_CHECKS, ids=_name)
    def test_contract(self, check: Callable[[Callable[[], Made]], None]) -> None:
        check(self.make)


class _PartContract(ABC, Generic[_Part]):
    """The contract of a part that is closed in the end; ``case`` is what it is tried with."""

    case: Case = CASE

    @abstractmethod
    def make(self) -> _Part:
        """The part under test, made anew for each check."""

    def _try(self, check: _Check) -> None:
        async def try_out() -> None:
            part = self.make()
            try:
                await check(part, self.case)
            finally:
                await part.aclose()

        asyncio.run(try_out())


class GeneratorContract(_PartContract[Generator]):
    """The contract of a generator."""

    @pytest.mark.parametrize("check", GENERATOR_CHECKS, ids=_name)
    def test_contract(self, check: _Check) -> None:
        self._try(check)


class RewardModelContract(_PartContract[RewardModel]):
    """The contract of a reward model."""

    @pytest.mark.parametrize("check", REWARD_MODEL_CHECKS, ids=_name)
    def test_contract(self, check: _Check) -> None:
        self._try(check)


class EmbedderContract(_PartContract[Embedder]):
    """The contract of an embedder."""

    @pytest.mark.parametrize("check", EMBEDDER_CHECKS, ids=_name)
    def test_contract(self, check: _Check) -> None:
        self._try(check)

"""What a type checker sees of the two doors. ``make types`` checks this file; an ignore that is not needed fails it."""

from typing import assert_type

import etsearch
from etsearch import Aggregation, Limits, Problem, Sampling, SearchResult
from etsearch.strategies import Rebase


async def right() -> None:
    assert_type(await etsearch.search("1 + 1?", width=64, seed=3, strategy="rebase"), SearchResult)
    assert_type(etsearch.solve(Problem("1 + 1?"), strategy=Rebase(), prm=None, aggregation="majority"), SearchResult)
    etsearch.solve("1 + 1?", limits=Limits(max_depth=3), sampling=Sampling(0.7), aggregation=Aggregation.MIN)
    etsearch.solve("1 + 1?", generator="vllm:http://127.0.0.1:8100", embedder="lexical", merge=False, early_stop=False)


async def wrong() -> None:
    await etsearch.search("1 + 1?", widht=64)  # type: ignore[call-arg]
    etsearch.solve("1 + 1?", width="64")  # type: ignore[arg-type]
    etsearch.solve("1 + 1?", strategy=3)  # type: ignore[arg-type]
    etsearch.solve("1 + 1?", limits={"max_depth": 3})  # type: ignore[arg-type]
    etsearch.solve(7)  # type: ignore[arg-type]

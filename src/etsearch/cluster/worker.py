"""A worker: parts, and the searches that run on them. Ray makes an actor of it."""

import asyncio
import importlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from typing import Any, final

from etsearch.cluster.introduction import Introduction, Place
from etsearch.errors import EtsearchError, UnavailableError
from etsearch.evaluation.run.crew import DepthDone, Here, SearchDone, Task
from etsearch.evaluation.run.kept import OpenSearch
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.record import Key
from etsearch.evaluation.run.runner import here


class _HandedOnError(Exception):
    """The search is to go on elsewhere."""


@final
class Worker:
    """Runs searches on parts of its own. Until ``open`` it holds none, so that one that differs is known before.

    Args:
        name: what messages call it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._stack = AsyncExitStack()
        self._crew: Here | None = None
        self._handed_on: set[Key] = set()

    def __repr__(self) -> str:
        """What Ray puts before whatever it prints."""
        return self._name

    async def introduce(self) -> dict[str, Any]:
        """Says where it is; see ``Place``."""
        ray = importlib.import_module("ray")
        return asdict(Place.of(ray.get_runtime_context().get_node_id()))

    async def open(self, plain: Mapping[str, Any], folder: str) -> Introduction | str:
        """Makes the parts of a recipe; gives what is wrong where they cannot be made here.

        Args:
            plain: the recipe.
            folder: the driver's current one, from which paths are taken; where it is not here, from the worker's own.
        """
        with suppress(OSError):
            os.chdir(folder)
        try:
            recipe = Recipe.of_record(plain)
            crew = await self._stack.enter_async_context(here(recipe))
            assert isinstance(crew, Here), "this process is the crew that 'here' gives"
            self._crew = crew
            return Introduction.of(recipe, crew.identities)
        except EtsearchError as error:
            return f"{type(error).__name__}: {error}"

    async def attend(self) -> None:
        """Never ends; whoever awaits it learns at once that the worker went away."""
        await asyncio.Event().wait()

    def hand_on(self, key: Key) -> None:
        """Ends a search when its depth is over, so that it goes on elsewhere."""
        self._handed_on.add(key)

    async def search(self, task: Task, kept: bytes | None) -> AsyncIterator[DepthDone | SearchDone | str | None]:
        """Runs a search: gives every depth, then what came of it; a text where a server stayed away, None if handed on.

        Args:
            task: the search.
            kept: the packed ``OpenSearch`` to go on with.
        """
        assert self._crew is not None, "a worker is opened before it gets a search"
        crew, told = self._crew, asyncio.Queue[DepthDone | SearchDone | str | None]()

        def tell(depth: DepthDone) -> None:
            told.put_nowait(depth)
            if depth.content is not None and task.key in self._handed_on:
                raise _HandedOnError

        async def run() -> None:
            try:
                told.put_nowait(await crew.search(task, OpenSearch.unpack(kept) if kept else None, tell))
            except UnavailableError as error:
                told.put_nowait(str(error))
            except _HandedOnError:
                told.put_nowait(None)

        running = asyncio.create_task(run())
        try:
            while True:
                said = asyncio.create_task(told.get())
                await asyncio.wait((said, running), return_when=asyncio.FIRST_COMPLETED)
                if not said.done() and told.empty():
                    said.cancel()
                    await running  # raises what went wrong
                one = await said
                yield one
                if not isinstance(one, DepthDone):
                    return
        finally:
            self._handed_on.discard(task.key)
            running.cancel()

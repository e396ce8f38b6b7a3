"""Embedders whose model runs in this process: one thread, one batch after the other."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import final

from numpy.typing import ArrayLike

from etsearch.embedders.cached import CachedEmbedder
from etsearch.errors import EmbedderError


class InProcessEmbedder(CachedEmbedder, ABC):
    """A model in this process, in a thread of its own: searches go on while it computes."""

    def __init__(self, max_batch: int) -> None:
        super().__init__(max_batch)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="etsearch-embedder")

    @abstractmethod
    def _embed_batch(self, texts: list[str]) -> Iterable[ArrayLike]:
        """The vectors of at most ``max_batch`` texts, at least one: n times [d]. Called in the thread."""

    @final
    async def _vectors(self, texts: Sequence[str]) -> list[ArrayLike]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._embed_all, texts)

    def _embed_all(self, texts: Sequence[str]) -> list[ArrayLike]:
        """Texts of similar length together, so that little of a batch is padding."""
        rows: dict[int, ArrayLike] = {}
        for batch in self._batches(sorted(range(len(texts)), key=lambda place: len(texts[place]))):
            if self._is_closed:
                raise EmbedderError("the embedder was closed")
            try:
                rows |= zip(batch, self._embed_batch([texts[i] for i in batch]), strict=True)
            except Exception as error:
                raise EmbedderError(
                    f"the embedder failed on {len(batch)} texts of up to {len(texts[batch[-1]])} letters: {error}. "
                    f"If memory ran out, lower max_batch, which is {self._max_batch}"
                ) from error
        return [rows[i] for i in range(len(texts))]

    def _batches(self, places: Sequence[int]) -> Iterator[Sequence[int]]:
        return (places[start : start + self._max_batch] for start in range(0, len(places), self._max_batch))

    async def aclose(self) -> None:
        """Ends the thread after the batch that it is at; what waits raises EmbedderError."""
        await super().aclose()
        await asyncio.to_thread(self._thread.shutdown)

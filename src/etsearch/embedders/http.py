"""Sentence embedders behind servers that answer at ``/v1/embeddings``: vLLM, Text Embeddings Inference, and others."""

import asyncio
import re
from collections.abc import Sequence
from typing import Annotated, Final, Self, TypeVar, final

from numpy.typing import ArrayLike
from pydantic import TypeAdapter

from etsearch.boundary.numbers import MOST_WIDTH, check_whole
from etsearch.embedders.cached import CachedEmbedder
from etsearch.errors import BadResponseError, ConfigError, EmbedderError
from etsearch.servers.answers import MODELS, Answer, Figure, in_order
from etsearch.servers.client import RefusedError, Server, SlowError
from etsearch.servers.conditions import Conditions
from etsearch.servers.pool import Pool, pool_at

ROUTE: Final = "/v1/embeddings"
UNNAMED: Final = "default"
"""The model's name in requests to a server that serves one model and does not say which."""

_TOO_LONG: Final = re.compile(r"must have less than \d+ tokens")
"""What Text Embeddings Inference says of a text that is too long, unless it was started with ``--auto-truncate``."""


class _Embedding(Answer):
    index: int
    embedding: list[Figure]


class _Embeddings(Answer):
    data: list[_Embedding]


class _Info(Answer):
    """What Text Embeddings Inference says of itself."""

    model_id: str


T = TypeVar("T")
_EMBEDDINGS: Final = TypeAdapter(_Embeddings)
_INFO: Final = TypeAdapter(_Info)
_CONDITIONS: Final = Conditions()


@final
class HttpEmbedder(CachedEmbedder):
    """A model behind one server, or several that serve the same model.

    A text that the server refuses as too long is cut to its first half until it is not.

    Args:
        pool: the replicas.
        model: the model's name in requests.
        max_batch: texts in a request at most, 1 to 65,536; Text Embeddings Inference takes 32 unless it was started to
            take more.

    Raises:
        ConfigError: ``max_batch`` is below 1.
    """

    def __init__(self, pool: Pool, model: str, max_batch: int = 32) -> None:
        super().__init__(max_batch)
        self._pool, self.model = pool, model

    @classmethod
    def at(cls, pool: Pool, max_batch: int = 32) -> Self:
        """The embedder of these servers, with the model that the address names, or else the one that they serve.

        Raises:
            ConfigError: no replica answers, they serve different models, or ``max_batch`` is below 1.
        """
        check_whole("max_batch", max_batch, 1, MOST_WIDTH)
        models = sorted(set(pool.describe(model_of)))
        if len(models) > 1:
            raise ConfigError(f"replicas serve one model; these serve {', '.join(models)}. Name one: http://HOST/MODEL")
        return cls(pool, models[0], max_batch)

    async def _vectors(self, texts: Sequence[str]) -> list[ArrayLike]:
        batches = [texts[start : start + self._max_batch] for start in range(0, len(texts), self._max_batch)]
        requests = [asyncio.create_task(self._ask(batch)) for batch in batches]
        try:
            answers = await asyncio.gather(*requests)
        finally:
            for request in requests:  # where one failed, the others are of no use
                request.cancel()
        return [row for rows in answers for row in rows]

    async def _ask(self, texts: Sequence[str]) -> list[ArrayLike]:
        body = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        try:
            answer = in_order((await self._pool.post(ROUTE, body, _EMBEDDINGS)).data, len(texts))
        except RefusedError as error:
            if self._is_closed:
                raise EmbedderError("the embedder was closed") from error
            if _is_too_long(error) and (len(texts) > 1 or len(texts[0]) > 1):
                return await self._ask_for_less(texts)
            raise EmbedderError(
                f"{error}. Name a model that embeds, where {self.model!r} does not; lower max_batch, which is "
                f"{self._max_batch}, where that is too many texts"
            ) from error
        except (SlowError, BadResponseError) as error:
            raise EmbedderError(str(error), retryable=isinstance(error, SlowError)) from error
        return [entry.embedding for entry in answer]

    async def _ask_for_less(self, texts: Sequence[str]) -> list[ArrayLike]:
        """The texts one by one; of a text by itself, its first half."""
        if len(texts) > 1:
            return [row for text in texts for row in await self._ask([text])]
        return await self._ask([texts[0][: len(texts[0]) // 2]])

    async def aclose(self) -> None:
        """Closes the connections; what waits raises EmbedderError. A second call does nothing."""
        await super().aclose()
        await self._pool.aclose()


def _is_too_long(error: RefusedError) -> bool:
    return error.is_too_long or _TOO_LONG.search(str(error)) is not None


def model_of(server: Server) -> str:
    """The model's name in requests to a server: as the address has it, or else as the server says it."""
    served = _look(server, "/v1/models", MODELS)  # asked in any case, so that a server that is away shows now
    if server.address.model:
        return server.address.model
    if served and served.data:
        return served.data[0].id
    info = _look(server, "/info", _INFO)
    return info.model_id if info else UNNAMED


def _look(server: Server, path: str, answer: TypeAdapter[T]) -> T | None:
    """What a server tells at a path; None where it has no such path."""
    try:
        return server.ask_now(path, answer)
    except (RefusedError, BadResponseError):
        return None


def http(
    address: Annotated[str, "http://HOST:PORT[/MODEL][,…]"], max_batch: int = 32, conditions: Conditions = _CONDITIONS
) -> HttpEmbedder:
    """A model behind /v1/embeddings (vLLM, Text Embeddings Inference), or replicas.

    Args:
        address: of the server, or of replicas.
        max_batch: texts in a request at most, 1 to 65,536.
        conditions: how long it is waited for.
    """
    # An address by itself is a specification too: of http://HOST the name is "http" and the argument "//HOST".
    whole = f"http:{address}" if address.startswith("//") else address
    return HttpEmbedder.at(pool_at(whole, conditions), max_batch)

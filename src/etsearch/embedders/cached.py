"""Embedders with a model behind them: each text is embedded once, and what the model gives is checked."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from etsearch.boundary.numbers import MOST_WIDTH, check_whole
from etsearch.errors import EmbedderError

KEPT_VECTORS: Final = 16_384
"""Texts whose vectors are remembered, those used last: 50 MB of vectors of 768 values."""
BLANK: Final = "(empty)"
"""What is embedded in place of a text without any visible character."""


class CachedEmbedder(ABC):
    """An embedder whose model answers in batches; see ``Embedder`` for what it does.

    A model gives the same text other last digits in another batch, and a distance may fall on the other side of the
    cut by them. So a text is embedded once, and its vector kept. A text without any visible character is embedded as
    ``BLANK``, since a model may have no token to read there, and half of a surrogate pair as a question mark.

    Args:
        max_batch: texts that the model reads at once at most.

    Raises:
        ConfigError: ``max_batch`` is below 1.
    """

    def __init__(self, max_batch: int) -> None:
        check_whole("max_batch", max_batch, 1, MOST_WIDTH)
        self._max_batch = max_batch
        self._kept: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._num_dimensions = 0
        self._is_closed = False

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds a batch: [n, d], one row a text in their order; no texts give no rows.

        Raises:
            EmbedderError: the model failed, gave something else than one usable vector a text, or is closed.
            UnavailableError: the model's server stayed away.
        """
        if self._is_closed:
            raise EmbedderError("the embedder is closed; make a new one")
        readable = [_make_readable(text) for text in texts]
        found = {text: self._kept[text] for text in readable if text in self._kept}
        new = [text for text in dict.fromkeys(readable) if text not in found]
        if new:
            rows = self._check(await self._vectors(new), len(new))
            # What another search had embedded in the meantime stands.
            found |= {text: self._kept.setdefault(text, row) for text, row in zip(new, rows, strict=True)}
        self._remember(found)
        rows_in_order = [found[text] for text in readable]
        return np.stack(rows_in_order) if rows_in_order else np.zeros((0, self._num_dimensions), dtype=np.float32)

    @abstractmethod
    async def _vectors(self, texts: Sequence[str]) -> Sequence[ArrayLike]:
        """The vectors of texts that differ and are not empty, at least one: n times [d]."""

    def _check(self, vectors: Sequence[ArrayLike], num_texts: int) -> NDArray[np.float32]:
        try:
            with np.errstate(over="ignore"):  # what becomes infinite is named below
                rows = np.array(vectors, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise EmbedderError(f"the model gave no matrix of numbers, one row a text: {error}") from error
        if rows.ndim != 2 or len(rows) != num_texts or not rows.size:
            raise EmbedderError(
                f"the model gave values of shape {rows.shape} for {num_texts} texts, not one row a text"
            )
        self._num_dimensions = self._num_dimensions or rows.shape[1]
        if rows.shape[1] != self._num_dimensions:
            raise EmbedderError(
                f"the model gave vectors of {rows.shape[1]} values, and of {self._num_dimensions} before; "
                "another model answers now. Start again with one"
            )
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1) | ~rows.any(axis=1))
        if bad.size:
            what = "zeros only" if np.isfinite(rows[bad[0]]).all() else "values that are not finite"
            raise EmbedderError(f"the model gave {what} for text {bad[0]} of {num_texts}; choose another embedder")
        return rows

    def _remember(self, found: dict[str, NDArray[np.float32]]) -> None:
        for text, row in found.items():
            self._kept[text] = row
            self._kept.move_to_end(text)
        while len(self._kept) > KEPT_VECTORS:
            self._kept.popitem(last=False)

    async def aclose(self) -> None:
        """Lets go of the model; ``embed`` raises EmbedderError from now on. A second call does nothing."""
        self._is_closed = True
        self._kept.clear()


def _make_readable(text: str) -> str:
    return text.encode("utf-8", "replace").decode() if text.strip() else BLANK

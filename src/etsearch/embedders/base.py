"""What an embedder must do."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Embedder(Protocol):
    """Turns texts into vectors whose cosine distance says how different they are.

    One instance serves many searches at once. The same text should always give the same vector. Raise an
    ``EtsearchError`` on failure; return no row of zeros and none that is not finite.
    """

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds a batch: [n, d], one row a text in their order; rows need not be normalised."""
        ...

    async def aclose(self) -> None:
        """Lets go of the model or the connections. A second call does nothing."""
        ...

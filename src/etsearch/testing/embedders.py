"""What every embedder must do; see ``etsearch.embedders.Embedder``."""

import numpy as np

from etsearch.embedders import Embedder
from etsearch.testing.case import Case

_CLOSE = 1e-5
"""What the arithmetic of a batch may change in a vector."""


async def gives_one_usable_row_a_text(embedder: Embedder, case: Case) -> None:
    """Finite rows, none of zeros, in the order of the texts; an empty text has one too."""
    texts = [*case.steps, "", case.steps[0]]
    rows = await embedder.embed(texts)
    assert rows.ndim == 2
    assert len(rows) == len(texts)
    assert np.all(np.isfinite(rows))
    assert np.all(np.linalg.norm(rows, axis=1) > 0)
    assert np.array_equal(rows[0], rows[-1])


async def gives_the_same_text_the_same_row(embedder: Embedder, case: Case) -> None:
    """Alone and beside others."""
    together = await embedder.embed(list(case.steps))
    alone = [(await embedder.embed([text]))[0] for text in case.steps]
    assert np.allclose(together, alone, atol=_CLOSE)


async def can_be_closed_twice(embedder: Embedder, case: Case) -> None:
    """The second time does nothing."""
    del case
    await embedder.aclose()
    await embedder.aclose()


EMBEDDER_CHECKS = (gives_one_usable_row_a_text, gives_the_same_text_the_same_row, can_be_closed_twice)

"""What a search asks of those whom it shares an engine with."""

from typing import Protocol

from etsearch.strategies import Frontier, Selection, Strategy
from etsearch.types import EngineStats


class Share(Protocol):
    """The place of one search among those that share an engine's KV cache."""

    def observe(self, stats: EngineStats) -> None:
        """Takes what the engine tells of itself."""
        ...

    async def begin(self, strategy: Strategy, held_tokens: int, width: int, depth: int) -> int:
        """Waits until the search may begin, or go on, and gives the width of its next depth.

        Args:
            strategy: of the search.
            held_tokens: KV tokens of the prompt, or of what it had when it was interrupted.
            width: continuations that it asks for, at least 1.
            depth: depths that it has behind it.

        Returns:
            1 to ``width`` continuations; ``width`` where it has depths behind it, for it has chosen already.
        """
        ...

    async def select(self, strategy: Strategy, frontier: Frontier, width: int) -> Selection:
        """What the strategy keeps of a frontier at the price of the day, once there is room for it.

        The figures of the selection hold the ``price``.
        """
        ...

    def leave(self) -> None:
        """Gives back all that the search holds. A second call does nothing."""
        ...

"""A reward model around another one: what it does not say itself, the other does."""

from typing import Any

from etsearch.prms.base import RewardModel


class Around:
    """What stands around a reward model; it closes it, and tells what it tells of itself: its room, its files.

    Args:
        inner: the reward model.
    """

    def __init__(self, inner: RewardModel) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    async def aclose(self) -> None:
        """Stops the model behind it."""
        await self._inner.aclose()

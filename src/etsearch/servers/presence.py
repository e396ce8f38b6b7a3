"""What a part behind servers may say beside: whether they are there."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class TellsPresence(Protocol):
    """A part that needs a server."""

    async def is_there(self) -> bool:
        """Whether one of its servers at least answers now."""
        ...

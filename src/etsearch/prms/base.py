"""What a process reward model is: the protocol that every one meets."""

from typing import Protocol, runtime_checkable

from etsearch.types import Identity, Scores, Trajectory


class RewardModel(Protocol):
    """Scores steps. One instance serves many searches at once and batches across them."""

    @property
    def identity(self) -> Identity:
        """Which model this is and what runs it, for the record of a run."""
        ...

    async def score(self, trajectory: Trajectory, first: int) -> Scores:
        """Rewards in [0, 1] of the steps ``first`` to last of a trajectory.

        A step's reward depends on the question and on the steps up to it, never on later ones. Raises
        RewardError if the model fails, and for ``first`` outside 0 … number of steps - 1.
        """
        ...

    async def aclose(self) -> None:
        """Stops the model. A second call does nothing."""
        ...


@runtime_checkable
class TellsRoom(Protocol):
    """A reward model that knows how much it holds."""

    async def room(self, question: str, num_steps: int) -> int | None:
        """Tokens that the steps of a trajectory, so many at most, may have together; None where nobody tells."""
        ...

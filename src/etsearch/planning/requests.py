"""What a simulated engine is asked for, and what of a search's tree lies in its cache."""

from dataclasses import dataclass, field

from etsearch.planning.trace import SearchTrace
from etsearch.tree import NO_PARENT


@dataclass(slots=True, eq=False)
class CachedStep:
    """A step of a search's tree, as the cache sees it."""

    above: "CachedStep | None"
    tokens: int
    prefix: int
    """Tokens from the start of the prompt to its end."""
    owned: int
    """Whole blocks that it owns."""
    cached: int = 0
    """Those of them that are there, from its beginning; some only if all are of the step above."""
    refs: int = 0
    """Requests under way that continue it, and steps under it that are in use."""
    is_known: bool = False
    """Whether it was computed before, so that to compute it again is a loss."""


@dataclass(slots=True, eq=False)
class CachedTree:
    """What of one search's tree lies in the cache.

    Attributes:
        trace: of the search.
        steps: ``[steps]`` of its tree.
    """

    trace: SearchTrace
    steps: list[CachedStep]

    @classmethod
    def of(cls, trace: SearchTrace, block_tokens: int) -> "CachedTree":
        """Nothing of it is in the cache."""
        steps: list[CachedStep] = []
        for above, tokens, prefix in zip(trace.parent, trace.tokens, trace.prefix, strict=True):
            if above == NO_PARENT:
                steps.append(CachedStep(None, tokens, prefix, prefix // block_tokens))
            else:
                owned = prefix // block_tokens - trace.prefix[above] // block_tokens
                steps.append(CachedStep(steps[above], tokens, prefix, owned))
        return cls(trace, steps)

    @property
    def cached(self) -> list[int]:
        """``[steps]`` blocks of each that are there."""
        return [step.cached for step in self.steps]


@dataclass(slots=True, eq=False)
class Request:
    """Continuations of one step.

    Attributes:
        tree: of its search.
        step: whose prefix is continued.
        lengths: tokens of each continuation.
        writes: the step that each becomes; the blocks of the first of several equal ones stay.
        tag: of whoever asked.
    """

    tree: CachedTree
    step: int
    lengths: tuple[int, ...]
    writes: tuple[int, ...]
    tag: object = None
    num_active: int = 0
    num_left: int = 0
    is_under_way: bool = False
    prefix: int = field(init=False)

    def __post_init__(self) -> None:
        self.prefix, self.num_left = self.end.prefix, len(self.lengths)

    @property
    def end(self) -> CachedStep:
        """The step that is continued."""
        return self.tree.steps[self.step]

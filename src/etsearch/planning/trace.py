"""What a search asked of its parts, depth by depth: what the simulated engine is given.

A trace is a finished search without texts and ids: which steps were expanded how often, how many tokens each draw has,
what was scored, and how long the strategy took. It is made of the state of any search, recorded or grown by
``etsearch.planning.world``.
"""

from collections import defaultdict
from dataclasses import dataclass

from etsearch.errors import RecordError
from etsearch.loop.state import SearchState
from etsearch.tree import NO_PARENT, SearchTree


@dataclass(frozen=True, slots=True)
class Draws:
    """All draws of one step at a depth: one request.

    Attributes:
        parent: the step that is expanded.
        steps: ``[n]`` the step that each draw is; draws of one step share it, where the search merged them.
        tokens: ``[n]`` that each draw has, at least 1: what ends a solution with no text is a token too.
        scored: the steps among them that the reward model reads once they are there.
    """

    parent: int
    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    scored: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SearchTrace:
    """A search as its engine sees it.

    Attributes:
        name: of the problem, for messages.
        parent: ``[steps]`` the step before each; ``NO_PARENT`` for the prompt, which is step 0. A step comes after its
            parent; steps that are copies of another are there and have nothing under them.
        tokens: ``[steps]`` that each adds.
        prefix: ``[steps]`` tokens from the start of the prompt to the end of each.
        depths: what is asked at each depth; all of a depth is there before the next begins.
        kv_tokens: summed over depths, as the search itself counts them; see ``KvFigures``.
        select_s: seconds that the strategy and its clusters took at each depth, on average; 0 where not known.
    """

    name: str
    parent: tuple[int, ...]
    tokens: tuple[int, ...]
    prefix: tuple[int, ...]
    depths: tuple[tuple[Draws, ...], ...]
    kv_tokens: int
    select_s: float = 0.0

    @classmethod
    def of(cls, state: SearchState, name: str = "", *, scores_steps: bool = True) -> "SearchTrace":
        """The trace of a search.

        Args:
            state: of a search that is over; of one under way, of its depths so far.
            name: of the problem.
            scores_steps: whether every step is scored as it comes; else trajectories are when they end.

        Raises:
            RecordError: no step of it was written.
        """
        if not state.depths or len(state.tree) == 1:
            raise RecordError(f"the search {name!r} was over before its first depth; there is nothing to simulate")
        tree, written_at = state.tree, state.written_at
        by_depth: list[dict[int, list[int]]] = [defaultdict(list) for _ in range(int(written_at.max()) + 1)]
        for node in range(1, len(tree)):
            by_depth[written_at[node]][tree.step_above(node)].append(node)
        depths = tuple(
            tuple(_draws(tree, state, parent, nodes, scores_steps) for parent, nodes in requests.items())
            for requests in by_depth[1:]
            if requests  # nothing came of a round all of whose requests failed
        )
        seconds = sum(state.seconds.get(phase, 0.0) for phase in ("cluster", "select")) / len(state.depths)
        return cls(
            name,
            tuple(int(above) for above in tree.above),
            tuple(int(count) for count in tree.tokens),
            tuple(tree.prefix_tokens(node) for node in range(len(tree))),
            depths,
            state.usage.kv_tokens,
            seconds,
        )

    @property
    def generated_tokens(self) -> int:
        """Tokens of all draws."""
        return sum(sum(draws.tokens) for requests in self.depths for draws in requests)

    def path(self, step: int) -> tuple[int, ...]:
        """The steps from the prompt to ``step``, both included."""
        found = []
        while step != NO_PARENT:
            found.append(step)
            step = self.parent[step]
        return tuple(found[::-1])


def _draws(tree: SearchTree, state: SearchState, parent: int, nodes: list[int], scores_steps: bool) -> Draws:
    steps = tuple(tree.original(node) for node in nodes)
    tokens = tuple(max(1, len(tree.continuation(node).token_ids)) for node in nodes)
    ended = {tree.original(node) for node in nodes if node in state.ended}
    scored = tuple(step for step in dict.fromkeys(steps) if scores_steps or step in ended)
    return Draws(parent, steps, tokens, scored)

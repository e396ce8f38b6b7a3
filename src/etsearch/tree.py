"""The search tree: every step that was drawn, and which of the draws are one and the same step."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etsearch.errors import ConfigError
from etsearch.types import Continuation, FinishReason, Step, Trajectory

_StepKey = tuple[int, tuple[int, ...], FinishReason]
"""The original of the parent, the step's token ids, and how it finished."""

ROOT: Final = 0
"""Index of the root, whose tokens are the prompt."""
NO_PARENT: Final = -1
"""Parent of the root."""
_PER_NODE: Final = (
    "_parent",
    "_depth",
    "_reward",
    "_num_tokens",
    "_prefix_tokens",
    "_continuation",
    "_original",
    "_above",
)
"""The lists of a tree that have one entry a node."""


class SearchTree:
    """Nodes in the order of their writing, so that a parent always comes before its children.

    Node 0 is the root and holds the prompt; every other node is one draw of a step. Only ``add`` and ``set_reward``
    change the tree; a node is never removed, pruned ones included.

    Where the tree merges, two nodes whose paths hold the same token ids, step by step, are draws of one step: the
    first of them is the ``original`` of both, and their key/value state is held once. Everything that counts draws
    (shares of the width, votes, clusters) goes by nodes and so counts a step as often as it was drawn; everything
    that costs (requests, scores, KV tokens) goes by originals.

    Args:
        question: what was asked, as a reward model reads it: see ``Problem.transcript``.
        prompt_ids: token ids of the question in the generator's format, with what was said before it.
        merges: whether draws of one step count as one step; if not, every node is its own original.
    """

    def __init__(self, question: str, prompt_ids: Sequence[int], *, merges: bool = True) -> None:
        self.question, self.merges = question, merges
        self._parent = [NO_PARENT]
        self._depth = [0]
        self._reward = [float("nan")]
        self._num_tokens = [len(prompt_ids)]
        self._prefix_tokens = [len(prompt_ids)]
        self._continuation = [Continuation(tuple(prompt_ids), "", FinishReason.STEP)]
        self._original = [ROOT]
        self._above = [NO_PARENT]
        self._by_step: dict[_StepKey, int] = {}
        self._num_below: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._parent)

    @property
    def parent(self) -> NDArray[np.int64]:
        """Parent of every node ``[nodes]``; ``NO_PARENT`` for the root."""
        return np.array(self._parent, dtype=np.int64)

    @property
    def depth(self) -> NDArray[np.int64]:
        """Steps from the root to every node ``[nodes]``."""
        return np.array(self._depth, dtype=np.int64)

    @property
    def tokens(self) -> NDArray[np.int64]:
        """Tokens that every node adds ``[nodes]``; the prompt's for the root."""
        return np.array(self._num_tokens, dtype=np.int64)

    @property
    def rewards(self) -> NDArray[np.float64]:
        """Reward of every node ``[nodes]``; NaN where there is none (the root, unscored steps)."""
        return np.array(self._reward)

    def add(self, parent: int, continuation: Continuation) -> int:
        """Adds a step under ``parent`` and returns its id."""
        self._check(parent)
        self._parent.append(parent)
        self._depth.append(self._depth[parent] + 1)
        self._reward.append(float("nan"))
        self._num_tokens.append(len(continuation.token_ids))
        self._prefix_tokens.append(self._prefix_tokens[parent] + len(continuation.token_ids))
        self._continuation.append(continuation)
        above, node = self._original[parent], len(self) - 1
        key = above, continuation.token_ids, continuation.finish_reason
        self._above.append(above)
        self._num_below[above] += 1
        self._original.append(self._by_step.setdefault(key, node) if self.merges else node)
        return node

    def set_reward(self, node: int, reward: float) -> None:
        """Fixes the reward of a step; it is set once."""
        self._check(node)
        if node == ROOT or not math.isnan(self._reward[node]):
            raise ConfigError(f"node {node} cannot take a reward: it is the root or has one already")
        if not 0.0 <= reward <= 1.0:
            raise ConfigError(f"the reward of node {node} is {reward}; it must lie in [0, 1]")
        self._reward[node] = float(reward)

    def parent_of(self, node: int) -> int:
        """Parent of one node; ``NO_PARENT`` for the root."""
        self._check(node)
        return self._parent[node]

    def original(self, node: int) -> int:
        """The first draw of the step that ``node`` is a draw of; ``node`` itself where the tree does not merge."""
        self._check(node)
        return self._original[node]

    @property
    def above(self) -> NDArray[np.int64]:
        """``step_above`` of every node ``[nodes]``; among originals it is their tree."""
        return np.array(self._above, dtype=np.int64)

    def step_above(self, node: int) -> int:
        """The original of a node's parent; ``NO_PARENT`` for the root."""
        self._check(node)
        return self._above[node]

    def originals(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """``original`` of every node ``[n]``."""
        return np.array(self._original, dtype=np.int64)[nodes]

    def reward(self, node: int) -> float:
        """Reward of one node; NaN where there is none."""
        self._check(node)
        return self._reward[node]

    def depth_of(self, node: int) -> int:
        """Steps from the root to one node."""
        self._check(node)
        return self._depth[node]

    def num_below(self, node: int) -> int:
        """How many draws stand under the step that ``node`` is a draw of."""
        return self._num_below[self.original(node)]

    def continuation(self, node: int) -> Continuation:
        """What the generator wrote at this node."""
        self._check(node)
        return self._continuation[node]

    def path(self, node: int) -> list[int]:
        """The steps from the root (left out) to ``node`` (included)."""
        self._check(node)
        path = []
        while node != ROOT:
            path.append(node)
            node = self._parent[node]
        return path[::-1]

    def prefix(self, node: int) -> tuple[int, ...]:
        """Token ids from the start of the prompt to the end of ``node``."""
        ids = list(self._continuation[ROOT].token_ids)
        for step in self.path(node):
            ids.extend(self._continuation[step].token_ids)
        return tuple(ids)

    def prefix_tokens(self, node: int) -> int:
        """Number of token ids in ``prefix(node)``."""
        self._check(node)
        return self._prefix_tokens[node]

    def trajectory(self, node: int) -> Trajectory:
        """The path to ``node`` as a process reward model reads it."""
        steps = (self._continuation[n] for n in self.path(node))
        return Trajectory(self.question, tuple(Step(c.text, c.token_ids, c.log_probability) for c in steps))

    def rewards_to(self, node: int) -> tuple[float, ...]:
        """Rewards of the steps on the path to ``node``."""
        return tuple(self._reward[n] for n in self.path(node))

    def span(self, nodes: Iterable[int]) -> NDArray[np.bool_]:
        """The originals of the nodes and of all their ancestors, the root included, as a mask ``[nodes]``.

        That is V_A of the ETS paper, where the tree does not merge.
        """
        mask = np.zeros(len(self), dtype=np.bool_)
        for node in nodes:
            step = self.original(node)
            while step != NO_PARENT and not mask[step]:
                mask[step] = True
                step = self._above[step]
        return mask

    def kv_tokens(self, nodes: Iterable[int]) -> int:
        """Tokens whose key/value state the trajectories to ``nodes`` need, each step counted once, prompt included."""
        return int(self.tokens[self.span(nodes)].sum())

    def kv_tokens_written(self, nodes: Sequence[int]) -> int:
        """``kv_tokens`` while these nodes are being written: every one of them still holds its own tokens."""
        copies = (node for node in nodes if self.original(node) != node)
        return self.kv_tokens(nodes) + sum(self._num_tokens[node] for node in copies)

    def kv_tokens_unshared(self, nodes: Iterable[int]) -> int:
        """The same if every trajectory held its own copy of all its tokens."""
        return sum(self._prefix_tokens[node] for node in nodes)

    def ancestor_at(self, nodes: NDArray[np.int64], depth: int) -> NDArray[np.int64]:
        """The ancestor at ``depth`` of every node ``[n]``; none of them may lie above that depth."""
        parent, depths = self.parent, self.depth
        current = np.asarray(nodes, dtype=np.int64)
        if np.any(depths[current] < depth):
            raise ConfigError(f"a node lies above depth {depth}; its ancestor there does not exist")
        while np.any(deeper := depths[current] > depth):
            current = np.where(deeper, parent[current], current)
        return current

    def children(self, node: int) -> NDArray[np.int64]:
        """Ids of the steps under ``node``, in the order of their writing."""
        return np.flatnonzero(self.parent == node)

    def head(self, num_nodes: int) -> "SearchTree":
        """The tree as it was when it had its first ``num_nodes`` nodes, at least 1, with the rewards of today."""
        self._check(num_nodes - 1)
        tree = SearchTree(self.question, self._continuation[ROOT].token_ids, merges=self.merges)
        for name in _PER_NODE:
            setattr(tree, name, getattr(self, name)[:num_nodes])
        tree._num_below = Counter(tree._above[1:])
        tree._by_step = {key: node for key, node in self._by_step.items() if node < num_nodes}
        return tree

    def check_integrity(self) -> None:
        """Raises ConfigError if the arrays contradict one another: a defect of this package if they do."""
        parent, depth = self.parent, self.depth
        ids = np.arange(len(self))
        if parent[ROOT] != NO_PARENT or np.any(parent[1:] < 0) or np.any(parent[1:] >= ids[1:]):
            raise ConfigError("the tree is broken: a node does not come after its parent")
        if np.any(depth[1:] != depth[parent[1:]] + 1):
            raise ConfigError("the tree is broken: a depth is not its parent's plus one")
        own = np.array([len(c.token_ids) for c in self._continuation])
        if np.any(own != self.tokens):
            raise ConfigError("the tree is broken: a token count is not that of the ids")
        original = self.originals(ids)
        if np.any(original > ids) or np.any(original[original] != original):
            raise ConfigError("the tree is broken: a step's first draw comes after it, or is no first draw")

    def _check(self, node: int) -> None:
        if not 0 <= node < len(self._parent):
            raise ConfigError(f"node {node} does not exist; the tree has nodes 0 to {len(self) - 1}")

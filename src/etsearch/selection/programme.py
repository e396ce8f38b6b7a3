"""The selection programme of ETS as data: a tree, its leaves, and what keeping them is worth."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from etsearch.errors import ConfigError

NO_PARENT: Final = -1
"""The parent of a root."""
ROUNDING: Final = 1e-9
"""Share of the budget by which a cost may exceed it: the same costs, summed in another order, may differ a little."""
TOLERANCE: Final = 1e-12
"""A difference of objectives that counts as none, as a share of the largest possible one."""


@dataclass(frozen=True, eq=False, init=False)
class Programme:
    """Which leaves to keep, as an integer programme (ETS, arXiv:2502.13575, the programme of its section on search).

    Over the non-empty sets S of leaves, maximise::

        sum of weight over S / sum of weight
        - lambda_b * cost of the nodes of S / cost of the nodes spanned by all leaves
        + lambda_d * clusters covered by S / clusters

    The nodes of S are its leaves and all their ancestors, each counted once (``V_S``; for all leaves ``V_A``).
    With equal node costs this is the paper's programme; with token counts as costs it counts KV tokens.

    With a budget, S must cost no more than that: best reward and diversity within it where ``lambda_b`` is 0.

    The whole tree may be given: nodes outside the span of the leaves cost nothing. Nodes may come in any order
    (a parent may follow its child) and a forest may have several roots. A leaf may be an ancestor of another
    leaf; its node then costs once, whether it is kept itself or for what lies below it.

    Attributes:
        parent: ``[num_nodes]`` parent of each node, -1 for a root.
        leaves: ``[num_leaves]`` node ids, each once.
        weight: ``[num_leaves]`` weight ``W_i`` of each leaf, finite, at least 0, not all 0.
        node_cost: ``[num_nodes]`` cost of each node, finite, at least 0, not all 0 in the span of the leaves.
        cluster: ``[num_leaves]`` cluster of each leaf. Any integers or strings are accepted; kept as 0, 1, …
            in their sorted order.
        lambda_b: weight of the cost, finite, at least 0.
        lambda_d: weight of diversity, finite, at least 0.
        budget: the most that the nodes of S may cost, in units of ``node_cost``, at least ``cheapest_cost``; None
            for no limit.

    The arrays are copies and read-only.

    Raises:
        ConfigError: on construction, when one of the above does not hold; it names the node and the value.
    """

    parent: NDArray[np.int64]
    leaves: NDArray[np.int64]
    weight: NDArray[np.float64]
    node_cost: NDArray[np.float64]
    cluster: NDArray[np.int64]
    lambda_b: float
    lambda_d: float
    budget: float | None

    def __init__(
        self,
        parent: ArrayLike,
        leaves: ArrayLike,
        weight: ArrayLike,
        node_cost: ArrayLike,
        cluster: ArrayLike,
        lambda_b: float,
        lambda_d: float,
        budget: float | None = None,
    ) -> None:
        fields = {
            "parent": _integers("parent", parent),
            "leaves": _integers("leaves", leaves),
            "weight": _numbers("weight", weight),
            "node_cost": _numbers("node_cost", node_cost),
            "cluster": _dense_labels(cluster),
            "lambda_b": _factor("lambda_b", lambda_b),
            "lambda_d": _factor("lambda_d", lambda_d),
        }
        for name, value in {**fields, "budget": None}.items():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)
        self._check_lengths()
        _check_forest(self.parent)
        _check_leaves(self.leaves, self.num_nodes)
        _check_values("weight", self.weight, lambda position: f"leaf node {self.leaves[position]}")
        _check_values("node_cost", self.node_cost, lambda position: f"node {position}")
        _check_total("the weights of the leaves", self.total_weight)
        _check_total("the costs of the nodes spanned by the leaves", self.total_cost)
        object.__setattr__(self, "budget", self._check_budget(budget))

    def at_price(self, lambda_b: float) -> Self:
        """The same programme with another weight of the cost, finite and at least 0."""
        return self._with("lambda_b", _factor("lambda_b", lambda_b))

    def with_price(self, tokens: ArrayLike, price: float) -> Self:
        """The same programme where each KV token of S costs a price beside what its nodes cost already.

        Where the nodes cost what their tokens are, in the same proportion, only ``lambda_b`` rises, and a budget holds
        on; else costs become worth, and the programme may have none.

        Args:
            tokens: ``[num_nodes]`` KV tokens of each node, finite, at least 0.
            price: of one, in units of the objective, finite and at least 0.

        Raises:
            ConfigError: a price or tokens that are none, or a budget in other units.
        """
        each, held = _factor("the price of a KV token", price), _numbers("tokens", tokens)
        if held.size != self.num_nodes:
            raise ConfigError(f"tokens has {held.size} entries; give one for each node: {self.num_nodes}")
        if np.array_equal(held, self.node_cost):
            return self.at_price(self.lambda_b + each * self.total_cost)
        if self.budget is not None:
            raise ConfigError("the budget counts other things than tokens; a price of tokens does not go with it")
        cost = self.lambda_b / self.total_cost * self.node_cost + each * held
        total = float(cost[self.spanned].sum())
        return type(self)(
            self.parent, self.leaves, self.weight, cost, self.cluster, lambda_b=total, lambda_d=self.lambda_d
        )

    def with_budget(self, budget: float | None) -> Self:
        """The same programme with another budget. Raises ConfigError when not even the cheapest leaf is within it."""
        return self._with("budget", self._check_budget(budget))

    def _with(self, name: str, value: float | None) -> Self:
        """A copy; it shares the arrays, and what was computed from them."""
        other = copy.copy(self)
        object.__setattr__(other, name, value)
        return other

    def _check_budget(self, budget: float | None) -> float | None:
        """The budget as a number. Raises ConfigError when not even the cheapest leaf is within it."""
        if budget is None:
            return None
        number = _number("budget", budget)
        if not number * (1.0 + ROUNDING) >= self.cheapest_cost:
            raise ConfigError(
                f"the budget is {number:g}; it must be at least {self.cheapest_cost:g}, the cost of the cheapest leaf "
                "and its ancestors (None for no limit)"
            )
        return number

    def _check_lengths(self) -> None:
        if self.num_leaves == 0:
            raise ConfigError("there are no leaves; give at least one (an empty frontier has nothing to select)")
        for name, length, per, expected in (
            ("weight", self.weight.size, "leaf", self.num_leaves),
            ("cluster", self.cluster.size, "leaf", self.num_leaves),
            ("node_cost", self.node_cost.size, "node", self.num_nodes),
        ):
            if length != expected:
                raise ConfigError(f"{name} has {length} entries; give one for each {per}: {expected}")

    @property
    def num_nodes(self) -> int:
        """Nodes of the tree given, outside the span of the leaves too."""
        return self.parent.size

    @property
    def num_leaves(self) -> int:
        return self.leaves.size

    @cached_property
    def num_clusters(self) -> int:
        """``|C_A|``."""
        return int(self.cluster.max()) + 1

    @cached_property
    def spanned(self) -> NDArray[np.bool_]:
        """``[num_nodes]`` whether the node is a leaf or an ancestor of one (``V_A``)."""
        return self._with_ancestors(self.leaves)

    @cached_property
    def total_weight(self) -> float:
        with np.errstate(over="ignore"):
            return float(self.weight.sum())

    @cached_property
    def total_cost(self) -> float:
        """Cost of the nodes spanned by the leaves."""
        with np.errstate(over="ignore"):
            return float(self.node_cost[self.spanned].sum())

    @cached_property
    def path_cost(self) -> NDArray[np.float64]:
        """``[num_leaves]`` cost of each leaf and its ancestors."""
        total, node = np.zeros(self.num_leaves), self.leaves
        while (within := node != NO_PARENT).any():
            total += np.where(within, self.node_cost[node], 0.0)
            node = np.where(within, self.parent[node], NO_PARENT)
        return total

    @property
    def cheapest_cost(self) -> float:
        """The least that a solution costs: a leaf and its ancestors, in units of ``node_cost``."""
        return float(self.path_cost.min())

    @property
    def tolerance(self) -> float:
        """A difference of objectives that counts as none."""
        return TOLERANCE * (1.0 + self.lambda_b + self.lambda_d)

    @property
    def most_cost(self) -> float:
        """The most that a solution may cost: the budget, with room for rounding; ``inf`` without one."""
        return np.inf if self.budget is None else self.budget * (1.0 + ROUNDING)

    def kept_nodes(self, kept: ArrayLike) -> NDArray[np.bool_]:
        """Which nodes stay when these leaves do: the leaves and all their ancestors (``V_S``).

        Args:
            kept: ``[num_leaves]`` bools.

        Returns:
            ``[num_nodes]`` bools.

        Raises:
            ConfigError: ``kept`` is not one bool for each leaf.
        """
        return self._with_ancestors(self.leaves[self._selection(kept)])

    def mask(self, places: Sequence[int]) -> NDArray[np.bool_]:
        """``[num_leaves]`` bools, true at these places."""
        kept = np.zeros(self.num_leaves, dtype=np.bool_)
        kept[list(places)] = True
        return kept

    def kept_cost(self, kept: ArrayLike) -> float:
        """Cost of ``kept_nodes(kept)``, in units of ``node_cost``."""
        return float(self.node_cost[self.kept_nodes(kept)].sum())

    def objective(self, kept: ArrayLike) -> float:
        """What keeping these leaves is worth. Every solver's objective is computed here, from ``kept``.

        Args:
            kept: ``[num_leaves]`` bools, at least one of them true.

        Raises:
            ConfigError: ``kept`` is not one bool for each leaf, or keeps none.
        """
        selection = self._selection(kept)
        if not selection.any():
            raise ConfigError(f"none of the {self.num_leaves} leaves is kept; keep at least one")
        weight = self.weight[selection].sum() / self.total_weight
        cost = self.kept_cost(selection) / self.total_cost
        diversity = np.unique(self.cluster[selection]).size / self.num_clusters
        return float(weight - self.lambda_b * cost + self.lambda_d * diversity)

    def _selection(self, kept: ArrayLike) -> NDArray[np.bool_]:
        selection = np.asarray(kept)
        if selection.shape != (self.num_leaves,) or selection.dtype != np.bool_:
            raise ConfigError(
                f"kept has shape {selection.shape} and type {selection.dtype}; "
                f"give one bool for each leaf: ({self.num_leaves},)"
            )
        return selection

    def _with_ancestors(self, nodes: NDArray[np.int64]) -> NDArray[np.bool_]:
        marked = np.zeros(self.num_nodes, dtype=np.bool_)
        while nodes.size:
            marked[nodes] = True
            above = self.parent[nodes]
            above = above[above != NO_PARENT]
            nodes = above[~marked[above]]  # one that stands there twice costs less than it takes to find it
        return marked


def _array(name: str, values: ArrayLike) -> NDArray[np.generic]:
    try:
        array = np.array(values)
    except ValueError as error:
        raise ConfigError(f"{name} is not a flat list: {error}") from error
    if array.ndim != 1:
        raise ConfigError(f"{name} has shape {array.shape}; give a flat list (one dimension)")
    return array


def _integers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    array = _array(name, values)
    if array.size and array.dtype.kind not in "iu":
        raise ConfigError(f"{name} holds values of type {array.dtype}; node ids are whole numbers")
    return array.astype(np.int64)


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = _array(name, values)
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{name} holds something that is no finite number: {error}") from error


def _dense_labels(cluster: ArrayLike) -> NDArray[np.int64]:
    labels = _array("cluster", cluster)
    try:
        dense: NDArray[np.int64] = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    except TypeError as error:
        raise ConfigError(f"the cluster labels cannot be told apart ({error}); give integers or strings") from error
    return dense


def _number(name: str, value: float) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{name} is {value!r}; it must be a number, finite and at least 0") from error


def _factor(name: str, value: float) -> float:
    number = _number(name, value)
    if not 0.0 <= number < np.inf:
        raise ConfigError(f"{name} is {number}; it must be finite and at least 0 (0 switches its term off)")
    return number


def _check_forest(parent: NDArray[np.int64]) -> None:
    num_nodes = parent.size
    _check_ids("the parent of node {position}", parent, NO_PARENT, num_nodes, "-1 is a root")
    if (parent < np.arange(num_nodes)).all():
        return  # each parent comes before its children
    ancestor = np.append(np.where(parent == NO_PARENT, num_nodes, parent), num_nodes)
    for _ in range(num_nodes.bit_length()):  # 1, 2, 4, … generations up
        ancestor = ancestor[ancestor]
    on_cycle = np.flatnonzero(ancestor != num_nodes)
    if on_cycle.size:
        raise ConfigError(f"node {on_cycle[0]} never reaches a root: its parents go round in a circle; give a forest")


def _check_leaves(leaves: NDArray[np.int64], num_nodes: int) -> None:
    _check_ids("leaf {position}", leaves, 0, num_nodes, "leaves are node ids")
    counts = np.bincount(leaves, minlength=num_nodes)
    if counts.max() > 1:
        twice = int(np.argmax(counts > 1))
        raise ConfigError(f"node {twice} is given as a leaf {counts[twice]} times; give each leaf once")


def _check_ids(what: str, ids: NDArray[np.int64], lowest: int, num_nodes: int, note: str) -> None:
    outside = (ids < lowest) | (ids >= num_nodes)
    if outside.any():
        bad = np.flatnonzero(outside)
        subject = what.format(position=bad[0])
        raise ConfigError(f"{subject} is {ids[bad[0]]}; it must lie in {lowest}..{num_nodes - 1} ({note})")


def _check_values(name: str, values: NDArray[np.float64], owner: Callable[[int], str]) -> None:
    good = (values >= 0.0) & (values < np.inf)
    if not good.all():
        position = int(np.argmin(good))
        raise ConfigError(f"the {name} of {owner(position)} is {values[position]}; it must be finite and at least 0")


def _check_total(what: str, total: float) -> None:
    if not 0.0 < total < np.inf:
        raise ConfigError(f"{what} sum to {total}; the sum must be finite and above 0")

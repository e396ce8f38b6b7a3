"""What might take the place of thrift's hard clusters; ``diversity.py`` runs it.

Each arm is all that ``thrift`` is but for one thing:

- *Other clusters*, for diversity and inheritance both: those of the last two steps' texts (``TwoSteps``), of the PRM's
  last hidden state at the step (``OfPrm``), of what minimath's checker reads in the steps (``Meaning``, an oracle).
- *A soft diversity term* (``Soft``): in place of ``covered clusters / clusters`` a sum over sets of leaves c of
  ``g_c min(1, sum_{i in S} a_ci)``, so that ``z_c`` is a fraction. With ``a`` 0 or 1 that is coverage by sets, nested
  ones and facility location among them; with ``a`` below 1 a set is covered to a part.
- *Soft inheritance*: who was pruned leaves its mass to the survivors by similarity, and not by cluster.
- *DORA's weights* in the programme and the shares, without a diversity term.

And what is not thrift at all: *merging*, after FETCH (``Merged``).
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import openvino as ov
from clusters import number
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from embedders import meaning_of
from etsearch import minimath
from etsearch.allocation import share
from etsearch.diversity import cluster, cluster_texts
from etsearch.embedders import LexicalEmbedder
from etsearch.minimath import checker
from etsearch.prms.families import Head
from etsearch.prms.openvino import OpenVinoCodec, OpenVinoNetwork
from etsearch.strategies import Frontier, Selection
from etsearch.strategies.inheritance import inherited_multiplicity
from etsearch.strategies.keeps_best import by_falling_reward, split_evenly
from etsearch.strategies.leaves import LeafDraws
from etsearch.strategies.thrift import Thrift, price_of_width

T_R = 0.2

# --- other clusters ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reclustered:
    """Thrift on clusters of its own.

    Attributes:
        threshold: cosine distance of the cut.
        price: of thrift.
        lambda_d: of thrift.
    """

    threshold: float = 0.05
    price: float = 1.0
    lambda_d: float = 1.0

    needs_rewards = True
    needs_clusters = False
    completes_at_most_width = True

    def select(self, frontier: Frontier, width: int) -> Selection:
        labels = self.clusters(frontier)
        selection = self._thrift.select(replace(frontier, clusters=labels), width)
        return replace(selection, figures={**selection.figures, "clusters": float(labels.max() + 1)})

    @property
    def _thrift(self):
        return Thrift(price=self.price, lambda_d=self.lambda_d)


@dataclass(frozen=True)
class TwoSteps(Reclustered):
    """Of the last two steps' texts, joined, in the lexical embedding."""

    def clusters(self, frontier):
        return cluster_texts(texts_of(frontier, 2), LexicalEmbedder().embed_now(texts_of(frontier, 2)), self.threshold)


@dataclass(frozen=True)
class OfPrm(Reclustered):
    """Of the PRM's last hidden state where it judges the step: it has read the question and the whole path."""

    def clusters(self, frontier):
        return cluster(hidden_states(frontier), self.threshold)


@dataclass(frozen=True)
class Meaning(Reclustered):
    """An oracle: what the checker reads in the last step, or in the whole path, in any order.

    Attributes:
        of: ``step`` or ``path``.
    """

    of: Literal["step", "path"] = "step"

    def clusters(self, frontier):
        paths = [
            [frontier.tree.continuation(n).text.strip() for n in frontier.tree.path(node)] for node in frontier.nodes
        ]
        if self.of == "step":
            return number([meaning(path[-1]) for path in paths])
        return number([frozenset(map(meaning, path)) for path in paths])


@lru_cache(maxsize=1 << 15)
def meaning(text):
    read = checker.read_step(text)
    return text if read is None else meaning_of(read)


def texts_of(frontier: Frontier, num_steps: int) -> list[str]:
    tree = frontier.tree
    return [
        "\n".join(tree.continuation(n).text.strip() for n in tree.path(node)[-num_steps:]) for node in frontier.nodes
    ]


@dataclass(frozen=True)
class Merged:
    """The nodes of a cluster are one, continued at its best (FETCH: Wang et al., ACL 2025, arXiv:2502.11183).

    Of the paper's: agglomerative clusters of the steps' embeddings, and a rule for trees that takes clusters for nodes.
    Not of it: its fine-tuned embedder and its verifier.

    Attributes:
        rule: ``beam`` goes on with the best sqrt(N), ``rebase`` shares the width by rewards.
    """

    rule: Literal["beam", "rebase"] = "rebase"

    needs_rewards = True
    needs_clusters = True
    completes_at_most_width = True

    def select(self, frontier: Frontier, width: int) -> Selection:
        rewards = frontier.check_rewards()
        best = {}
        for place in by_falling_reward(rewards):
            best.setdefault(int(frontier.clusters[place]), place)
        places = list(best.values())  # best first
        if self.rule == "beam":
            places = places[: math.isqrt(width - 1) + 1]
            given = split_evenly(width, len(places))
        else:
            given = share(rewards[places].tolist(), width, T_R, "sequential")
        counts = np.zeros(len(frontier.nodes), dtype=np.int64)
        counts[places] = given
        return Selection(tuple(counts.tolist()), {"clusters": float(len(best))})


# --- what the PRM makes of a step -------------------------------------------------------------------------------------


def hidden_states(frontier: Frontier) -> NDArray[np.float64]:
    """``[n, 128]`` the shipped PRM's last hidden state, after the norm, at the tag after the last step of each."""
    network, ids_of, known = prm()
    tree = frontier.tree
    question = "Q: " + minimath.read_question(tree.question).strip() + "\n"
    paths = [(question, *(tree.continuation(n).text.strip() + "\n" for n in tree.path(v))) for v in frontier.nodes]
    new = [path for path in dict.fromkeys(paths) if path not in known]
    for places, figures in network.figures([tuple(token for text in path for token in ids_of(text)) for path in new]):
        known.update({new[place]: states[-1] for place, states in zip(places, figures, strict=True)})
    return np.array([known[path] for path in paths])


@lru_cache(maxsize=1)
def prm():
    """The shipped PRM with the input of its head for an output, its tokenizer, and the states that are known."""
    folder = minimath.model_path("prm")
    model = ov.Core().read_model(str(folder / "openvino_model.xml"))
    head = model.get_results()[0].input_value(0).get_node()
    cut = ov.Model([head.input_value(0)], model.get_parameters(), "hidden")
    codec = OpenVinoCodec(folder)
    with tempfile.TemporaryDirectory() as kept:
        ov.save_model(cut, str(Path(kept) / "openvino_model.xml"))
        network = OpenVinoNetwork(Path(kept), Head.LABELS, None, 64)
    return network, lru_cache(maxsize=1 << 15)(lambda text: tuple(codec.encode_now(text))), {}


# --- a soft diversity term --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Covered:
    """A set of leaves that is worth ``gain min(1, sum over S of part)``; parts ``[leaves]`` are in [0, 1]."""

    gain: float
    part: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class View:
    """A frontier as leaves, which are steps.

    Attributes:
        frontier: with clusters and embeddings of last steps.
        leaves: its steps.
        rows: ``[leaves, d]`` what similarity goes by, at length 1.
    """

    frontier: Frontier
    leaves: LeafDraws
    rows: NDArray[np.float64]

    @cached_property
    def rewards(self) -> NDArray[np.float64]:
        return self.frontier.rewards[self.leaves.first]

    @cached_property
    def mass(self) -> NDArray[np.float64]:
        """``[leaves]`` what REBASE shares by, of all draws of a step."""
        return self.leaves.count * np.exp((self.rewards - self.rewards.max()) / T_R)

    @cached_property
    def clusters(self) -> NDArray[np.int64]:
        return number(self.frontier.clusters[self.leaves.first].tolist())

    @cached_property
    def similarity(self) -> NDArray[np.float64]:
        """``[leaves, leaves]`` cosines, 1 to itself."""
        similarity = np.clip(np.einsum("id,jd->ij", self.rows, self.rows), -1.0, 1.0)
        np.fill_diagonal(similarity, 1.0)
        return similarity

    def kernel(self, temperature: float) -> NDArray[np.float64]:
        """``[leaves, leaves]`` similarities in (0, 1]; the smaller the temperature, the harder."""
        return np.exp((self.similarity - 1.0) / temperature)


@dataclass(frozen=True)
class Soft:
    """Thrift with another diversity term, another inheritance, or DORA's weights.

    Attributes:
        cover: the diversity term. ``clusters`` is thrift's own. ``mass``: a cluster counts by the mass of its steps,
            where thrift counts all alike. ``share``: a cluster is covered in full once ``full`` of its mass is kept,
            before that in proportion. ``nested``: clusters at several cuts, each level with its share of lambda_d.
            ``kernel``: every step is covered to the degree of its greatest similarity with a survivor, and counts by
            its uniqueness, so that with similarities of 0 and 1 this is thrift's term. ``nothing``: no such term.
        inherit: ``clusters`` is thrift's, ``similarity`` spreads what was pruned by similarity, ``nothing``
            is the paper's.
        directions: whether the weights and shares are multiplied by DORA's uniqueness.
        space: what similarity goes by: the text of the last ``step``, of the last two (``steps2``), or the ``prm``.
        temperature: of the kernel.
        full: see ``share``.
        cuts: of ``nested``, with spaces between.
        price: of thrift.
        lambda_d: of thrift.
    """

    cover: Literal["clusters", "mass", "share", "nested", "kernel", "nothing"] = "clusters"
    inherit: Literal["clusters", "similarity", "nothing"] = "clusters"
    directions: bool = False
    space: Literal["step", "steps2", "prm"] = "step"
    temperature: float = 0.05
    full: float = 0.5
    cuts: str = "0.05 0.2 0.4 0.6"
    price: float = 1.0
    lambda_d: float = 1.0

    needs_rewards = True
    needs_clusters = True
    needs_embeddings = True
    completes_at_most_width = True

    def select(self, frontier: Frontier, width: int) -> Selection:
        view = self.view(frontier)
        own = uniqueness(view, self.temperature) if self.directions else np.ones(len(view.leaves.node))
        kept = best_leaves(
            view,
            np.array(share(view.rewards.tolist(), width, T_R, "ceil", (view.leaves.count * own).tolist()), dtype=float),
            self.price * price_of_width(frontier.total_width),
            self.sets(view),
        )
        survivors = view.leaves.draws(tuple(kept.tolist()))
        times = own[view.leaves.leaf[survivors]] * self.multiplicity(view, kept, survivors)
        widths = np.zeros(len(frontier.nodes), dtype=np.int64)
        widths[survivors] = share(frontier.rewards[survivors].tolist(), width, T_R, "sequential", times.tolist())
        return Selection(tuple(widths.tolist()), {"leaves": float(len(kept)), "kept": float(kept.sum())})

    def view(self, frontier: Frontier) -> View:
        leaves = LeafDraws.of(frontier, "steps")
        if self.space == "prm":
            rows = hidden_states(frontier)
        elif self.space == "steps2":
            rows = LexicalEmbedder().embed_now(texts_of(frontier, 2))
        else:
            rows = frontier.embeddings
        rows = np.asarray(rows, dtype=np.float64)[leaves.first]
        return View(frontier, leaves, rows / np.linalg.norm(rows, axis=1, keepdims=True))

    def sets(self, view: View) -> list[Covered]:
        """The terms of diversity; their gains add up to lambda_d."""
        if self.cover == "nothing":
            return []
        if self.cover == "kernel":
            return facilities(view, self.temperature, self.lambda_d)
        if self.cover == "nested":
            cuts = [float(cut) for cut in self.cuts.split()]
            copies, each = view.rows[view.leaves.leaf], self.lambda_d / len(cuts)
            levels = [number(cluster(copies, cut)[view.leaves.first].tolist()) for cut in cuts]
            return [covered for labels in levels for covered in by_cluster(labels, each)]
        if self.cover == "mass":
            mass = np.bincount(view.clusters, weights=view.mass) / view.mass.sum()
            return [Covered(self.lambda_d * m, (view.clusters == k).astype(float)) for k, m in enumerate(mass)]
        if self.cover == "share":
            whole = np.bincount(view.clusters, weights=view.mass)[view.clusters]
            part = np.minimum(view.mass / whole / self.full, 1.0)
            return [replace(c, part=c.part * part) for c in by_cluster(view.clusters, self.lambda_d)]
        return by_cluster(view.clusters, self.lambda_d)

    def multiplicity(self, view: View, kept: NDArray[np.bool_], survivors: NDArray[np.intp]) -> NDArray[np.float64]:
        if self.inherit == "nothing":
            return np.ones(len(survivors))
        if self.inherit == "clusters":
            return np.array(inherited_multiplicity(view.frontier, survivors, T_R))
        return spread(view.kernel(self.temperature), view.mass, kept)[view.leaves.leaf[survivors]]


def by_cluster(labels: NDArray[np.int64], lambda_d: float) -> list[Covered]:
    """A cluster is covered by any member, and all count alike."""
    count = int(labels.max()) + 1
    return [Covered(lambda_d / count, (labels == k).astype(float)) for k in range(count)]


def uniqueness(view: View, temperature: float) -> NDArray[np.float64]:
    """``[leaves]`` DORA's gamma of each draw of a step: among all draws the share that it has in its direction."""
    return 1.0 / (view.kernel(temperature) @ view.leaves.count)


def facilities(view: View, temperature: float, lambda_d: float) -> list[Covered]:
    """``sum_i g_i max_{j in S} k_ij`` as coverage: step i gains k_(r) - k_(r+1) if one of its r nearest is kept."""
    kernel, sets = view.kernel(temperature), []
    own = 1.0 / kernel.sum(axis=1)
    for near, weight in zip(kernel, lambda_d * own / own.sum(), strict=True):
        order = np.argsort(-near, kind="stable")
        falls = near[order] - np.append(near[order][1:], 0.0)
        for rank in np.flatnonzero(falls > 1e-6):
            part = np.zeros(len(near))
            part[order[: rank + 1]] = 1.0
            sets.append(Covered(weight * falls[rank], part))
    return sets


def spread(kernel: NDArray[np.float64], mass: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """``[leaves]`` how many of itself each survivor stands for, 1 at least.

    A pruned step leaves to each survivor in proportion to their similarity and its mass, and of its own mass as much
    as its greatest similarity: what is like nothing is lost. With similarities of 0 and 1 these are clusters.
    """
    to = kernel * (mass * kept)
    left = np.where(kept, 0.0, mass * np.where(kept, kernel, 0.0).max(axis=1))
    return 1.0 + (left / np.maximum(to.sum(axis=1), 1e-300)) @ (kernel * kept)  # 0 / 0: like no survivor at all


def best_leaves(view: View, weight: NDArray[np.float64], lambda_b: float, sets: Sequence[Covered]) -> NDArray[np.bool_]:
    """``[leaves]`` an optimum of the programme with these sets in place of clusters, by HiGHS.

    Columns are the nodes of the frontier's tree of steps, a leaf's own among them, then ``z_c`` in [0, 1].
    """
    tree, leaves = view.frontier.tree, view.leaves
    nodes = np.flatnonzero(tree.span(view.frontier.nodes))
    place = np.full(len(tree), -1)
    place[nodes] = np.arange(len(nodes))
    own, above = place[leaves.node], np.where(leaves.parent[nodes] < 0, -1, place[leaves.parent[nodes]])
    gain = -lambda_b * tree.tokens[nodes] / tree.tokens[nodes].sum()
    gain[own] += weight / weight.sum()
    links = [([child, parent], [1.0, -1.0]) for child, parent in enumerate(above) if parent >= 0]
    covers = [
        ([len(nodes) + c, *own[np.flatnonzero(one.part)]], [1.0, *-one.part[np.flatnonzero(one.part)]])
        for c, one in enumerate(sets)
    ]
    rows = [*links, *covers, (list(own), [-1.0] * len(own))]
    upper = np.array([0.0] * (len(rows) - 1) + [-1.0])
    row = np.repeat(np.arange(len(rows)), [len(columns) for columns, _ in rows])
    column = np.concatenate([columns for columns, _ in rows]).astype(int)
    count = len(nodes) + len(sets)
    matrix = coo_array((np.concatenate([values for _, values in rows]), (row, column)), shape=(len(rows), count))
    found = milp(
        -np.concatenate([gain, [one.gain for one in sets]]),
        integrality=np.concatenate([np.ones(len(nodes)), np.zeros(len(sets))]),
        bounds=Bounds(0.0, 1.0),
        constraints=LinearConstraint(matrix.tocsr(), -np.inf, upper),
        options={"time_limit": 5.0, "mip_rel_gap": 0.0},
    )
    if found.x is None:
        raise RuntimeError(f"no selection: {found.message}")
    return found.x[own] > 0.5

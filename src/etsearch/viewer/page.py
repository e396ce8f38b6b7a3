"""Searches as one self-contained HTML page: the tree by depth, the steps, the vote. No network, no library."""

import html
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from etsearch.answers import equivalent
from etsearch.loop.result import SearchResult, plain_number
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.loop.voting import vote
from etsearch.tree import ROOT
from etsearch.types import EndReason, EngineFigures, StopReason


@dataclass(frozen=True)
class ViewedSearch:
    """A search as the page draws it: plain values for JSON."""

    title: str
    values: Mapping[str, Any]


def to_view(
    title: str,
    state: SearchState,
    settings: SearchSettings,
    stop_reason: str | None,
    gold: str | None = None,
    is_right: bool | None = None,
) -> ViewedSearch:
    """What the page shows of a search.

    Args:
        title: what it is called, such as ``ets, width 64``.
        state: the search at its end, or after a depth.
        settings: those it was run with, for the vote.
        stop_reason: why it stopped; None as long as it goes on.
        gold: the reference answer, where there is one.
        is_right: whether the search's answer is right, where that is known.
    """
    tree = state.tree
    stop = StopReason(stop_reason) if stop_reason else None
    result = vote(state, settings, stop or StopReason.EXHAUSTED, EngineFigures())
    answers = {t.node: t for t in result.trajectories}
    width: Counter[int] = Counter()
    cluster: dict[int, int] = {}
    for depth in state.depths:
        width.update(dict(zip(depth.nodes, depth.widths, strict=True)))  # adds up: a node may be chosen again
        cluster.update(zip(depth.nodes, depth.clusters or (), strict=False))
    nodes, depth_of = [], tree.depth.tolist()
    for node in range(1, len(tree)):
        ended = answers.get(node)
        nodes.append(
            {
                "parent": tree.parent_of(node),
                "depth": depth_of[node],
                "text": tree.continuation(node).text,
                "tokens": len(tree.continuation(node).token_ids),
                "reward": plain_number(tree.reward(node)),
                "width": width.get(node),
                "cluster": cluster.get(node),
                "end": str(state.ended[node]) if node in state.ended else None,
                "answer": ended.answer if ended else None,
                "weight": ended.weight if ended else None,
            }
        )
    return ViewedSearch(
        title,
        {
            "title": title,
            "question": tree.question,
            "prompt_tokens": tree.prefix_tokens(ROOT),
            "answer": result.answer,
            "best": _unvoted(result) if stop else None,
            "gold": gold,
            "right": is_right,
            "stop": stop.message if stop else "",
            "width": settings.width,
            "nodes": nodes,
            "depths": _steps_by_depth(state) if state.reached_back else _depths(state),
            "votes": [{"answer": v.answer, "weight": v.weight, "count": v.count} for v in result.votes],
            "failures": [f"{f.request} of node {f.node}: {f.reason}" for f in state.failures],
        },
    )


def _depths(state: SearchState) -> list[dict[str, Any]]:
    return [
        {
            "kv": d.kv_tokens,
            "kv_unshared": d.kv_tokens_unshared,
            "kept_kv": state.tree.kv_tokens([n for n, w in zip(d.nodes, d.widths, strict=True) if w > 0]),
            "open": len(d.nodes),
            "kept": d.num_kept,
            "clusters": d.num_clusters,
            "completed": d.num_completed,
        }
        for d in state.depths
    ]


def _steps_by_depth(state: SearchState) -> list[dict[str, Any]]:
    """The same of a search across depths, of the steps that lie at each, whenever they were written."""
    tree, found = state.tree, []
    depth_of, parents = tree.depth, set(tree.parent.tolist())
    for depth in range(1, int(depth_of.max()) + 1):
        nodes = np.flatnonzero(depth_of == depth).tolist()
        still_open = [node for node in nodes if node not in state.ended]
        expanded = [node for node in still_open if node in parents]
        found.append(
            {
                "kv": tree.kv_tokens(nodes),
                "kv_unshared": tree.kv_tokens_unshared(nodes),
                "kept_kv": tree.kv_tokens(expanded),
                "open": len(still_open),
                "kept": len(expanded),
                "clusters": None,
                "completed": len(nodes) - len(still_open),
            }
        )
    return found


def _unvoted(result: SearchResult) -> int | None:
    """The node of the trajectory that is the answer for its reward alone; None where there was a vote, or it failed."""
    best = None if result.votes else result.best
    return None if best is None or best.end_reason is EndReason.FAILED else best.node


def view_result(title: str, result: SearchResult, settings: SearchSettings, gold: str | None = None) -> ViewedSearch:
    """The same of a search's result.

    Args:
        title: what it is called.
        result: of the search.
        settings: those it was run with, for the vote.
        gold: the reference answer, where there is one.
    """
    is_right = None if gold is None or result.answer is None else equivalent(result.answer, gold)
    return to_view(title, SearchState.of(result), settings, str(result.stop_reason), gold, is_right)


def make_page(searches: Sequence[ViewedSearch]) -> str:
    """One HTML page with some searches, at least one, to choose from."""
    template = _file("page.html").replace("{{tree.js}}", _file("tree.js"))
    # Inside a script element nothing may look like its end.
    data = json.dumps([search.values for search in searches], ensure_ascii=False).replace("<", "\\u003c")
    return template.replace("{{title}}", html.escape(searches[0].title)).replace("{{data}}", data)


def _file(name: str) -> str:
    return resources.files("etsearch.viewer").joinpath(name).read_text(encoding="utf-8")

"""Draws the picture of the README: ``python tools/draw_trees.py docs/images/trees.svg`` (needs matplotlib).

One problem, searched twice with the same models and the same seed, depth to the right: what is kept is dark, what is
pruned is pale, a step that ended a trajectory is green.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import etsearch
from etsearch import minimath
from etsearch.tree import ROOT

KEPT, PRUNED, ENDED = "#1f5fa8", "#c9d3de", "#2b8a3e"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--example", type=int, default=6)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", default="minimath", help="generator and PRM; 'scripted' needs no model")
    options = parser.parse_args()
    mpl.rcParams["svg.hashsalt"] = "etsearch"
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharex=True, sharey=True)
    for ax, strategy in zip(axes, ("rebase", "ets"), strict=True):
        result = etsearch.solve(
            minimath.example(options.example),
            strategy=strategy,
            width=options.width,
            seed=options.seed,
            generator=options.parts,
            prm=options.parts,
        )
        draw(ax, result)
        title = f"{strategy.upper()}: {result.usage.kv_tokens:,} KV tokens, answer {result.answer}"
        ax.set_title(title, loc="left", fontsize=11)
    figure.tight_layout()
    figure.savefig(options.out, metadata={"Date": None})


def draw(ax: Axes, result: etsearch.SearchResult) -> None:
    """Depth to the right, siblings below one another."""
    tree, ended = result.tree, {t.node for t in result.trajectories}
    heights: dict[int, float] = {}
    rows = 0

    def place(node: int) -> None:
        nonlocal rows
        children = tree.children(node).tolist()
        for child in children:
            place(child)
        below = [heights[child] for child in children]
        heights[node] = sum(below) / len(below) if below else float(rows)
        rows += not below

    place(ROOT)
    for node in range(1, len(tree)):
        parent, depth = int(tree.parent[node]), int(tree.depth[node])
        kept = node in ended or len(tree.children(node)) > 0
        color = ENDED if node in ended else KEPT if kept else PRUNED
        ax.plot(
            [depth - 1, depth - 0.6, depth],
            [heights[parent], heights[node], heights[node]],
            color=color,
            linewidth=1.6 if kept else 1.0,
            zorder=2 if kept else 1,
        )
        if node in ended:
            ax.plot(depth, heights[node], "o", color=ENDED, markersize=3.5)
    ax.plot(0, heights[ROOT], "o", color="black", markersize=5)
    ax.invert_yaxis()
    ax.axis("off")


if __name__ == "__main__":
    main()

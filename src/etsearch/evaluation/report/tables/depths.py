"""How does a search go on, depth by depth?"""

import itertools

import numpy as np

from etsearch.evaluation.report.results import Results
from etsearch.evaluation.report.tables.base import Table, code


def depths(results: Results) -> Table:
    """Frontier, kept and clusters by depth, at the largest width."""
    width = max(results.widths(), default=0)
    rows = []
    for cell in (c for c in results.plain() if c.width == width):
        by_depth = itertools.zip_longest(*(r.depths for r in results.cells[cell]))
        for number, column in enumerate(by_depth, start=1):
            there = [d for d in column if d is not None]
            clusters = [d.num_clusters for d in there if d.num_clusters is not None and d.num_open]
            figures = [np.mean([d.num_open for d in there]), np.mean([d.num_kept for d in there])]
            shown = f"{np.mean(clusters):.1f}" if clusters else "–"
            kv = f"{np.mean([d.kv['kv_tokens'] for d in there]):,.0f}"
            rows.append((code(cell.strategy), str(number), str(len(there)), *(f"{f:.1f}" for f in figures), shown, kv))
    header = ("strategy", "depth", "searches", "frontier", "kept", "clusters", "KV tokens")
    return Table(f"By depth, at width {width}", header, rows, "Means over the searches that reached the depth.")

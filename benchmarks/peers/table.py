"""What the measurements come to: a row for each cell, etsearch beside each cell of a peer."""

import statistics
from dataclasses import asdict

from etsearch.evaluation.report.statistics import difference, mean

OURS = "etsearch"
COUNTS = (
    "requests",
    "sequences",
    "prompt_tokens",
    "seen_prompt_tokens",
    "generated_tokens",
    "prm_trajectories",
    "prm_tokens",
    "engine_hit_tokens",
)


def by_cell(measurements):
    """The measurements of each cell, one a round."""
    cells = {}
    for measurement in sorted(measurements, key=lambda m: m.seed):
        cells.setdefault(measurement.cell, []).append(measurement)
    return cells


def rows_of(measurements, width):
    """A row for each cell: the median of its rounds' rates, accuracy over all rounds, counts per problem."""
    return [row_of(cell, width, rounds) for cell, rounds in by_cell(measurements).items()]


def row_of(cell, width, rounds):
    rates = [m.problems_per_hour for m in rounds]
    return {
        **name_of(cell, width),
        "problems_per_hour": statistics.median(rates),
        "problems_per_hour_of_rounds": rates,
        "cpu_seconds_per_problem": cpu_seconds(rounds),
        "loop_seconds_per_problem": loop_seconds(rounds),
        "accuracy": asdict(mean(right_by_problem(rounds))),
        "per_problem": {name: per_problem(rounds, name) for name in COUNTS},
    }


def name_of(cell, width):
    method = cell.method
    names = {"project": method.project, "method": method.name}
    return names | {"width": width * method.eighths // 8, "in_flight": cell.in_flight}


def per_problem(rounds, name):
    counts = [getattr(m.usage, name) for m in rounds]
    return None if None in counts else sum(counts) / sum(len(m.right) for m in rounds)


def cpu_seconds(rounds):
    """Seconds of CPU time per problem, of all threads."""
    return sum(m.cpu_seconds for m in rounds) / sum(len(m.right) for m in rounds)


def loop_seconds(rounds):
    """The part of them that the event loop's thread took: of etsearch, all but what its models compute."""
    return sum(m.loop_seconds for m in rounds) / sum(len(m.right) for m in rounds)


def right_by_problem(rounds):
    """The share of rounds in which each problem was answered rightly."""
    return {problem: statistics.mean(m.right[problem] for m in rounds) for problem in rounds[0].right}


# --- etsearch beside a peer -------------------------------------------------------------------------------------------


def comparisons(measurements, width):
    """For each cell of a peer: etsearch's fastest cell that is at least as accurate, or else its most accurate one.

    Once of its cells of the same width, once of all. The ratio is that of problems per hour, round by round, and its
    median; ``cpu_ratio`` is the peer's CPU time over etsearch's, which other work on the machine moves less, and
    ``cpu_ratio_without_loop`` what it would be if all that etsearch does but compute models took no time; the
    difference of accuracy is paired by problem, with a 95 % bootstrap interval.
    """
    cells = by_cell(measurements)
    ours = [cell for cell in cells if cell.method.project == OURS]
    pairs = []
    for peer in (cell for cell in cells if cell.method.project != OURS):
        as_wide = [cell for cell in ours if cell.method.eighths == peer.method.eighths]
        for widths, chosen in (("same", as_wide), ("any", ours)):
            if chosen:
                pairs.append({"widths": widths, **comparison(peer, chosen, cells, width)})
    return pairs


def comparison(peer, ours, cells, width):
    theirs = cells[peer]
    match = max(ours, key=lambda cell: preference(cells[cell], accuracy(theirs)))
    own = cells[match]
    ratios = [a.problems_per_hour / b.problems_per_hour for a, b in zip(own, theirs, strict=True)]
    return {
        "peer": name_of(peer, width),
        "etsearch": name_of(match, width),
        "ratio": statistics.median(ratios),
        "ratio_of_rounds": ratios,
        "cpu_ratio": cpu_seconds(theirs) / cpu_seconds(own),
        "cpu_ratio_without_loop": cpu_seconds(theirs) / (cpu_seconds(own) - loop_seconds(own)),
        "accuracy_difference": asdict(difference(right_by_problem(own), right_by_problem(theirs))),
    }


def preference(rounds, wanted_accuracy):
    """Accurate enough and fast; if none is accurate enough, accurate."""
    own = accuracy(rounds)
    return min(own, wanted_accuracy), rate(rounds)


def accuracy(rounds):
    return statistics.mean(right_by_problem(rounds).values())


def rate(rounds):
    return statistics.median(m.problems_per_hour for m in rounds)


# --- what is printed --------------------------------------------------------------------------------------------------


HEADS = (
    ",in,problems,CPU,accuracy (%),requests,,prompt,seen,written,PRM,PRM",
    "width,flight,per hour,ms,95 % interval,(a problem),paths,tokens,%,tokens,paths,tokens",
)
HEAD = "{:24} {:>5} {:>6} {:>9} {:>6} {:>20}  {:>11} {:>7} {:>7} {:>5} {:>7} {:>6} {:>7}"
LINE = "{:24} {:5} {:6} {:9,.0f} {:6.0f} {:>20}  {:11.1f} {:7.1f} {:7.0f} {:5.0f} {:7.0f} {:6.1f} {:7.0f}"


def report(facts, rows, pairs):
    machine = facts["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["peers"].items())
    print(
        f"{facts['problems']} problems of {facts['data']}, width {facts['width']}, {len(facts['seeds'])} rounds; "
        f"{machine['cpu']}, {machine['cores']} cores; {versions}; {machine['started_at']}\n"
    )
    for head in HEADS:
        print(HEAD.format("", *head.split(",")))
    for row in rows:
        print(line_of(row))
    for widths, what in (("same", "of the same width"), ("any", "of any width")):
        print(f"\nbeside each peer, as width/in flight: etsearch's fastest row {what} that is at least as accurate")
        for pair in pairs:
            if pair["widths"] == widths:
                print(line_of_pair(pair))


def line_of(row):
    counts, right = row["per_problem"], row["accuracy"]
    return LINE.format(
        title(row),
        row["width"],
        row["in_flight"],
        row["problems_per_hour"],
        1e3 * row["cpu_seconds_per_problem"],
        f"{100 * right['value']:.1f} ({100 * right['low']:.0f} to {100 * right['high']:.0f})",
        counts["requests"],
        counts["sequences"],
        counts["prompt_tokens"],
        100 * counts["seen_prompt_tokens"] / counts["prompt_tokens"],
        counts["generated_tokens"],
        counts["prm_trajectories"],
        counts["prm_tokens"],
    )


def title(row):
    return f"{row['project']} {row['method']}"


def line_of_pair(pair):
    low, high = min(pair["ratio_of_rounds"]), max(pair["ratio_of_rounds"])
    gap = pair["accuracy_difference"]
    return (
        f"  {full_title(pair['peer']):28}  {pair['ratio']:.2f}x ({low:.2f} to {high:.2f}), CPU time "
        f"{pair['cpu_ratio']:.2f}x ({pair['cpu_ratio_without_loop']:.2f}x without etsearch's loop), "
        f"by {full_title(pair['etsearch'])}; "
        f"accuracy {100 * gap['value']:+.1f} points ({100 * gap['low']:+.1f} to {100 * gap['high']:+.1f})"
    )


def full_title(row):
    return f"{title(row)} {row['width']}/{row['in_flight']}"

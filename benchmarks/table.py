"""docs/benchmarks.md from the records in benchmarks/records: the last step of ``make bench``.

python benchmarks/table.py
"""

import json
from dataclasses import replace
from pathlib import Path

from facts import in_words

from etsearch.evaluation.report.statistics import Interval, difference
from etsearch.evaluation.report.tables import Table, code, percent, points

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

What `make bench` (under half an hour on two cores) and `make bench-serving` measure side by side: written by
`benchmarks/table.py` from `benchmarks/records`, nothing by hand. What each figure means, and what it does not, stands
at the top of its script in `benchmarks/`; what follows from them in [results.md](results.md) and
[experiments.md](experiments.md)."""


def main():
    parts = [
        HEAD,
        *selection(),
        *peers("peers", "etsearch and its peers"),
        *peers("peers-vllm", "The same on vLLM", on_servers=True),
        *busy(),
        *growth(),
        *gains(),
        *engines(),
        *serving(),
        *serving_vllm(),
        *serving_load(),
        *cluster(),
    ]
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def read(name):
    return json.loads((HERE / "records" / f"{name}.json").read_text(encoding="utf-8"))


def selection():
    record = read("selection")
    rows = []
    for row in record["rows"]:
        times = [f"{row[which][solver]:.2f}" if solver in row[which] else "–" for solver, which in _SOLVERS]
        ratios = [f"{row[which]:.0f}×" if row[which] else "–" for which in ("median_ratio", "worst_ratio")]
        rows.append((row["programmes_of"], str(row["width"]), str(row["programmes"]), *times, *ratios))
    header = ("programmes", "leaves", "number", *(f"{s}, {w.removesuffix('_ms')}" for s, w in _SOLVERS))
    header = (*header, "CBC ÷ lagrange, median", "worst")
    worst = max(row["largest_difference"] for row in record["rows"])
    note = f"Milliseconds, building the programme included. Largest difference between two optima: {worst:.0e}."
    yield Table(
        "Selection: `benchmarks/selection.py`", header, rows, f"{note} {in_words(record['machine'])}."
    ).markdown()


_SOLVERS = [(solver, which) for solver in ("lagrange", "highs", "cbc") for which in ("median_ms", "worst_ms")]


ON_SERVERS = (
    " Generator and reward model are two servers on the same cores, which stay warm from one method to the next; "
    "CPU time is that of the client's process alone."
)
CPU = {"CPU time": "cpu_ratio", "with a loop that costs nothing": "cpu_ratio_without_loop"}
CPU_NOTE = (
    " With a loop that costs nothing: the ratio of CPU times if all that etsearch does but compute models took no "
    "time, which no controller of these searches can pass."
)


def peers(name, title, *, on_servers=False):
    """The rows, and each peer's beside the best of ours; with the ratios of CPU time where it is that of the models."""
    record = read(name)
    facts = record["facts"]
    rows = []
    for row in record["rows"]:
        counts = row["per_problem"]
        rows.append(
            (
                f"{row['project']} {row['method']}",
                str(row["width"]),
                str(row["in_flight"]),
                f"{row['problems_per_hour']:,.0f}",
                f"{1e3 * row['cpu_seconds_per_problem']:,.0f}",
                f"{1e3 * row['loop_seconds_per_problem']:,.0f}",
                percent(Interval(**row["accuracy"])),
                f"{counts['requests']:.1f}",
                f"{counts['prompt_tokens']:,.0f}",
                f"{counts['generated_tokens']:,.0f}",
                f"{counts['prm_trajectories']:.1f}",
                f"{counts['prm_tokens']:,.0f}",
                f"{counts['seen_prompt_tokens'] / counts['prompt_tokens']:.0%}",
            )
        )
    header = ("method", "width", "in flight", "problems an hour", "CPU ms", "loop's", "%", "requests")
    header = (*header, "prompt tokens", "generated", "PRM reads", "PRM tokens", "prefix seen")
    machine = facts["environment"]
    note = (
        f"The first {facts['problems']} problems of `{facts['data']}`, {len(facts['seeds'])} rounds, the same engine; "
        f"counts are means a problem. {machine['cpu']}, {machine['cores']} cores; {machine['started_at']}; "
        f"{', '.join(f'{peer} {version}' for peer, version in facts['peers'].items())}."
    )
    if on_servers:
        note += ON_SERVERS
    yield Table(f"{title}: `benchmarks/peers`", header, rows, note).markdown()
    rows, cpu = [], {} if on_servers else CPU
    for pair in record["comparisons"]:
        ratios = pair["ratio_of_rounds"]
        rows.append(
            (
                _cell_of(pair["peer"]),
                pair["widths"],
                _cell_of(pair["etsearch"]),
                f"{pair['ratio']:.2f}× ({min(ratios):.2f} to {max(ratios):.2f})",
                *(f"{pair[ratio]:.2f}×" for ratio in cpu.values()),
                points(Interval(**pair["accuracy_difference"])),
            )
        )
    header = ("peer", "of etsearch's widths", "etsearch's row", "problems an hour", *cpu, "points")
    note = (
        "Each peer's row beside etsearch's fastest that is at least as accurate (its most accurate if none is), as "
        "width/in flight. Above 1× etsearch is ahead; in brackets the rounds' own ratios, and the paired 95 % interval "
        "of the difference in accuracy."
    )
    where, more = (" on vLLM", "") if on_servers else ("", CPU_NOTE)
    yield Table(f"Beside each peer{where}", header, rows, note + more).markdown("###")


def _cell_of(name):
    return f"{name['project']} {name['method']} {name['width']}/{name['in_flight']}"


def busy():
    record = read("engine_busy")
    rows = []
    for row in record["rows"]:
        seconds = [f"{row[name]:.2f}" for name in ("wall_s", "generator_s", "prm_s", "both_s")]
        shares = [f"{row[n]:.2f}" for n in ("generator_alone", "generator_plus_prm", "both_at_once", "models_cpu")]
        rows.append((code(row["strategy"]), str(row["width"]), str(row["in_flight"]), *seconds, *shares))
    header = ("strategy", "width", "in flight", "search, s", "generator alone, s", "PRM alone, s", "both at once, s")
    header = (*header, "generator ÷ search", "generator + PRM ÷ search", "both ÷ search", "models' CPU ÷ search's")
    note = (
        "The searches, and fresh models that get exactly their requests with no controller between. Generator and PRM "
        f"share the cores. {in_words(record['machine'])}."
    )
    yield Table("How busy searches keep their models: `benchmarks/engine_busy.py`", header, rows, note).markdown()


def growth():
    record = read("growth")
    rows = [
        (series, name, f"{of['all']:.2f}", f"{of['last']:.2f}")
        for series, figures in record["slopes"].items()
        for name, of in figures.items()
        if not name.endswith(("embed_s", "cluster_s", "select_s"))
    ]
    ends = [row for row in record["rows"] if row["searches"] == 1]
    note = (
        f"Widths {min(r['width'] for r in ends)} to {max(r['width'] for r in ends)} alone, and "
        f"1 to {max(r['searches'] for r in record['rows'])} searches at once. Slope of the logarithms against nodes: 1 "
        f"is linear. {in_words(record['machine'])}."
    )
    header = ("strategy, what grows", "figure", "slope", "of the last step")
    yield Table("How the controller grows: `benchmarks/growth.py`", header, rows, note).markdown()


def gains():
    record = read("gains")
    for number, values in enumerate(record["tables"]):
        table = Table(f"`recipes/{values['recipe']}.yaml`, shortened", values["header"], values["rows"], values["note"])
        if number == 0:
            yield f"## The gains beyond the paper: `benchmarks/gains.py`\n\n{in_words(record['machine'])}."
        yield (table if number == 0 else replace(table, note="")).markdown("###")


def engines():
    record = read("engines")
    asked, first = record["asked"], record["rows"][0]["tokens_per_s"]
    rows = [
        (
            row["engine"],
            f"{row['seconds']:.1f}",
            f"{row['tokens_per_s']:,.0f}",
            f"{row['tokens_per_s'] / first:.2f}×",
            f"{row['right']} of {asked['searches']}",
        )
        for row in record["rows"]
    ]
    header = ("engine", "seconds", "tokens a second", "of the embedded", "right")
    note = (
        f"{asked['searches']} searches of `minimath:test` by {asked['strategy'].upper()} at width {asked['width']}, "
        f"{asked['at_once']} at once, everything in float32, the embedded reward model for all; the median of "
        f"{asked['rounds']} rounds that go through all engines, other work on the machine beside. "
        f"{in_words(record['machine'])}."
    )
    yield Table("The same searches on three engines: `benchmarks/engines.py`", header, rows, note).markdown()


_POLICIES = {
    "rebase": "REBASE, fixed number",
    "ets": "ETS, fixed price and number",
    "all": "that ETS, everything admitted",
    "aimd": "that ETS, AIMD on the cache",
    "market": "the market",
    "narrow": "the market, `least_width` 16",
    "free": "the market, ETS at `lambda_b` 0",
}


def serving():
    record = read("serving")
    asked, chosen, cells = record["asked"], record["chosen"], record["cells"]
    fastest = max(chosen["rebase"]["per_hour"], chosen["ets"]["per_hour"])
    note = (
        f"{asked['searches']} problems of `minimath:test` at random moments (Poisson), width {asked['width']}, a cache "
        f"of {asked['blocks']} blocks of 32 tokens, at most {asked['most_open']} searches open. Load 1 is "
        f"{fastest:,.0f} searches an hour, what the faster of REBASE ({chosen['rebase']['at_once']} at once) and ETS "
        f"(`lambda_b` {chosen['ets']['price']}, {chosen['ets']['at_once']} at once) did with all there at once. Every "
        "policy has the same problems at the same moments; one run each, of 17 to 110 s, so that a row's searches "
        "an hour and latencies are good to a tenth or so. Beside loads 1.2 to 2 tests ran at the lowest priority. "
        f"{in_words(record['machine'])}."
    )
    yield Table("Many searches on one engine: `benchmarks/serving`", _SERVING, _serving_rows(cells), note).markdown()
    rows = [_beside_best(cells, load, which) for load in sorted({c["load"] for c in cells}) for which in _MARKETS]
    header = ("load", "market", "the fastest of the others", "searches an hour", "95th percentile", "points")
    note = "The market over the fastest of the other four at that load; the paired 95 % interval of the accuracy."
    yield Table("The market beside the best of the others", header, [row for row in rows if row], note).markdown("###")


_MARKETS = ("market", "narrow", "free")
_SERVING = ("load", "policy", "searches an hour", "%", "mean s", "95th percentile s", "mean width", "KV tokens")
_SERVING = (*_SERVING, "cache used, mean and peak", "preempted", "refused")


def serving_vllm():
    record = read("serving-vllm")
    asked, chosen = record["asked"], record["chosen"]
    fastest = max(chosen["rebase"]["per_hour"], chosen["ets"]["per_hour"])
    note = (
        f"The same on two real servers (vLLM 0.32 on this CPU, policy and PRM, the policy's cache of {asked['blocks']} "
        f"blocks): {asked['searches']} problems a cell, load 1 is {fastest:,.0f} searches an hour. Other work ran on "
        "the machine's two cores beside it, so that a row is good to a fifth at best, and the order of the rows says "
        "nothing; what it shows is that the market works on a real server, and that the cores are short here and "
        f"not the cache, no sequence of which was ever preempted. {in_words(record['machine'])}."
    )
    yield Table("Many searches on vLLM", _SERVING, _serving_rows(record["cells"]), note).markdown("###")


def _serving_rows(cells):
    return [_serving_row(cell) for cell in sorted(cells, key=lambda c: (c["load"], list(_POLICIES).index(c["policy"])))]


def _serving_row(cell):
    peak = "–" if cell["peak_cache_use"] is None else f"{cell['peak_cache_use']:.0%}"
    return (
        f"{cell['load']:g}",
        _POLICIES[cell["policy"]],
        f"{cell['per_hour']:,.0f}",
        f"{100 * cell['accuracy']:.1f}",
        f"{cell['mean_latency_s']:.2f}",
        f"{cell['p95_latency_s']:.2f}",
        f"{cell['mean_width']:.1f}",
        f"{cell['kv_tokens']:,.0f}",
        f"{cell['mean_cache_use']:.0%}, {peak}",
        f"{cell['preemptions']}",
        f"{cell['refused']}",
    )


def _beside_best(cells, load, which):
    at_load = {cell["policy"]: cell for cell in cells if cell["load"] == load}
    others = [cell for name, cell in at_load.items() if name not in _MARKETS]
    if which not in at_load or not others:
        return None
    market, best = at_load[which], max(others, key=lambda cell: cell["per_hour"])
    right = [{name: float(is_right) for name, is_right in cell["right"].items()} for cell in (market, best)]
    gap = difference(*right)
    return (
        f"{load:g}",
        _POLICIES[which],
        _POLICIES[best["policy"]],
        f"{market['per_hour'] / best['per_hour']:.2f}×",
        f"{market['p95_latency_s'] / best['p95_latency_s']:.2f}×",
        points(gap),
    )


def serving_load():
    record = read("serving-load")
    rows = [
        ("requests, answered", f"{record['requests']:,}, {record['answered']:,}"),
        ("lost", f"{sum(record['lost'].values())}"),
        ("right", f"{record['right']:.1%}"),
        ("answered by key", " and ".join(f"{count:,}" for count in record["by_key"])),
        (
            "memory, mean of the second and of the last third",
            " and ".join(f"{record[name]:,.0f} MB" for name in ("memory_second_third_mb", "memory_last_third_mb")),
        ),
        ("mean latency", f"{record['mean_latency_s']:.1f} s"),
    ]
    asked = record["asked"]
    note = (
        f"{asked['clients']} clients at once for {asked['seconds']:.0f} s on loopback, width {asked['width']}, "
        f"two keys of one weight. {in_words(record['machine'])}."
    )
    yield Table("Clients at once: `benchmarks/serving/load.py`", ("", ""), rows, note).markdown()


def cluster():
    record = read("cluster")
    rows = [
        (str(row["workers"]), str(row["searches"]), f"{row['per_second']:.2f}", f"{row['efficiency']:.2f}")
        for row in record["scaling"]
    ]
    asked = record["asked"]
    note = (
        f"A scripted engine that waits {asked['delay_s']:g} s before each answer, width {asked['width']}, "
        f"{asked['in_flight']} searches in flight on each worker, {asked['each']} for each. All on one machine. "
        f"{in_words(record['machine'])}."
    )
    header = ("workers", "searches", "searches a second", "of linear")
    yield Table("Workers of a cluster: `benchmarks/cluster.py`", header, rows, note).markdown()
    rows = [
        (str(row["width"]), f"{row['depths']:.1f}", f"{row['state_kb']:,.0f}", f"{row['per_second']:,.0f}")
        for row in record["recording"]
    ]
    header = ("width", "depths a search", "KB of state after a depth", "searches a second")
    note = "What the driver alone can write: the state after every depth, then the tree and the line."
    yield Table("What the driver of a cluster can record", header, rows, note).markdown("###")


if __name__ == "__main__":
    main()

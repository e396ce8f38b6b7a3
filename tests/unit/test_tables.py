"""Tables against figures worked out from records made by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from etsearch.errors import ConfigError, RecordError
from etsearch.evaluation.report import tables
from etsearch.evaluation.report.results import Cell, Results
from etsearch.evaluation.report.statistics import Interval
from etsearch.evaluation.report.tables import gains
from etsearch.evaluation.run.folder import Run
from etsearch.evaluation.run.manifest import Manifest, Session
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.record import DepthFigures, SearchRecord
from etsearch.evaluation.sweep import check_validation, choose, chosen_recipe, sweep_points
from etsearch.types import Identity

USAGE = {"num_calls": 10, "num_requests": 5, "num_scores": 8, "generated_tokens": 100, "prm_tokens": 50}
USAGE |= {"wasted_tokens": 0, "kv_tokens_written": 1, "kv_tokens_paper": 1, "kv_tokens_unshared": 1}


def depth(width, *, kv, **figures):
    return DepthFigures(num_sampled=width, kv={"kv_tokens": kv}, **figures)


def search(strategy, problem, *, right, kv, width=4, tokens=100, seconds=1.0, in_flight=0, finished_at=0.0):
    return SearchRecord(
        problem=f"p{problem}",
        strategy=strategy,
        width=width,
        seed=0,
        in_flight=in_flight,
        level=str(problem % 2),
        gold="1",
        answer="1" if right else "2",
        right={"corrected": right, "released": right},
        answers=("1",) if right else ("2",),
        right_answers={"corrected": (0,) if right else (), "released": (0,) if right else ()},
        trajectories=((0, 0.5, tokens // width),) * width,
        depths=(
            depth(width, num_completed=0, num_open=width, num_kept=2, num_clusters=3, remaining_width=width, kv=kv),
            depth(width, num_completed=width, num_open=0, num_kept=0, num_clusters=None, remaining_width=0, kv=0),
        ),
        usage={**USAGE, "kv_tokens": kv, "generated_tokens": tokens},
        seconds={"total": seconds, "generate": seconds / 2},
        finished_at=finished_at,
        stop_reason="completed",
    )


def results(records, strategies=("best_of_n", "beam", "rebase", "ets_kv", "ets"), **recipe):
    resolved = {"data": "minimath:validation", "strategies": list(strategies), "widths": [4], **recipe}
    identities = {
        "generator": Identity("g", num_parameters=5),
        "reward model": Identity("r", num_parameters=2),
    }
    cells = {f"{s} @ 4": s for s in strategies}
    manifest = Manifest(resolved=resolved, identities=identities, cells=cells, sessions=())
    run = Run(Path("run"), manifest, tuple(records))
    cells = {}
    for record in records:
        cells.setdefault(Cell(record.strategy, record.width, record.in_flight), []).append(record)
    return Results((run,), cells, (), {s: s.partition("(")[0] for s in strategies})


@pytest.fixture
def some():
    right = {"best_of_n": 2, "beam": 2, "rebase": 4, "ets_kv": 3, "ets": 4}
    kv = {"best_of_n": 900, "beam": 300, "rebase": 600, "ets_kv": 400, "ets": 300}
    return results([search(s, p, right=p < right[s], kv=kv[s] + p) for s in right for p in range(4)])


def cells_of(table, name):
    return next(row for row in table.rows if f"`{name}`" in row)


def test_table_1(some):
    table = tables.table_1(some)
    assert cells_of(table, "rebase")[1:] == ("100.0", "–")
    accuracy, reduction = cells_of(table, "ets")[1:]
    assert accuracy == "100.0"
    assert reduction.startswith(f"{(600 * 4 + 6) / (300 * 4 + 6):.2f}×")
    assert cells_of(table, "ets_kv")[1] == "75.0"


def test_table_3(some):
    row = tables.table_3(some).rows[0]
    assert row[:3] == ("4", "75.0", "100.0")
    assert row[3].startswith("+25.0")


def test_paired_differences(some):
    assert cells_of(tables.differences_from_baselines(some), "best_of_n")[2].startswith("-50.0")
    assert cells_of(tables.differences_from_baselines(some), "ets")[2] == "+0.0 (+0.0 to +0.0)"


def test_figure_2_is_relative_to_beam_search(some):
    assert cells_of(tables.figure_2(some), "beam")[2:] == ("1.00", "1.00", "1.00", "1.00")
    kv = cells_of(tables.figure_2(some), "rebase")[4]
    assert kv == f"{(600 * 4 + 6) / (300 * 4 + 6):.2f}"


def test_flops_count_both_models(some):
    assert some.flops(Cell("rebase", 4)) == {f"p{i}": 2.0 * 5 * 100 + 2.0 * 2 * 50 for i in range(4)}


def test_best_of_k_at_equal_cost():
    records = [search("best_of_n", p, right=True, kv=800, tokens=80, width=8) for p in range(3)]
    records += [search("ets", p, right=True, kv=200, tokens=40) for p in range(3)]
    found = results(records)
    assert tables.best_of_k(found, "best_of_n", Cell("ets", 4), "kv_tokens")[0] == 2.0
    size, right = tables.best_of_k(found, "best_of_n", Cell("ets", 4), "generated_tokens")
    assert size == 4.0
    assert right == {"p0": 1.0, "p1": 1.0, "p2": 1.0}
    dear = results([*records[:3], *(search("ets", p, right=True, kv=801) for p in range(3))])
    assert tables.best_of_k(dear, "best_of_n", Cell("ets", 4), "kv_tokens")[1] == {}


def test_throughput_counts_the_time_in_which_searches_ran():
    records = [
        search("rebase", p, right=True, kv=600, in_flight=2, seconds=2.0, finished_at=end)
        for p, end in enumerate((2.0, 3.0, 103.0, 104.0))
    ]
    records += [
        search("ets", p, right=True, kv=300, in_flight=2, seconds=1.0, finished_at=end)
        for p, end in enumerate((1.0, 2.0, 3.0, 3.0))
    ]
    found = results(records)
    assert found.busy_seconds(Cell("rebase", 4, 2)) == 3.0 + 3.0
    table = tables.table_2(found)
    assert cells_of(table, "rebase")[2] == f"{3600 * 4 / 6:,.0f}"
    assert cells_of(table, "ets")[2:] == (f"{3600 * 4 / 3:,.0f}", "2.00×", "2.00×", "100.0")


def test_levels_depths_and_seconds(some):
    assert cells_of(tables.levels(some), "best_of_n")[2:] == ("50.0", "50.0")
    assert cells_of(tables.seconds(some), "ets")[2] == "0.500"
    assert next(row for row in tables.depths(some).rows if row[0] == "`ets`")[1:6] == ("1", "4", "4.0", "2.0", "3.0")


MEASURED = {"cache_capacity_tokens": 1000, "peak_predicted_tokens": 200, "mean_in_flight": 1.0, "num_preemptions": 0}


def told_by(record, engine):
    return record.model_copy(update={"engine": engine})


def measured(strategy, peaks, **more):
    """The searches of a cell whose engine measured these peaks; None where it did not."""
    records = [search(strategy, p, right=True, kv=100) for p in range(len(peaks))]
    seen = [{} if peak is None else {"peak_cache_tokens": peak, "mean_cache_tokens": peak / 2} for peak in peaks]
    return [told_by(r, {**MEASURED, **told, **more}) for r, told in zip(records, seen, strict=True)]


def test_the_engine_table_is_of_what_the_searches_of_each_cell_measured():
    table = tables.engine(results([*measured("rebase", [100, 300]), *measured("ets", [40, 60], num_preemptions=3)]))
    assert table.header[-1] == "preemptions"
    assert cells_of(table, "rebase")[2:] == ("1.0", "200", "200", "100", "1.00", "0.0")
    assert cells_of(table, "ets")[2:] == ("1.0", "200", "50", "25", "0.25", "3.0")
    assert "Not measured" not in table.note


def test_what_was_not_measured_is_no_nought_and_said():
    records = [*measured("rebase", [None, 300, 0]), *measured("ets", [None])]
    records += [told_by(search("beam", 0, right=True, kv=1), {"peak_running": 3})]
    table = tables.engine(results(records))
    assert cells_of(table, "rebase")[3:7] == ("200", "300", "150", "1.50")
    assert cells_of(table, "ets")[3:7] == ("200", "–", "–", "–")
    assert cells_of(table, "beam")[2:] == ("–",) * 6
    assert "3 of 5 searches, since no look at the engine fell into its work" in table.note
    assert "1 of 5 searches, since the engine did not tell" in table.note


def test_preemptions_that_no_engine_tells_have_no_column():
    records = [told_by(search("ets", 0, right=True, kv=1), {"peak_running": 3})]
    assert tables.engine(results(records)).header[-1] == "peak ÷ predicted"


def test_every_table_is_markdown(some):
    for make in (*tables.ALL, gains):
        table = make(some)
        lines = table.markdown().splitlines()
        assert lines[0] == f"## {table.title}"
        widths = {line.count(" | ") for line in lines if line.startswith("| ")}
        assert len(widths) == 1
        assert all(len(row) == len(table.header) for row in table.rows)


def test_what_stands_in_a_cell_does_not_end_it(some):
    table = tables.Table("T", ("a", "b"), [("|x|", "two\nlines")])
    assert table.markdown().splitlines()[-1] == r"| \|x\| | two lines |"


def test_a_page_shows_what_it_is_given_as_text(tmp_path):
    from etsearch.evaluation.report.pages import write_report

    bad = search("rebase", 0, right=True, kv=600).model_copy(
        update={"problem": "<img src=x>", "answer": "<b>", "right": {"corrected": True, "released": False}}
    )
    found = results([bad, *(search("rebase", p, right=True, kv=600) for p in range(1, 103))])
    write_report(with_session(found), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "&lt;img src=x&gt;" in page
    assert "<img src=x" not in page
    assert (tmp_path / "figure-3.png").exists(), "103 problems, all right: no interval below its value"


def with_session(found):
    session = {
        "etsearch": "0",
        "git": None,
        "started_at": "now",
        "cpu": "c",
        "cores": 2,
        "memory_gib": 1,
        "platform": "p",
    }
    manifest = found.runs[0].manifest.model_copy(update={"sessions": (Session(**session),)})
    return replace(found, runs=(replace(found.runs[0], manifest=manifest),))


def test_only_the_seeds_that_both_have_are_compared():
    records = [search("rebase", p, right=True, kv=600) for p in range(3)]
    records += [search("ets", p, right=True, kv=300) for p in range(3)]
    other = [r.model_copy(update={"seed": 1, "usage": {**r.usage, "kv_tokens": 9}}) for r in records[3:]]
    found = results([*records, *other])
    assert found.reduction(Cell("ets", 4), Cell("rebase", 4)).value == 2.0


@pytest.mark.parametrize(
    ("data", "is_test"),
    [
        ("minimath:test", True),
        ("minimath:validation", False),
        ("gsm8k:data/gsm8k-test.jsonl", True),
        ("jsonl:test/validation.jsonl", False),
        ("jsonl:latest.jsonl", False),
        ("hub:openai/gsm8k", True),
        ("hub(split=train):openai/gsm8k", False),
    ],
)
def test_what_is_a_test_set(data, is_test):
    if is_test:
        with pytest.raises(ConfigError, match="never on test"):
            check_validation(data)
    else:
        check_validation(data)


def test_the_chosen_recipe_keeps_what_a_search_is():
    records = [search(s, p, right=True, kv=600) for s in ("rebase", "ets(lambda_b=1)") for p in range(4)]
    given = {"cluster_threshold": 0.3, "aggregation": "min", "cut_votes": False}
    found = results(records, ("rebase", "ets(lambda_b=1)"), **given)
    chosen = chosen_recipe(found, sweep_points(found), "minimath:test")
    assert {key: chosen[key] for key in given} == given
    assert Recipe.of(chosen).settings(4, 0).cluster_threshold == 0.3


def test_the_largest_lambda_b_counts_not_the_luckiest_reduction():
    kv = {"ets(lambda_b=1)": 460, "ets(lambda_b=1.5)": 420, "ets(lambda_b=2)": 425}
    kv |= {"ets(lambda_b=1, inherit=true)": 410, "ets(lambda_b=2, inherit=true)": 415}
    records = [search("rebase", p, right=True, kv=600) for p in range(4)]
    records += [search(s, p, right=True, kv=tokens) for s, tokens in kv.items() for p in range(4)]
    points = sweep_points(results(records, ("rebase", *kv)))[4]
    assert choose([p for p in points if "inherit" not in p.specification]).specification == "ets(lambda_b=2)"
    assert choose(points).specification == "ets(lambda_b=2, inherit=true)"


def test_the_rule_of_a_sweep():
    settings = {"ets(lambda_b=1)": (4, 500), "ets(lambda_b=1.5)": (4, 400), "ets(lambda_b=2)": (3, 200)}
    records = [search("rebase", p, right=True, kv=600) for p in range(4)]
    records += [search(s, p, right=p < n, kv=kv) for s, (n, kv) in settings.items() for p in range(4)]
    points = sweep_points(results(records, ("rebase", *settings)))[4]
    assert [p.is_admissible for p in points] == [True, True, False]
    assert choose(points).specification == "ets(lambda_b=1.5)"
    assert choose([p for p in points if not p.is_admissible]) is None
    with pytest.raises(RecordError, match="no search of REBASE"):
        sweep_points(results(records[4:], tuple(settings)))


def test_gains_are_against_the_first_of_the_same_width_and_flight():
    records = [
        search("rebase", p, right=p > 0, kv=600, in_flight=2, seconds=2.0, finished_at=2.0 * p + 2) for p in range(4)
    ]
    records += [
        search("ets", p, right=True, kv=200, in_flight=2, seconds=1.0, finished_at=1.0 * p + 1) for p in range(4)
    ]
    table = gains(results(records))
    first, second = (dict(zip(table.header, cells_of(table, name), strict=True)) for name in ("rebase", "ets"))
    assert (first["%"], first["points"], first["throughput"]) == ("75.0", "–", "–")
    assert second["points"].startswith("+25.0 (")
    assert second["KV reduction"].startswith("3.00× (")
    assert (second["problems an hour"], second["throughput"]) == ("3,600", "2.00×")


def test_what_older_records_do_not_tell_is_left_open():
    kept = {"kv_tokens", "generated_tokens", "num_calls", "prm_tokens"}
    records = [
        search(name, p, right=True, kv=kv, in_flight=2, finished_at=p + 1.0)
        for name, kv in (("rebase", 600), ("ets", 200))
        for p in range(4)
    ]
    old = [r.model_copy(update={"usage": {k: v for k, v in r.usage.items() if k in kept}}) for r in records]
    table = gains(results(old))
    second = dict(zip(table.header, cells_of(table, "ets"), strict=True))
    assert [second[name] for name in ("while written", "requests", "scores", "wasted")] == ["–"] * 4
    assert second["KV reduction"].startswith("3.00× (")
    mixed = results([*records[:4], *old[4:6], *records[6:]])
    assert mixed.reduction(Cell("ets", 4, 2), Cell("rebase", 4, 2), "kv_tokens_written").num_problems == 2


@pytest.mark.parametrize(("value", "shown"), [(-1e-17, "+0.0"), (0.0, "+0.0"), (-0.0004, "+0.0"), (-0.0006, "-0.1")])
def test_nothing_has_one_sign_on_every_machine(value, shown):
    assert tables.points(Interval(value, value, value, 1)) == f"{shown} ({shown} to {shown})"

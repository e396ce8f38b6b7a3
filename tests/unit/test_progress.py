"""What a run shows of itself while it goes on."""

import io

from rich.console import Console
from tests.evaluations import recipe, run

from etsearch.cli import progress as module
from etsearch.cli.progress import ProgressView
from etsearch.evaluation.run.record import SearchRecord
from etsearch.evaluation.run.runner import Progress


def record(problem, strategy, *, right, status="done"):
    return SearchRecord(
        problem=problem,
        strategy=strategy,
        width=4,
        seed=0,
        status=status,
        gold="1",
        right={"corrected": right, "released": right},
        usage={"kv_tokens": 1500} if status == "done" else {},
    )


def test_the_table_counts_by_strategy_and_width(tmp_path):
    records = [record("a", "rebase", right=True), record("b", "rebase", right=False)]
    records.append(record("a", "ets", right=False, status="failed"))
    progress = Progress(24, 1, {r.key: r for r in records}, tokens=500, searches=2, cache_use=0.25)
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    with ProgressView(console, recipe(tmp_path)) as view:
        console.print(view.render(progress))
        view.update(progress)
    shown = console.file.getvalue()
    rows = {tuple(line.split()[:2]): line.split() for line in shown.splitlines() if line.split()[1:2] in (["4"], ["8"])}
    assert rows["rebase", "4"][2:6] == ["2", "0", "50.0%", "1,500"]
    assert rows["ets", "4"][2:6] == ["0", "1", "–", "–"]
    assert rows["best_of_n", "8"][2:4] == ["0", "0"]
    for text in ("3 of 24 searches", "left", "tokens a second", "KV cache 25.0% in use"):
        assert text in shown


def test_plain_lines_where_there_is_no_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0)
    console = Console(file=io.StringIO(), width=160)
    with ProgressView(console, recipe(tmp_path / "run")) as view:
        run(tmp_path / "run", on_start=view.start, on_progress=view.update)
    lines = console.file.getvalue().splitlines()
    assert [line.partition(" searches")[0] for line in lines] == [f"{i} of 24" for i in range(1, 25)]
    assert "\x1b" not in console.file.getvalue()


def test_durations():
    assert [module._duration(s) for s in (5, 65, 3700, 7322)] == ["5 s", "1 min 05 s", "1 h 01 min", "2 h 02 min"]

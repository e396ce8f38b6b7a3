"""docs/results.md is what its records give."""

import importlib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def maker():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        return importlib.import_module("make_results")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_document_is_that_of_the_records(maker, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs the extra 'report'")
    monkeypatch.setattr(maker, "PLOTS", tmp_path)
    assert maker.document() == (DOCS / "results.md").read_text(encoding="utf-8")
    drawn = {file.name for file in tmp_path.iterdir()}
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    assert drawn == {file.name for file in (DOCS / "results").glob("*.png")}
    assert all(f"results/{name}" in text for name in drawn)


def test_the_records_are_whole(maker):
    from etsearch.evaluation.run.folder import read_run

    for name in maker.RUNS:
        run = read_run(DOCS / "results" / name)
        assert run.notices == ()
        assert {record.status for record in run.records} == {"done"}
        sizes = Counter((r.strategy, r.width, r.seed, r.in_flight) for r in run.records)
        assert name == "minimath-sweep" or len(set(sizes.values())) == 1, "a strategy lacks problems"


@pytest.mark.parametrize("page", ["thrift", "noise"])
def test_a_page_is_that_of_its_records(page):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        made = importlib.import_module(f"make_{page}").document()
    assert made == (DOCS / f"{page}.md").read_text(encoding="utf-8")

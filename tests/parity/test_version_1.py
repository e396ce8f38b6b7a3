"""Records and states written before version 2 are read, and gone on with.

``tests/records/run-of-version-1`` was made by etsearch as it was on 26 November 2026, and killed in its fourth search:

    ets eval minimath:validation --strategy 'rebase,ets(kv_budget=60)' --width 4 --limit 3 --no-early-stop
        --generator 'scripted(delay_s=0.15)' --prm scripted --concurrency 1 --out run-of-version-1

``search-of-version-1.json`` is the state of ``ets solve --example --number 3 --width 8 --seed 1 --no-early-stop`` with
the same parts after its second depth, as ``ets solve --resume`` takes it.
"""

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from tests.cli.process import ets
from tests.evaluations import searches

from etsearch import minimath
from etsearch.embedders import LexicalEmbedder
from etsearch.evaluation.regrade import regrade
from etsearch.evaluation.replay import replay_tree
from etsearch.evaluation.report.results import Cell, Results
from etsearch.evaluation.report.tables import depths, overview
from etsearch.evaluation.run.folder import read_run, read_tree
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.runner import evaluate
from etsearch.generators import GENERATORS
from etsearch.loop import run_search
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.prms import REWARD_MODELS
from etsearch.strategies import STRATEGIES

RECORDS = Path(__file__).parents[1] / "records"
OLD = RECORDS / "run-of-version-1"
LIMITED = "ets(kv_budget=60)"


@pytest.fixture
def old(tmp_path):
    return Path(shutil.copytree(OLD, tmp_path / "run"))


def test_a_run_of_version_1_is_read():
    run = read_run(OLD)
    assert run.manifest.version == 1
    assert run.manifest.sources == {}
    assert len(run.records) == 3
    first = run.records[0].depths[0]
    assert (first.num_sampled, first.num_open, first.num_kept, first.num_clusters) == (4, 4, 2, None)
    assert first.kv == {"kv_tokens": 352, "kv_tokens_paper": 208, "kv_tokens_unshared": 856}
    results = Results.read([OLD])
    assert results.cost(Cell("rebase", 4), "kv_tokens")["minimath/validation/0"] == 352 + 314
    assert len(overview(results).rows) == 2
    assert depths(results).rows[0][-1] == "360"


def test_a_tree_of_version_1_is_replayed():
    run = read_run(OLD)
    (record,) = run.with_trees(LIMITED)
    strategy, settings = STRATEGIES.create(LIMITED), run.settings(record)
    replayed = asyncio.run(replay_tree(read_tree(OLD, record.key), strategy, settings, LexicalEmbedder()))
    assert replayed
    assert all(depth.kept == depth.kept_then == depth.shared for depth in replayed)


def test_a_run_of_version_1_is_gone_on_with(old, tmp_path):
    kept = (old / "searches.jsonl").read_bytes()
    asyncio.run(evaluate(read_run(OLD).recipe.model_copy(update={"out": str(old)})))
    straight = {**Recipe.of_record(read_run(OLD).manifest.resolved).plain(), "out": str(tmp_path / "straight")}
    asyncio.run(evaluate(Recipe.of({**straight, "generator": "scripted"})))
    assert (old / "searches.jsonl").read_bytes().startswith(kept)
    run = read_run(old)
    assert run.manifest.version == 2
    assert len(run.manifest.sessions) == 2
    assert [record.resumed for record in run.records] == [0, 0, 0, 1, 0, 0]
    found, wanted = searches(old), searches(tmp_path / "straight")
    assert set(found) == set(wanted)
    for key, record in wanted.items():
        assert found[key]["tree"] == record["tree"]
        assert found[key]["usage"] == record["usage"]


def test_a_run_of_version_1_that_is_graded_again_is_of_version_2(old):
    before = read_run(old).records
    assert regrade(old) == 0
    run = read_run(old)
    assert run.records == before
    assert run.manifest.version == 2
    assert run.manifest.sessions == read_run(OLD).manifest.sessions
    assert run.recipe == read_run(OLD).recipe


def test_a_later_version_is_refused(old):
    manifest = json.loads((old / "run.json").read_text())
    (old / "run.json").write_text(json.dumps({**manifest, "version": 3}))
    done = ets("report", str(old))
    assert done.returncode == 2
    assert "is a run of version 3; this etsearch reads versions 1 and 2" in done.stderr


def test_a_search_of_version_1_goes_on_to_the_same_end():
    kept = json.loads((RECORDS / "search-of-version-1.json").read_text())

    def solve(resume=None):
        return asyncio.run(
            run_search(
                minimath.example(3),
                generator=GENERATORS.create("scripted"),
                reward_model=REWARD_MODELS.create("scripted"),
                strategy=STRATEGIES.create(kept["strategy"]),
                settings=SearchSettings(kept["width"], seed=kept["seed"]),
                embedder=LexicalEmbedder(),
                resume=resume,
            )
        )

    resumed, straight = solve(SearchState.from_dict(kept["state"])), solve()
    assert len(kept["state"]["depths"]) == 2
    assert resumed.tree.parent.tolist() == straight.tree.parent.tolist()
    assert resumed.usage.kv == straight.usage.kv
    assert resumed.usage.num_requests == straight.usage.num_requests


def test_the_command_goes_on_with_a_search_of_version_1(tmp_path):
    path = Path(shutil.copy(RECORDS / "search-of-version-1.json", tmp_path))
    done = ets(
        *("solve", "--example", "--number", "3", "--width", "8", "--seed", "1", "--no-early-stop"),
        *("--generator", "scripted", "--prm", "scripted", "--state", str(path), "--resume", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"] == minimath.example(3).answer

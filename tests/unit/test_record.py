"""The folder of a run: what survives, what is refused, what is set aside."""

import json

import pytest
from filelock import FileLock
from tests.evaluations import run, searches

from etsearch.errors import ConfigError, EngineError, RecordError
from etsearch.evaluation.report.results import Results
from etsearch.evaluation.run import crew
from etsearch.evaluation.run.folder import read_run, read_tree
from etsearch.evaluation.run.record import Key
from etsearch.generators.scripted import ScriptedGenerator
from etsearch.prms.scripted import ScriptedRewardModel


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "finished"
    run(path)
    return path


@pytest.fixture
def copied(finished, tmp_path):
    import shutil

    return shutil.copytree(finished, tmp_path / "copied")


def lines(path):
    return (path / "searches.jsonl").read_text().splitlines()


def test_a_run_holds_what_was_asked_and_what_it_was(finished):
    manifest = json.loads((finished / "run.json").read_text())
    assert (manifest["format"], manifest["version"]) == ("etsearch run", 2)
    assert manifest["resolved"]["widths"] == [4, 8]
    assert manifest["identities"]["generator"]["engine"] == "scripted"
    assert len(manifest["identities"]["data set"]["sha256"]) == 64
    session = manifest["sessions"][0]
    assert session["asked"] == {"test": True}
    assert session["cores"] >= 1
    assert session["packages"]["numpy"]
    records = read_run(finished).records
    assert len(records) == 4 * 3 * 2
    assert {r.status for r in records} == {"done"}
    assert not list((finished / "open").iterdir())


def test_a_record_agrees_with_its_tree(finished):
    for record in read_run(finished).records:
        tree = read_tree(finished, record.key).state.tree
        assert record.usage["num_calls"] == len(tree) - 1
        assert record.usage["kv_tokens"] == sum(d.kv["kv_tokens"] for d in record.depths)
        assert sum(d.num_completed for d in record.depths) == record.width or record.stop_reason == "decided"
        assert len(record.trajectories) <= record.width
        assert record.right["corrected"] == (0 in record.right_answers["corrected"])
        weights = [0.0] * len(record.answers)
        for answer, weight, _ in record.trajectories:
            weights[answer] += weight
        assert weights == sorted(weights, reverse=True)
        assert record.answers[0] == record.answer


def test_nothing_finished_is_run_again(copied, monkeypatch):
    before = (copied / "searches.jsonl").read_bytes()
    monkeypatch.setattr(crew, "search", None)
    outcome = run(copied)
    assert outcome.num_done == 24
    assert (copied / "searches.jsonl").read_bytes() == before


def test_a_run_can_grow(copied):
    before = lines(copied)
    outcome = run(copied, strategies=["rebase", "beam(keep=2)"], seeds=[0, 1])
    assert outcome.num_done == 4 * 2 * 2 * 2
    assert lines(copied)[: len(before)] == before
    assert len(read_run(copied).records) == 24 + 4 * 2 * (2 + 1)
    assert len(json.loads((copied / "run.json").read_text())["sessions"]) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "minimath:test"}, "data was 'minimath:validation'"),
        ({"cluster_threshold": 0.1}, "cluster_threshold was 0.05 and is 0.1"),
        ({"limits": {"max_depth": 3}}, "limits was"),
        ({"prm": "log_probability"}, "prm was 'scripted'"),
        ({"strategies": [{"strategy": "ets(lambda_b=2)", "label": "ets"}]}, "ets @ 4 was 'ets'"),
    ],
)
def test_a_run_is_not_gone_on_with_otherwise(copied, change, message):
    before = {file: file.read_bytes() for file in copied.rglob("*") if file.is_file()}
    with pytest.raises(RecordError, match=message):
        run(copied, **change)
    assert {file: file.read_bytes() for file in copied.rglob("*") if file.is_file()} == before


def test_another_version_is_refused(copied):
    manifest = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps({**manifest, "version": 99}))
    before = (copied / "searches.jsonl").read_bytes()
    with pytest.raises(RecordError, match="version 99; this etsearch reads versions 1 and 2"):
        run(copied)
    with pytest.raises(RecordError, match="version 99"):
        read_run(copied)
    assert (copied / "searches.jsonl").read_bytes() == before


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(RecordError, match="holds files but no run"):
        run(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RecordError, match="is no run"):
        read_run(tmp_path)
    with pytest.raises(RecordError, match="is a file"):
        run(tmp_path / "thesis.tex")


def test_two_processes_do_not_write_one_run(copied):
    with FileLock(copied / "lock"), pytest.raises(RecordError, match="another process writes"):
        run(copied)


def test_a_damaged_last_line_is_set_aside(copied):
    whole = lines(copied)
    (copied / "searches.jsonl").write_text("\n".join(whole[:-1]) + "\n" + whole[-1][:50])
    assert len(read_run(copied).records) == 23
    assert "line 24 was damaged" in read_run(copied).notices[0]
    outcome = run(copied)
    assert "line 24 was damaged" in outcome.notices[0]
    assert (copied / "set-aside.txt").read_text() == whole[-1][:50] + "\n"
    assert lines(copied)[:-1] == whole[:-1]
    assert read_run(copied).notices == ()
    assert outcome.num_done == 24


def test_a_whole_last_line_without_its_end_stays(copied):
    text = (copied / "searches.jsonl").read_text()
    (copied / "searches.jsonl").write_text(text.rstrip("\n"))
    run(copied, seeds=[0, 1])
    assert len(read_run(copied).records) == 48


def test_a_damaged_line_in_the_middle_stops_all_but_a_clean_resume(copied, finished):
    whole = lines(copied)
    (copied / "searches.jsonl").write_text("\n".join([*whole[:3], whole[3][:-9], *whole[4:]]) + "\n")
    with pytest.raises(RecordError, match=r"line 4 is damaged.*--resume-clean"):
        run(copied)
    outcome = run(copied, clean=True)
    assert outcome.num_done == 24
    assert whole[3][:-9] in (copied / "set-aside.txt").read_text()
    assert searches(copied) == searches(finished)


class StoppedError(Exception):
    pass


def stop_after(count):
    """Stops a run after some kept depths, as a crash would: nothing is cleaned up but what the system does."""

    def start(writer):
        keep, left = writer.keep, [count]

        def keep_and_stop(*arguments):
            keep(*arguments)
            left[0] -= 1
            if left[0] == 0:
                raise StoppedError

        writer.keep = keep_and_stop

    return start


@pytest.mark.parametrize("count", [1, 5, 17])
def test_a_half_done_search_goes_on_from_its_last_depth(tmp_path, finished, count):
    path = tmp_path / "stopped"
    with pytest.raises(StoppedError):
        run(path, on_start=stop_after(count))
    assert list((path / "open").glob("*.json"))
    run(path)
    assert searches(path) == searches(finished)
    assert any(record.resumed for record in read_run(path).records)
    assert not list((path / "open").iterdir())


def test_a_clean_resume_begins_half_done_searches_anew(tmp_path, finished):
    path = tmp_path / "stopped"
    with pytest.raises(StoppedError):
        run(path, on_start=stop_after(5))
    outcome = run(path, clean=True)
    assert "half-done searches begin anew" in outcome.notices[0]
    assert not any(record.resumed for record in read_run(path).records)
    assert searches(path) == searches(finished)


def test_a_damaged_state_is_put_aside_and_the_search_begins_anew(tmp_path, finished):
    path = tmp_path / "stopped"
    with pytest.raises(StoppedError):
        run(path, on_start=stop_after(5))
    for file in (path / "open").glob("*.json"):
        file.write_text(file.read_text()[:100])
    outcome = run(path)
    assert any("was damaged" in notice for notice in outcome.notices)
    assert list((path / "open").glob("*.damaged"))
    assert searches(path) == searches(finished)


def test_failures_are_kept_and_tried_again_when_asked(tmp_path, finished, monkeypatch):
    path, real = tmp_path / "failing", crew.search

    async def fail_on_some(problem, *asked, **given):
        if problem.id.endswith("/2"):
            raise EngineError("no power")
        return await real(problem, *asked, **given)

    monkeypatch.setattr(crew, "search", fail_on_some)
    outcome = run(path)
    assert (outcome.num_done, outcome.num_failed) == (18, 6)
    assert {r.error for r in read_run(path).records if r.status == "failed"} == {"EngineError: no power"}
    monkeypatch.setattr(crew, "search", real)
    assert run(path).num_failed == 6
    assert run(path, retry_failed=True).num_failed == 0
    assert searches(path) == searches(finished)


def test_a_run_in_which_all_fails_gives_up(tmp_path, monkeypatch):
    async def fail(self, request):
        raise EngineError("no power")

    monkeypatch.setattr(ScriptedGenerator, "generate", fail)
    with pytest.raises(EngineError, match=r"10 searches failed one after the other.*no power.*--retry-failed"):
        run(tmp_path / "dead")
    assert 10 <= len(read_run(tmp_path / "dead").records) < 24  # those in flight end too


def test_a_tree_that_is_not_there(finished):
    with pytest.raises(RecordError, match="no tree of minimath/validation/0, nobody, 4, 0, 0"):
        read_tree(finished, Key("minimath/validation/0", "nobody", 4, 0))


def test_accuracy_and_throughput_in_one_run(tmp_path):
    run(tmp_path / "both", measure="both", concurrency=[3, 2], timed=2, widths=[4], strategies=["rebase"])
    keys = [(r.in_flight, r.problem[-1]) for r in read_run(tmp_path / "both").records]
    assert sorted(keys[:4]) == [(0, str(i)) for i in range(4)]
    assert [n for n, _ in keys[4:]] == [3, 3, 2, 2]
    assert {p for n, p in keys if n} == {"0", "1"}


def test_a_packed_run_can_be_read_and_not_gone_on_with(copied):
    import gzip

    before = read_run(copied).records
    (copied / "searches.jsonl.gz").write_bytes(gzip.compress((copied / "searches.jsonl").read_bytes()))
    (copied / "searches.jsonl").unlink()
    assert read_run(copied).records == before
    with pytest.raises(RecordError, match="is packed"):
        run(copied)


def test_file_names_differ_where_keys_do():
    keys = [Key("a/b", "s", 1, 0), Key("a_b", "s", 1, 0), Key("a/b", "s", 1, 0, 4), Key("a", "b-s", 1, 0)]
    keys += [Key("a-b", "s", 1, 0), Key("x" * 300, "s", 1, 0), Key("x" * 301, "s", 1, 0)]
    assert len({key.file for key in keys}) == len(keys)
    assert all("/" not in key.file and len(key.file) < 200 for key in keys)


def test_a_search_that_fails_midway_goes_on_from_there_when_tried_again(tmp_path, finished, monkeypatch):
    path, real, asked = tmp_path / "run", ScriptedRewardModel.score, []

    async def fail_late(self, trajectory, first):
        asked.append(len(trajectory.steps))
        if len(trajectory.steps) == 3:
            raise ConfigError("the third step cannot be read")
        return await real(self, trajectory, first)

    monkeypatch.setattr(ScriptedRewardModel, "score", fail_late)
    outcome = run(path, strategies=["rebase"])
    assert outcome.num_failed > 0
    assert list((path / "open").glob("*.json"))
    monkeypatch.setattr(ScriptedRewardModel, "score", real)
    assert run(path, strategies=["rebase"], retry_failed=True).num_failed == 0
    assert any(r.resumed for r in read_run(path).records)
    straight = {key: search for key, search in searches(finished).items() if key.strategy == "rebase"}
    assert searches(path) == straight
    assert not list((path / "open").iterdir())


def test_grading_again_loses_nothing(copied):
    from etsearch.evaluation.regrade import regrade

    whole = lines(copied)
    with FileLock(copied / "lock"), pytest.raises(RecordError, match="another process writes"):
        regrade(copied)
    (copied / "searches.jsonl").write_text("\n".join(whole) + "\n" + whole[0][:40])
    assert regrade(copied) == 0
    assert lines(copied) == whole
    assert (copied / "set-aside.txt").read_text() == whole[0][:40] + "\n"


def test_what_was_kept_of_a_finished_search_goes(copied):
    key = read_run(copied).records[0].key
    (copied / "open" / f"{key.file}.json").write_text("{}")
    assert run(copied, clean=True).notices == ()
    assert not list((copied / "open").iterdir())


def test_runs_that_differ_are_not_reported_as_one(finished, tmp_path):
    run(tmp_path / "warm", seeds=[1], sampling={"temperature": 0.5})
    with pytest.raises(RecordError, match="do not belong together: sampling was"):
        Results.read([finished, tmp_path / "warm"])
    run(tmp_path / "other", seeds=[1], strategies=[{"strategy": "ets(lambda_b=2)", "label": "ets"}])
    with pytest.raises(RecordError, match="ets @ 4 was 'ets'"):
        Results.read([finished, tmp_path / "other"])
    run(tmp_path / "more", seeds=[1])
    both = Results.read([finished, tmp_path / "more"])
    assert {len(records) for records in both.cells.values()} == {8}
    with pytest.raises(RecordError, match="both hold the search"):
        Results.read([finished, finished])
    with pytest.raises(ConfigError, match="no grader 'strict'"):
        Results.read([finished], "strict")


def test_a_problem_without_an_answer_cannot_be_evaluated(tmp_path):
    from etsearch.evaluation.datasets import DATASETS, Dataset
    from etsearch.types import Problem

    data = Dataset((Problem("Why?", None, "a"),), "0")
    if "unanswered" not in [e.name for e in DATASETS.entries()]:
        DATASETS.register("unanswered", lambda: data)
    with pytest.raises(ConfigError, match="a has no reference answer"):
        run(tmp_path / "run", data="unanswered", limit=None)
    assert not (tmp_path / "run").exists()

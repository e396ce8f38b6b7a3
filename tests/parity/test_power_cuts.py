"""A run whose files were cut by a power failure: gone on with, it is the run that was never stopped.

Every file is cut at every 64th byte, one at a time and in pairs. Of what cannot be mended the damage is named.
"""

import contextlib
import itertools
import random
import shutil

import pytest
from tests.evaluations import run, searches

from etsearch.errors import EtsearchError, RecordError
from etsearch.evaluation.report import tables
from etsearch.evaluation.report.pages import about
from etsearch.evaluation.report.results import Results
from etsearch.evaluation.run.folder import read_run, read_tree

EVERY = 64
"""Bytes between two cuts."""
NUM_PAIRS = 400
SMALL = {"strategies": ["rebase", "ets"], "widths": [3], "limit": 2, "limits": {"max_depth": 4}, "concurrency": 1}


class StoppedError(Exception):
    pass


def stop_within_the_third_search(writer):
    keep, add, left = writer.keep, writer.add, [2]

    def add_and_count(*arguments):
        add(*arguments)
        left[0] -= 1

    def keep_and_stop(*arguments):
        keep(*arguments)
        if left[0] == 0:
            raise StoppedError

    writer.add, writer.keep = add_and_count, keep_and_stop


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    path = tmp_path_factory.mktemp("straight") / "run"
    run(path, **SMALL)
    return searches(path)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run with two searches done and one under way."""
    path = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(StoppedError):
        run(path, on_start=stop_within_the_third_search, **SMALL)
    assert len(read_run(path).records) == 2
    assert len(list((path / "open").iterdir())) == 1
    return path


def cuts(path):
    """Every file of a run, cut at every 64th byte."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name != "lock"]
    assert {file.parent.name for file in files} == {path.name, "trees", "open"}
    return [(file.relative_to(path), size) for file in files for size in range(0, file.stat().st_size, EVERY)]


def is_whole(path, key):
    try:
        read_tree(path, key)
    except RecordError:
        return False
    return True


def resume(stopped, path, cut, straight):
    """Cuts a copy of the run, and goes on with it; says what went wrong."""
    shutil.copytree(stopped, path)
    for file, size in cut:
        with (path / file).open("r+b") as opened:
            opened.truncate(size)
    told = ()
    if any(file.name == "run.json" for file, _ in cut):
        before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
        with pytest.raises(RecordError, match=r"run\.json is damaged.*--resume-clean"):
            run(path, **SMALL)
        assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
        told = run(path, clean=True, **SMALL).notices
        assert any("run.json was damaged" in notice for notice in told)
    else:
        told = run(path, **SMALL).notices
    found = searches(path)
    assert found == straight
    assert all(is_whole(path, key) for key in found)
    for file in [file for file, _ in cut if file.parent.name == "trees"]:
        if any(other.name == "searches.jsonl" for other, _ in cut):
            break  # the search may be gone altogether, and is run as if for the first time
        assert any(file.name in notice for notice in told), f"the cut of {file} is not named"
    shutil.rmtree(path)


@pytest.mark.slow
def test_each_file_cut(stopped, straight, tmp_path):
    all_cuts = cuts(stopped)
    assert len(all_cuts) > 150
    for number, cut in enumerate(all_cuts):
        resume(stopped, tmp_path / str(number), [cut], straight)


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_pairs_of_files_cut(stopped, straight, tmp_path):
    pairs = [pair for pair in itertools.combinations(cuts(stopped), 2) if pair[0][0] != pair[1][0]]
    for number, pair in enumerate(random.Random(0).sample(pairs, NUM_PAIRS)):
        resume(stopped, tmp_path / str(number), pair, straight)


def test_a_flipped_byte_of_a_tree_is_seen(stopped, straight, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    tree = min((tmp_path / "run" / "trees").iterdir())
    content = bytearray(tree.read_bytes())
    content[len(content) // 2] ^= 1
    tree.write_bytes(content)
    outcome = run(tmp_path / "run", **SMALL)
    assert any(tree.name in notice and "its search is run again" in notice for notice in outcome.notices)
    assert tree.with_name(f"{tree.name}.damaged").exists() is False, "it is of no use once there is a whole one"
    assert searches(tmp_path / "run") == straight


def test_trees_that_were_left_behind_are_not_missed(stopped, straight, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "trees")
    done = {record.key for record in read_run(tmp_path / "run").records}
    outcome = run(tmp_path / "run", **SMALL)
    assert not [notice for notice in outcome.notices if "tree" in notice]
    assert [record.key for record in read_run(tmp_path / "run").records][:2] == sorted(done, key=str) or len(done) == 2
    assert outcome.num_done == len(straight)


def report(path):
    """All that a report reads, but for the plots."""
    found = Results.read([path])
    about(found)
    return [table.markdown() for make in tables.ALL if (table := make(found)).rows]


@pytest.mark.slow
def test_flipped_bytes_of_the_lines_are_an_error_of_ours(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    lines, rng = tmp_path / "run" / "searches.jsonl", random.Random(0)
    content = lines.read_bytes()
    for place in range(0, len(content), 2):
        changed = bytearray(content)
        changed[place] = rng.choice([0, 9, 32, 34, 44, 48, 57, 91, 93, 123, 125, 255, changed[place] ^ 1])
        lines.write_bytes(changed)
        with contextlib.suppress(RecordError):
            report(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Possible nested set")  # a flipped byte of a pattern
def test_flipped_bytes_of_the_manifest_are_an_error_of_ours(stopped, tmp_path):
    """Reading, or a run that goes on: whatever the byte, no exception but ours."""
    shutil.copytree(stopped, tmp_path / "run")
    manifest = tmp_path / "run" / "run.json"
    content, rng = manifest.read_bytes(), random.Random(0)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] = rng.choice([0, 9, 32, 34, 44, 48, 57, 91, 93, 123, 125, 255, changed[place] ^ 1])
        manifest.write_bytes(changed)
        with contextlib.suppress(EtsearchError):
            read = read_run(tmp_path / "run")
            [read.settings(record) for record in read.records]
            report(tmp_path / "run")

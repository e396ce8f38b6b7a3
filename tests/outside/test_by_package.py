"""Parts of another package, declared as entry points, used by their names."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from etsearch.evaluation.run.folder import read_run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PARTS = ("--generator", "steady", "--prm", "lengths", "--embedder", "hashes")


def package(folder):
    """The package's sources, with the parts that the tests of files use too."""
    shutil.copytree(HERE / "pack", folder)
    shutil.copy(HERE / "parts.py", folder / "src" / "outside_pack" / "parts.py")
    return folder


def run(python, home, *arguments, **environment):
    command = [python, "-m", "etsearch", *arguments]
    surroundings = {**os.environ, **environment}
    return subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=100, check=False, env=surroundings)


def declare(site, name="outside-pack"):
    """Puts the package on a path as an installer would, with its metadata."""
    project = tomllib.loads((HERE / "pack" / "pyproject.toml").read_text())["project"]
    groups = project["entry-points"].items()
    points = "\n".join(f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in of.items()) for group, of in groups)
    info = site / f"{name.replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {project['version']}\n")
    (info / "entry_points.txt").write_text(points + "\n")


@pytest.fixture
def site(tmp_path):
    folder = package(tmp_path / "pack") / "src"
    declare(folder)
    return folder


@pytest.fixture
def ets(tmp_path, site):
    return lambda *arguments: run(sys.executable, tmp_path, *arguments, PYTHONPATH=str(site))


def test_lists_say_where_each_part_comes_from_and_name_a_broken_one(ets):
    done = ets("strategies")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:] if line[:1].strip()}
    assert "outside-pack 0.3" in rows["halving"]
    assert "etsearch 0" in rows["rebase"]
    assert "no, see below" in rows["broken"]
    assert "the strategy 'broken' of outside-pack 0.3 cannot be loaded: ModuleNotFoundError" in done.stdout
    for command, name in (("generators", "steady"), ("prms", "lengths"), ("embedders", "hashes"), ("datasets", "few")):
        assert name in ets(command).stdout


def test_a_broken_part_is_named_when_it_is_asked_for(ets):
    done = ets("solve", "--example", "--strategy", "broken", "--generator", "scripted", "--prm", "scripted")
    assert done.returncode == 2
    assert "the strategy 'broken' of outside-pack 0.3 cannot be loaded: ModuleNotFoundError" in done.stderr


def test_solve_eval_replay_and_a_resumed_run(ets, tmp_path):
    done = ets("solve", "--example", "--strategy", "halving(keep=3)", *PARTS, "--width", "8", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["strategy"] == "halving(keep=3)"
    asked = ("eval", "few(count=3):validation", *PARTS, "--strategy", "rebase,halving", "--width", "4", "--out", "run")
    assert ets(*asked, "--limit", "1").returncode == 0
    done = ets(*asked)
    assert done.returncode == 0, done.stderr
    read = read_run(tmp_path / "run")
    assert len(read.records) == 6
    assert read.manifest.sources == {}
    assert read.manifest.sessions[0].model_dump()["parts"]["strategy halving"] == "outside-pack 0.3"
    done = ets("replay", "run", "--strategy", "halving(keep=2)", "--of", "rebase")
    assert done.returncode == 0, done.stderr


def test_two_parts_of_one_name_are_an_error_that_names_both(ets, site):
    declare(site, "other-pack")
    done = ets("solve", "--example", "--strategy", "halving", "--generator", "scripted", "--prm", "scripted")
    assert done.returncode == 2
    assert "several packages have a strategy called 'halving': " in done.stderr
    assert "outside-pack 0.3" in done.stderr
    assert "other-pack 0.3" in done.stderr
    done = ets("solve", "--example", "--strategy", "rebase", "--generator", "scripted", "--prm", "scripted")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_package_installed_into_a_fresh_environment(tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", str(ROOT), str(package(tmp_path / "pack"))]
    done = subprocess.run(install, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    clean = {"PYTHONPATH": ""}
    done = run(python, tmp_path, "solve", "--example", "--strategy", "halving(keep=3)", *PARTS, "--width", "8", **clean)
    assert done.returncode == 0, done.stderr
    asked = ("eval", "few:validation", *PARTS, "--strategy", "rebase,halving", "--width", "4", "--out", "run")
    for limit in ("1", "2"):
        done = run(python, tmp_path, *asked, "--limit", limit, **clean)
        assert done.returncode == 0, done.stderr
    assert len(read_run(tmp_path / "run").records) == 4
    done = run(python, tmp_path, "replay", "run", "--strategy", "halving(keep=2)", "--of", "rebase", **clean)
    assert done.returncode == 0, done.stderr

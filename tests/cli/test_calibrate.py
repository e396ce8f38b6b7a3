"""``ets calibrate``: from a run to a curve, and a search with it."""

import json

from tests.cli.process import ets

SCRIPTED = ("--generator", "scripted", "--prm", "noisy(sd=4):scripted")


def made(path, *more):
    done = ets("eval", "minimath:validation", *SCRIPTED, "--width", "8", "--out", str(path), *more)
    assert done.returncode == 0, done.stderr


def test_a_curve_from_a_run_and_a_search_with_it(tmp_path):
    run, curve = tmp_path / "run", tmp_path / "curve.json"
    made(run, "--strategy", "rebase", "--limit", "24")
    done = ets("calibrate", str(run), "--out", str(curve))
    assert done.returncode == 0, done.stderr
    assert "calibrated, on unseen problems" in done.stdout
    points = json.loads(curve.read_text())["points"]
    assert [y for _, y in points] == sorted(y for _, y in points)
    prm = f"calibrated(curve={curve}):scripted"
    solved = ets("solve", "--example", "--generator", "scripted", "--prm", prm, "--width", "4", "--json")
    assert solved.returncode == 0, solved.stderr


def test_what_makes_no_curve_is_told(tmp_path):
    done = ets("calibrate", str(tmp_path / "gone"))
    assert (done.returncode, done.stderr.startswith("ets: ")) == (2, True)
    made(tmp_path / "few", "--strategy", "rebase", "--limit", "1")
    done = ets("calibrate", str(tmp_path / "few"), "--steps", "last", "--out", str(tmp_path / "curve.json"))
    assert done.returncode == 2
    assert "it takes 50" in done.stderr
    assert not (tmp_path / "curve.json").exists()
    done = ets("solve", "--example", "--generator", "scripted", "--prm", "calibrated(curve=gone.json):scripted")
    assert done.returncode == 2
    assert "gone.json cannot be read" in done.stderr

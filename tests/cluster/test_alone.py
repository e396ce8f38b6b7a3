"""Clusters that a command begins by itself. First in the folder: Ray refuses where another cluster is under way."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from etsearch.evaluation.run.folder import read_run

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.filterwarnings("default")]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _ray():
    pytest.importorskip("ray", reason="needs the extra 'ray'")


def test_the_guide_on_one_machine(tmp_path):
    """The commands of the guide as they stand, but for the installation."""
    text = (ROOT / "docs" / "guides" / "cluster.md").read_text(encoding="utf-8")
    block = re.search(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    commands = [shlex.split(line) for line in block.splitlines() if line.startswith("ets ")]
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "etsearch", *command[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(read_run(tmp_path / "runs" / "on-ray").records) == 8


def test_slurm_s_command_on_a_cluster_of_one(tmp_path):
    """``ray symmetric-run``, as deploy/cluster.slurm has it on every node; it calls ``ray`` by its name."""
    text = (ROOT / "deploy" / "cluster.slurm").read_text(encoding="utf-8").replace("\\\n", " ")
    line = next(line for line in text.splitlines() if "symmetric-run" in line)
    before, after = line.partition("ray symmetric-run")[2].split(" -- ")
    assert "--ray auto --ray-gpus 1 --ray-cpus 4" in after
    assert before.split()[0] == "--address"
    (tmp_path / "recipe.yaml").write_text(
        "data: minimath:validation\nstrategies: [rebase]\ngenerator: scripted\nprm: scripted\nwidths: [4]\nlimit: 2\n"
    )
    ets = f"{sys.executable} -m etsearch eval recipe.yaml --ray auto --ray-cpus 1 --out run"
    ray = Path(sys.executable).with_name("ray")
    command = f"{ray} symmetric-run --address 127.0.0.1:6399 --min-nodes 1 --num-cpus 1 -- {ets}"
    found = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        shlex.split(command), cwd=tmp_path, env=found, capture_output=True, text=True, timeout=110, check=False
    )
    assert "2 searches done, 0 failed" in done.stdout, done.stdout + done.stderr

"""The files in deploy/ that begin a cluster: that they can be read, and that the options they give are there."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.cli.process import ets

DEPLOY = Path(__file__).parents[2] / "deploy"


def of_pods(values):
    spec = values["spec"]["rayClusterSpec"]
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def test_a_job_on_kubernetes():
    values = yaml.safe_load((DEPLOY / "cluster-kuberay.yaml").read_text(encoding="utf-8"))
    assert (values["apiVersion"], values["kind"]) == ("ray.io/v1", "RayJob")
    for group in of_pods(values):
        pod = group["template"]["spec"]
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    workers = int(re.search(r"--ray-workers (\d+)", values["spec"]["entrypoint"])[1])
    assert workers == values["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"]


def test_a_task_of_skypilot():
    values = yaml.safe_load((DEPLOY / "cluster-skypilot.yaml").read_text(encoding="utf-8"))
    assert {"num_nodes", "resources", "setup", "run"} <= set(values)
    assert subprocess.run(["bash", "-n"], input=values["run"], text=True, check=False).returncode == 0
    assert "/runs" in values["file_mounts"]


def test_a_job_of_slurm():
    text = (DEPLOY / "cluster.slurm").read_text(encoding="utf-8")
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    assert "#SBATCH --ntasks-per-node=1" in text


@pytest.mark.parametrize("name", ["cluster.slurm", "cluster-kuberay.yaml", "cluster-skypilot.yaml"])
def test_the_options_are_there(name):
    help_text = ets("eval", "--help").stdout
    command = next(line for line in (DEPLOY / name).read_text(encoding="utf-8").splitlines() if "--ray auto" in line)
    options = re.findall(r"(--[a-z-]+)", command)
    assert "--ray" in options
    assert [option for option in options if option not in help_text] == []

"""``ets up`` and ``ets down``, with a test server in the place of vLLM."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from tests.doubles import world

from etsearch.launch import processes, state

ROOT = Path(__file__).parents[2]
FAKE = f"""#!{sys.executable}
import os, pathlib, signal, sys, time
mode = os.environ.get("FAKE", "")
print("it starts", flush=True)
if mode == "dies":
    sys.exit("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB")
if mode == "hangs":
    time.sleep(600)
from tests.doubles.vllm import VllmDouble
double = VllmDouble(sys.argv[sys.argv.index("--model") + 1])
def die_within_a_run(call):
    records = pathlib.Path("runs/own/searches.jsonl")
    if records.exists() and records.stat().st_size:
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
if mode == "dies within a run":
    double.trouble = die_within_a_run
double.port = int(sys.argv[sys.argv.index("--port") + 1])
double.start()
time.sleep(600)
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a recipe whose servers are test servers; in the end none of them is left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    fake = tmp_path / "python"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    model = str(world.folder(tmp_path / "model"))
    (tmp_path / "model" / "config.json").write_text("{}")
    served = {"with": "vllm", "model": model, "python": str(fake), "environment": {"PYTHONPATH": f"{ROOT}"}}
    values = {"data": "minimath:test", "limit": 1, "strategies": ["rebase"], "widths": [4], "generator": "vllm"}
    values |= {"prm": "vllm", "serve": {"generator": served, "prm": served}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(values))
    yield tmp_path
    for servers in state.read_all():
        for server in servers.servers:
            processes.kill(server.process)


def ets(*arguments):
    command = [sys.executable, "-m", "etsearch", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.slow
def test_up_eval_status_and_down(home):
    assert "ets up RECIPE" in ets("eval", "own.yaml").stderr
    up = ets("up", "own.yaml")
    assert up.returncode == 0, up.stderr
    assert "is up at http://127.0.0.1:" in up.stdout
    assert "ets eval own.yaml" in up.stdout
    run = ets("eval", "own.yaml", "--out", "runs/elsewhere")
    assert run.returncode == 0, run.stderr
    resolved = json.loads((home / "runs" / "elsewhere" / "run.json").read_text())["resolved"]
    assert (resolved["generator"], resolved["prm"]) == ("vllm", "vllm")  # whatever the port is next time
    servers = state.read("own").servers
    again = ets("up", "own.yaml")
    assert again.returncode == 0, again.stderr
    assert state.read("own").servers == servers
    other = ets("up", "own.yaml", "serve.prm.block_tokens=64")
    assert other.returncode == 2
    assert "the PRM's server of own is up at" in other.stderr

    os.kill(servers[1].pid, signal.SIGKILL)
    while servers[1].process.is_alive:
        time.sleep(0.01)
    status = ets("up", "--status")
    assert status.returncode == 1
    assert "has died" in status.stdout
    assert f"the PRM's server (process {servers[1].pid}" in status.stderr
    failed = ets("eval", "own.yaml")
    assert failed.returncode == 2
    assert "the PRM's server" in failed.stderr
    healed = ets("up", "own.yaml")
    assert healed.returncode == 0, healed.stderr
    now = state.read("own").servers
    assert now[0] == servers[0]
    assert (now[1].address, now[1].pid != servers[1].pid) == (servers[1].address, True)

    down = ets("down")
    assert down.stdout.count("is ended") == 2
    assert not any(server.process.is_alive for server in now)
    assert "nothing is up" in ets("down", "own.yaml").stdout
    assert "nothing is up" in ets("up", "--status", "own.yaml").stdout


@pytest.mark.slow
def test_a_server_that_dies_within_a_run_is_named(home):
    up = ets("up", "own.yaml", "serve.prm.environment.FAKE=dies within a run")
    assert up.returncode == 0, up.stderr
    (dead,) = state.read("own").of("prm")
    asked = ("own.yaml", "limit=3", "concurrency=1", "prm=vllm(patience_s=0.5)")
    run = ets("eval", *asked)
    assert run.returncode == 1
    told = " ".join(run.stderr.split())
    assert f"the PRM's server (process {dead.pid}, {dead.log}) has died: the GPU has too little memory" in told
    assert "'ets up RECIPE' starts it again" in told
    assert "Traceback" not in run.stderr
    kept = (home / "runs" / "own" / "searches.jsonl").read_text()
    assert kept.count("\n") == 1

    assert ets("up", "own.yaml").returncode == 0
    run = ets("eval", *asked)
    assert run.returncode == 0, run.stderr
    records = (home / "runs" / "own" / "searches.jsonl").read_text()
    assert records.startswith(kept)
    assert records.count("\n") == 3


def test_a_server_that_does_not_come_up(home):
    done = ets("up", "own.yaml", "serve.prm.environment.FAKE=dies")
    assert done.returncode == 1
    assert "the PRM's server did not come up" in done.stderr
    assert "the GPU has too little memory for it" in done.stderr
    assert "  it starts" in done.stderr
    assert state.read_all() == []


def test_a_server_that_never_answers(home):
    done = ets("up", "own.yaml", "serve.prm.environment.FAKE=hangs", "--start-s", "2")
    assert done.returncode == 1
    assert "no answer within 2 s" in done.stderr
    assert state.read_all() == []


def test_stopped_while_they_start(home):
    command = [sys.executable, "-m", "etsearch", "up", "own.yaml", "serve.prm.environment.FAKE=hangs"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as going:
        while not (there := state.read("own")) or len(there.servers) < 2:
            assert going.poll() is None
            time.sleep(0.05)
        going.send_signal(signal.SIGTERM)  # Ctrl-C is ignored by what a shell runs in the background
        _, said = going.communicate(timeout=60)
    # The second is how Python ends where the signal fell into an import; a shell sees 130.
    assert going.returncode in (143, -signal.SIGINT), said
    assert "were ended" in said
    assert not any(server.process.is_alive for server in there.servers)
    assert state.read_all() == []


def test_a_port_that_is_taken(home):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = ets("up", "own.yaml", f"serve.generator.port={port}")
    assert done.returncode == 2
    assert f"port {port} of 127.0.0.1 is taken" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["up"], "say what is to be served"),
        (["up", "--generator", "minimath"], "--with vllm"),
        (["up", "--generator", "minimath", "--with", "llama"], "generator.with is 'llama'"),
        (["up", "own.yaml", "--prm", "minimath"], "says what is served"),
        (["up", "own.yaml", "serve=null"], "has no key 'serve'"),
        (["up", "own.yaml", "generator=minimath"], "which is not the server of serve.generator"),
        (["up", "own.yaml", "serve.prm.python=/nowhere/python"], "/nowhere/python"),
    ],
)
def test_bad_input(home, arguments, message):
    done = ets(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr

"""What servers are started with, where, and what their logs mean; nothing is started but small processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from etsearch.errors import ConfigError, RecordError
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.served import dead_servers
from etsearch.launch import processes, state
from etsearch.launch.commands import Place, Way, command, environment, way_of
from etsearch.launch.diagnosis import explain, last_line, tail
from etsearch.launch.machine import Machine, find_machine
from etsearch.launch.plan import plan
from etsearch.launch.serve import Serve, ServedModel
from etsearch.prms.families import FAMILIES
from etsearch.registry import Specification

POLICY, PRM = "Qwen/Qwen2.5-Math-1.5B-Instruct", "Qwen/Qwen2.5-Math-PRM-7B"
GPU = Place("OWNER/NAME", "NAME", "127.0.0.1", 8100, ("0",))
CPU = Place("/models/NAME", "NAME", "127.0.0.1", 8100)


def line(served, place, way=Way.GENERATE, family=None):
    return " ".join(command(ServedModel(python="python", **served), place, way, family))


VLLM = (
    "python -m vllm.entrypoints.openai.api_server --model OWNER/NAME --served-model-name NAME --host 127.0.0.1 "
    "--port 8100 --dtype auto --block-size 16 --enable-prefix-caching --enable-prompt-tokens-details"
)
SGLANG = (
    "python -m sglang.launch_server --model-path OWNER/NAME --served-model-name NAME --host 127.0.0.1 --port 8100 "
    "--dtype auto --page-size 1 --enable-metrics --enable-cache-report"
)


def test_vllm_on_a_gpu():
    assert line({"with": "vllm", "model": "x"}, GPU) == VLLM


def test_vllm_on_two_gpus_that_it_shares():
    place = Place("OWNER/NAME", "NAME", "127.0.0.1", 8100, ("0", "1"), memory=0.45)
    served = {"with": "vllm", "model": "x", "tensor_parallel": 2, "context_tokens": 4096}
    assert line(served, place) == (
        f"{VLLM} --max-model-len 4096 --gpu-memory-utilization 0.45 --tensor-parallel-size 2"
    )
    assert environment(ServedModel(**served), place)["CUDA_VISIBLE_DEVICES"] == "0,1"


@pytest.mark.parametrize(("given", "cores", "threads"), [(None, 1, "1"), (None, 2, "1"), (None, 8, "7"), ("3", 8, "3")])
def test_vllm_on_a_cpu_leaves_its_scheduler_a_core(monkeypatch, given, cores, threads):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert environment(ServedModel(**{"with": "vllm", "model": "x"}), CPU)["OMP_NUM_THREADS"] == threads


def test_vllm_on_a_cpu(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    served = {"with": "vllm", "model": "x"}
    assert line(served, CPU) == (
        "python -m vllm.entrypoints.openai.api_server --model /models/NAME --served-model-name NAME --host 127.0.0.1 "
        "--port 8100 --dtype float32 --block-size 32 --enable-prefix-caching --enable-prompt-tokens-details "
        "--enforce-eager --no-enable-chunked-prefill"
    )
    assert environment(ServedModel(**served, environment={"VLLM_CPU_KVCACHE_SPACE": "4"}), CPU) == {
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "4",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "2",
    }


def test_prms_by_the_route_of_their_family():
    served = {"with": "vllm", "model": "x"}
    classifier = ' --runner pooling --convert classify --pooler-config {"task": "token_classify"}'
    assert line(served, GPU, Way.CLASSIFY, FAMILIES["skywork"]) == VLLM + classifier
    pooler = ' --runner pooling --pooler-config {"step_tag_id": 151651, "returned_token_ids": [0, 1]}'
    assert line(served, GPU, Way.POOL, FAMILIES["qwen_prm"]) == VLLM + pooler
    assert line(served, GPU, Way.GENERATE, FAMILIES["math_shepherd"]) == VLLM


@pytest.mark.parametrize(
    ("engine", "family", "route", "way"),
    [
        ("vllm", None, "auto", Way.GENERATE),
        ("vllm", "math_shepherd", "auto", Way.GENERATE),
        ("vllm", "math_shepherd", "generative_scoring", Way.GENERATE),
        ("vllm", "math_shepherd", "pooling", Way.CLASSIFY),
        ("vllm", "llemma_reward", "auto", Way.CLASSIFY),
        ("vllm", "skywork", "auto", Way.CLASSIFY),
        ("vllm", "qwen_prm", "auto", Way.POOL),
        ("sglang", "rlhflow_mistral", "auto", Way.GENERATE),
    ],
)
def test_ways(engine, family, route, way):
    assert way_of(engine, FAMILIES[family] if family else None, route) is way


def test_sglang_has_no_route_for_heads():
    with pytest.raises(ConfigError, match="no route for the PRM family skywork"):
        way_of("sglang", FAMILIES["skywork"])


def test_sglang():
    served = {"with": "sglang", "model": "x"}
    assert line(served, GPU) == f"{SGLANG} --enable-deterministic-inference"
    assert line(served, GPU, Way.GENERATE, FAMILIES["math_shepherd"]) == SGLANG
    second = Place("OWNER/NAME", "NAME", "127.0.0.1", 8100, ("0",), memory=0.45, taken=0.45)
    shared = line(served, second, Way.GENERATE, FAMILIES["math_shepherd"])
    assert shared == f"{SGLANG} --mem-fraction-static 0.818"  # of the 0.55 that are free by then
    on_cpu = line(served, Place("OWNER/NAME", "NAME", "127.0.0.1", 8100))
    assert on_cpu == (
        f"{SGLANG.replace('auto', 'float32')} --device cpu --attention-backend torch_native --sampling-backend pytorch "
        "--disable-overlap-schedule --disable-cuda-graph --skip-server-warmup"
    )


def test_options_win():
    served = {"with": "vllm", "model": "x", "options": ["--block-size", "64", "--dtype=half", "--max-num-seqs", "256"]}
    told = line(served, GPU)
    assert "--block-size 16" not in told
    assert "--dtype auto" not in told
    assert told.endswith("--block-size 64 --dtype=half --max-num-seqs 256")
    assert "--enable-prefix-caching" in told


def planned(machine=(), taken=(), **serve):
    models = {role: {"with": "vllm", **values} for role, values in serve.items()}
    return plan(Serve(**models), Machine(tuple(machine)), is_free=lambda _, port: port not in taken)


def places(wanted):
    return [(w.role, w.replica, w.place.port, w.place.gpus, w.place.memory) for w in wanted]


def test_one_gpu_is_shared():
    both = {"generator": {"model": POLICY}, "prm": {"model": PRM}}
    assert places(planned("0", **both)) == [
        ("generator", 0, 8100, ("0",), 0.45),
        ("prm", 0, 8101, ("0",), 0.45),
    ]
    both["generator"]["memory"] = 0.3
    assert [w.place.memory for w in planned("0", **both)] == [0.3, 0.6]
    assert planned("0", **both)[1].place.taken == pytest.approx(0.3)


def test_two_gpus_are_one_each():
    both = {"generator": {"model": POLICY}, "prm": {"model": PRM}}
    assert [p[3:] for p in places(planned("01", **both))] == [(("0",), None), (("1",), None)]


def test_tensor_parallel_and_replicas():
    both = {
        "generator": {"model": POLICY, "replicas": 2, "port": 9000},
        "prm": {"model": PRM, "tensor_parallel": 2},
    }
    assert places(planned("0123", taken={8100}, **both)) == [
        ("generator", 0, 9000, ("0",), None),
        ("generator", 1, 9001, ("1",), None),
        ("prm", 0, 8101, ("2", "3"), None),
    ]


def test_a_cpu_has_no_shares():
    wanted = planned((), generator={"model": POLICY, "replicas": 2}, prm={"model": PRM})
    assert [p[2:] for p in places(wanted)] == [(8100, (), None), (8101, (), None), (8102, (), None)]


def test_ports_that_were_had_before():
    serve = Serve(generator={"with": "vllm", "model": POLICY})
    (wanted,) = plan(serve, Machine(), before={("generator", 0): 8107}, is_free=lambda _, __: True)
    assert wanted.address == "http://127.0.0.1:8107"


@pytest.mark.parametrize(
    ("machine", "serve", "message"),
    [
        ("0", {"generator": {"model": "o/x", "tensor_parallel": 2}}, "need 2 GPUs, and there are 1"),
        ("", {"generator": {"model": "o/x", "tensor_parallel": 2}}, "no GPU is here"),
        ("", {"generator": {"model": "o/x", "port": 8105}}, "port 8105 of 127.0.0.1 is taken"),
        ("", {"prm": {"model": "o/x"}}, "nothing tells how the PRM 'o/x' is read"),
        ("", {"generator": {"model": "./nowhere"}}, "no folder on this machine"),
        ("", {"generator": {"model": "nowhere"}}, "the model nowhere is no folder .* OWNER/NAME"),
        ("0", {"generator": {"model": "o/x", "memory": 0.95}, "prm": {"model": PRM}}, "lower 'memory'"),
        ("0", {"generator": {"model": "o/x", "memory": 0.6}, "prm": {"model": PRM, "memory": 0.6}}, "lower 'memory'"),
    ],
)
def test_what_cannot_be_planned(machine, serve, message):
    with pytest.raises(ConfigError, match=message):
        planned(machine, taken={8105}, **serve)


def test_the_family_that_the_recipe_names():
    serve, asked = Serve(prm={"with": "vllm", "model": "o/x"}), Specification("vllm", None, {"family": "skywork"})
    (wanted,) = plan(serve, Machine(), asked, is_free=lambda _, __: True)
    assert wanted.way is Way.CLASSIFY


def test_gpus_of_the_environment(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 3")
    assert find_machine() == Machine(("2", "3"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_machine() == Machine()


def test_gpus_that_nvidia_smi_tells(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_machine() == Machine()
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 0\necho 1\n")
    program.chmod(0o755)
    assert find_machine() == Machine(("0", "1"))
    program.write_text("#!/bin/sh\nexit 9\n")
    with pytest.raises(ConfigError, match="nvidia-smi is here, and fails"):
        find_machine()


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "too little memory"),
        ("ValueError: Free memory on device cuda:0 (3/80 GiB) on startup is less than desired", "too little memory"),
        ("OSError: [Errno 98] Address already in use", "port is taken"),
        ("OSError: x/y is not a local folder and is not a valid model identifier listed on", "not found"),
        ("You are trying to access a gated repo. huggingface.co/x", "gated"),
        ("To serve at least one request, 9 GiB KV cache is needed, which is larger than 4", "whole context"),
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "kernels"),
        ("api_server.py: error: unrecognized arguments: --blok-size 3", "does not know an option"),
        ("/usr/bin/python: No module named vllm", "no such server installed"),
        ("Error while finding module specification for 'vllm.entrypoints.openai.api_server'", "no such server"),
        ("Model architectures ['XForCausalLM'] are not supported for now", "architecture"),
        ("max_model_len (9) is greater than the derived max_model_len (8)", "more than the model can hold"),
        ("INFO: all is well", ""),
    ],
)
def test_what_a_log_means(said, means, tmp_path):
    log = tmp_path / "log"
    log.write_text(f"INFO: it starts\n{said}\nRuntimeError: Engine core initialization failed. See root cause above.\n")
    assert (means in explain(log)) if means else explain(log) == ""


def test_the_end_of_a_log(tmp_path):
    log = tmp_path / "log"
    assert (tail(log), last_line(log), explain(log)) == ([], "", "")
    log.write_bytes(b"".join(b"line %d\n" % n for n in range(100)) + b"10%\r90%\r\n\xff\n\n")
    assert last_line(log) == "\ufffd"
    assert len(tail(log)) == 25


SLEEPS = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]


@pytest.fixture
def sleeper(tmp_path):
    process = processes.start(SLEEPS, {}, tmp_path / "log")
    yield process
    processes.kill(process)


def test_a_process_is_known_by_id_and_birth(sleeper):
    assert sleeper.is_alive
    assert not processes.Process(sleeper.pid, "1").is_alive
    assert not processes.Process(2**22 + 1, "1").is_alive


def test_another_process_with_the_id_is_let_be(sleeper):
    processes.end([processes.Process(sleeper.pid, "1")], patience_s=0.1)
    assert sleeper.is_alive


def test_a_process_that_does_not_end_is_killed(tmp_path):
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(600)"
    )
    log = tmp_path / "log"
    process = processes.start([sys.executable, "-c", stubborn], {}, log)
    while "here" not in log.read_text():
        time.sleep(0.01)
    processes.end([process], patience_s=0.2)
    assert not process.is_alive


def test_what_a_process_left_behind_is_ended(tmp_path):
    """An engine outlives its server that was killed: it is of the same group."""
    parent = f"import subprocess, time; print(subprocess.Popen({SLEEPS!r}).pid, flush=True); time.sleep(600)"
    log = tmp_path / "log"
    process = processes.start([sys.executable, "-c", parent], {}, log)
    while "here" not in log.read_text():
        time.sleep(0.01)
    child = int(log.read_text().split()[0])
    os.kill(process.pid, signal.SIGKILL)
    while process.is_alive:
        time.sleep(0.01)
    assert processes.born(child) is not None
    processes.end([process], patience_s=5)
    assert processes.born(child) is None


def started(process, tmp_path, role="generator"):
    return state.Started(
        role=role,
        engine="vllm",
        model="m",
        replica=0,
        address="http://127.0.0.1:8100",
        gpus=(),
        command=("python",),
        environment={},
        log=tmp_path / "log",
        pid=process.pid,
        born=process.born,
    )


def test_what_is_written_down(sleeper, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert state.read("own") is None
    servers = state.Servers(name="own", servers=(started(sleeper, tmp_path),))
    state.write(servers)
    assert state.read("own") == servers
    assert state.read_all() == [servers]
    assert state.locate("own", "generator", "vllm") == "http://127.0.0.1:8100"
    with pytest.raises(ConfigError, match="prm: no server is up for it"):
        state.locate("own", "prm", "vllm")
    with pytest.raises(ConfigError, match="the server that is up is vllm"):
        state.locate("own", "generator", "sglang")
    state.write(state.Servers(name="own"))
    assert state.read_all() == []


def test_a_server_that_died_is_named(sleeper, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_text("CUDA out of memory\n")
    state.write(state.Servers(name="own", servers=(started(processes.Process(sleeper.pid, "1"), tmp_path),)))
    with pytest.raises(ConfigError, match=r"the generator's server \(process \d+, .*log\) has died: .* memory"):
        state.locate("own", "generator", "vllm")


def test_of_a_run_the_servers_that_it_uses_are_named(sleeper, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dead = processes.Process(sleeper.pid, "1")
    both = tuple(started(dead, tmp_path, role) for role in ("generator", "prm"))
    state.write(state.Servers(name="own", servers=both))

    def named(name="own", **parts):
        values = {"name": name, "data": "minimath:test", "strategies": "rebase", "generator": "vllm", "prm": "vllm"}
        told = dead_servers(Recipe.of({**values, **parts}))
        return [role for role in ("generator", "PRM") if f"the {role}'s server (process {sleeper.pid}" in told]

    assert named() == ["generator", "PRM"]
    assert named(prm="vllm:http://127.0.0.1:8101") == ["generator"]
    assert named(generator="scripted", prm="vllm(family=skywork)") == ["PRM"]
    assert named("other") == []
    state.write(state.Servers(name="own", servers=(started(dead, tmp_path), started(sleeper, tmp_path, "prm"))))
    assert named() == ["generator"]


def test_a_damaged_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = state.folder_of("own")
    folder.mkdir(parents=True)
    for content in ("{", '{"format": "etsearch servers", "name": "own", "server": []}'):
        (folder / state.FILE).write_text(content)
        with pytest.raises(RecordError, match="is damaged"):
            state.read("own")


def test_a_name_stays_in_its_folder():
    assert state.folder_of("../x/y").parent == state.ROOT
    assert state.folder_of("..").parent == state.ROOT


def test_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "from etsearch.launch.state import changing\nwith changing('own'): print('here', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"here\n"
        with pytest.raises(ConfigError, match="another 'ets up'"), state.changing("own"):
            pass
        other.communicate(b"\n")

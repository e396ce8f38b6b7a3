"""Real vLLM servers on this CPU, with the miniature models and with tiny ones of every PRM family."""

import socket
import sys
from contextlib import contextmanager
from importlib import util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _servers():
    spec = util.spec_from_file_location("vllm_cpu", ROOT / "tools" / "vllm_cpu.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """Starts a server, waits until it answers, and in the end stops it."""
    pytest.importorskip("vllm", reason="needs vLLM: make test-vllm")
    module = _servers()
    logs = tmp_path_factory.mktemp("logs")

    @contextmanager
    def start(model, *options, name=None, port=None):
        port = port or free_port()
        server = module.Server(sys.executable, model, port, logs / f"{port}.log", name=name, options=options)
        try:
            yield server.start().wait()
        finally:
            server.kill()

    return start


@pytest.fixture(scope="session")
def miniature(tmp_path_factory):
    """The miniature models as Hugging Face folders."""
    from etsearch.minimath import hugging_face

    folder = tmp_path_factory.mktemp("models")
    return {kind: hugging_face.write(kind, folder / f"minimath-{kind}") for kind in hugging_face.MODELS}


@pytest.fixture(scope="module")
def policy(serve, miniature):
    with serve(miniature["policy"], "--max-num-seqs", "128") as server:
        yield server


@pytest.fixture(scope="module")
def prm(serve, miniature):
    with serve(miniature["prm"], "--max-num-seqs", "128") as server:
        yield server

"""Real vLLM servers on this CPU, with the miniature models and with tiny ones of every PRM family."""

import socket
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from etsearch.launch import processes
from etsearch.launch.commands import Place, Way, command, environment
from etsearch.launch.diagnosis import tail
from etsearch.launch.serve import ServedModel
from etsearch.launch.up import answers

START_S = 300


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Server:
    """A server as ``ets up`` starts it, that a test may kill and start again."""

    def __init__(self, served, place, log):
        self.url, self.log, self.process = f"http://{place.host}:{place.port}", log, None
        self.command, self.environment = command(served, place, Way.GENERATE), environment(served, place)

    def start(self):
        self.process = processes.start(self.command, self.environment, self.log)
        return self

    def wait(self):
        until = time.monotonic() + START_S
        while not answers(self.url):
            assert self.process.is_alive, "\n".join(tail(self.log))
            assert time.monotonic() < until, "\n".join(tail(self.log))
            time.sleep(0.5)
        return self

    def kill(self):
        """Ends the server and its engine, at once."""
        processes.kill(self.process)


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """Starts a server, waits until it answers, and in the end stops it."""
    pytest.importorskip("vllm", reason="needs vLLM: make test-vllm")
    logs = tmp_path_factory.mktemp("logs")

    @contextmanager
    def start(model, *options, name=None, port=None):
        place = Place(str(model), name or Path(model).name, "127.0.0.1", port or free_port())
        served = ServedModel(engine="vllm", model=str(model), options=options)
        server = Server(served, place, logs / f"{place.port}.log")
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

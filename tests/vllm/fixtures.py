"""Real vLLM servers on this CPU, with the miniature models and with tiny ones of every PRM family."""

import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from etsearch.launch import processes
from etsearch.launch.commands import Place, Way, command, environment
from etsearch.launch.diagnosis import tail
from etsearch.launch.serve import ServedModel
from etsearch.launch.up import answers
from etsearch.loop.events import Selected

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


@contextmanager
def serving(served, name, logs, port=None):
    """A server of a model, once it answers; ended with the block."""
    place = Place(served.model, name, "127.0.0.1", port or free_port())
    server = Server(served, place, logs / f"{place.port}.log")
    try:
        yield server.start().wait()
    finally:
        server.kill()


@contextmanager
def dying(server):
    """Within it a server is killed when a search that listens by what it gives has its first depth, and comes back."""
    kills = threading.Event()

    def kill_and_restart():
        kills.wait()
        server.kill()
        time.sleep(1)
        server.start().wait()

    def on_event(event):
        if isinstance(event, Selected) and event.summary.depth == 1:
            kills.set()

    nurse = threading.Thread(target=kill_and_restart)
    nurse.start()
    try:
        yield on_event
    finally:
        kills.set()
        nurse.join()


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """Starts a server, waits until it answers, and in the end stops it."""
    pytest.importorskip("vllm", reason="needs vLLM: make test-vllm")
    logs = tmp_path_factory.mktemp("logs")

    def start(model, *options, name=None, port=None):
        served = ServedModel(engine="vllm", model=str(model), options=options)
        return serving(served, name or Path(model).name, logs, port)

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

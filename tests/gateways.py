"""Gateways for tests: in a thread of this process, or as a process of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import httpx
import openai
import uvicorn
import yaml

from etsearch import minimath
from etsearch.serving.app import make_app
from etsearch.serving.config import Config
from etsearch.serving.gateway import Gateway, open_gateway
from etsearch.serving.logs import Log

SCRIPTED = {"generator": "scripted", "prm": "scripted", "width": 16}
SLOW = {"generator": "scripted(delay_s=0.15)", "prm": "scripted", "width": 8}
QUESTION = minimath.example(1).question
ANSWER = minimath.example(1).answer
MARKET = {"cache_tokens": 100_000}


def config_of(folder: Path, **values) -> Config:
    """A gateway of scripted parts, whose files lie in a folder."""
    profiles = {"small": SCRIPTED, "slow": SLOW}
    given = {"jobs": str(folder / "jobs.sqlite"), "market": MARKET, "profiles": profiles, "port": 0, "drain_s": 0}
    return Config.of({**given, **values})


@dataclass
class Served:
    """A gateway in a thread."""

    url: str
    gateway: Gateway
    log: StringIO
    loop: asyncio.AbstractEventLoop

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def client(self, key="none", **options):
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **options)

    def http(self, **options):
        return httpx.Client(base_url=self.url, timeout=30, **options)

    @property
    def events(self):
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@contextmanager
def served(config: Config):
    """A gateway that answers, until the block is left."""
    began, ready, box = threading.Event(), threading.Event(), {}
    log = StringIO()

    async def main():
        async with open_gateway(config, Log(with_questions=config.log_questions, stream=log)) as gateway:
            made = uvicorn.Config(
                make_app(gateway), port=config.port, log_config=None, lifespan="off", timeout_graceful_shutdown=2
            )
            server = uvicorn.Server(made)
            server.capture_signals = contextmanager(lambda: iter([None]))  # not in this thread
            box.update(server=server, gateway=gateway, loop=asyncio.get_running_loop())
            began.set()
            await server.serve()

    def run():
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001
            box["error"] = error
            began.set()

    thread = threading.Thread(target=run)
    thread.start()
    began.wait(60)
    try:
        while not box.get("error") and not (box["server"].started):
            time.sleep(0.01)
        if "error" in box:
            raise box["error"]
        ready.set()
        port = box["server"].servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}", box["gateway"], log, box["loop"])
    finally:
        if "server" in box and "error" not in box:
            asyncio.run_coroutine_threadsafe(box["gateway"].drain(), box["loop"]).result(60)
            box["server"].should_exit = True
        thread.join(60)
        assert not thread.is_alive()
    if "error" in box:
        raise box["error"]


class Process:
    """``ets serve`` as a process of its own."""

    def __init__(self, folder: Path, **values):
        self.folder = folder
        self.path = folder / "gateway.yaml"
        self.path.write_text(
            yaml.safe_dump({"jobs": str(folder / "jobs.sqlite"), "port": 0, "market": MARKET, **values})
        )
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "etsearch", "serve", str(self.path)]
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        line = self.process.stdout.readline()
        if "serving on" not in line:
            raise AssertionError(line + self.process.stderr.read())
        self.errors = []
        self.reading = threading.Thread(target=self._read, args=(self.process,))
        self.reading.start()
        self.url = line.split()[-1]
        return self

    def _read(self, process):
        for line in process.stderr:
            self.errors.append(line)

    def http(self):
        return httpx.Client(base_url=self.url, timeout=60)

    def client(self):
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.reading.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()

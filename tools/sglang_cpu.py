"""SGLang for a CPU: an environment of its own, 2 GB, in which small models are served for tests.

    python tools/sglang_cpu.py install VENV

Its kernels are for GPUs; what the tests put in their place is in ``tests/sglang/stand_ins``. Seen to work with SGLang
0.5.23, Python 3.11, on x86-64. ``make test-sglang`` calls this.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

TORCH = os.environ.get("TORCH", "torch==2.13.0")
"""Where PyPI gives a CUDA build, add ``PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu``."""
ALONE = ("sglang==0.5.23", "torchvision==0.28.0", "xgrammar==0.2.7", "apache-tvm-ffi==0.1.11")
"""Without what they ask for, most of which is for GPUs."""
NEEDS = [
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


def install(venv):
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--upgrade", "pip>=25.1"], check=True)
    subprocess.run([*pip, TORCH], check=True)
    subprocess.run([*pip, "--no-deps", *ALONE], check=True)
    subprocess.run([*pip, *NEEDS], check=True)
    where = "import importlib.util as u; print(u.find_spec('torchvision').submodule_search_locations[0])"
    folder = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip()
    # It declares its operators to a PyTorch that was built with others, and would not be imported.
    Path(folder, "_meta_registrations.py").write_text("", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("install",))
    parser.add_argument("venv", type=Path, nargs="?", default=Path(".venv-sglang"))
    install(parser.parse_args().venv)


if __name__ == "__main__":
    main()

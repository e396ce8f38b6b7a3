"""What a run was made with: package, commit, machine."""

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import etsearch

_PACKAGES: Final = (
    *("numpy", "scipy", "highspy", "math-verify", "openvino", "openvino-genai", "pulp", "httpx"),
    *("torch", "transformers", "tokenizers", "sentence-transformers"),
)


def environment() -> dict[str, Any]:
    """Plain values; what cannot be told is None."""
    return {
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "etsearch": etsearch.__version__,
        "git": _git(Path(etsearch.__file__).parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path) -> dict[str, Any] | None:
    """The commit of the package's sources, and whether they differ from it; None where they are in no repository."""

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None

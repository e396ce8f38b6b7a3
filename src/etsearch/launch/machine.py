"""Which GPUs a server may have here."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import Final

from etsearch.errors import ConfigError

_ASK: Final = ("--query-gpu=index", "--format=csv,noheader")
_ASK_S: Final = 30


@dataclass(frozen=True, slots=True)
class Machine:
    """What servers run on: the GPUs by the names that ``CUDA_VISIBLE_DEVICES`` has for them; none on a CPU."""

    gpus: tuple[str, ...] = ()


def find_machine() -> Machine:
    """This machine: the GPUs that ``CUDA_VISIBLE_DEVICES`` names where it is set, else those of ``nvidia-smi``.

    Raises:
        ConfigError: ``nvidia-smi`` is there, and fails.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return Machine(tuple(gpu.strip() for gpu in named.split(",") if gpu.strip() not in ("", "-1")))
    program = shutil.which("nvidia-smi")
    if program is None:
        return Machine()
    try:
        told = subprocess.run([program, *_ASK], capture_output=True, text=True, check=True, timeout=_ASK_S)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"nvidia-smi is here, and fails: {error}; name the GPUs by 'gpus: [0]', or 'gpus: []' for the CPU"
        ) from error
    return Machine(tuple(told.stdout.split()))

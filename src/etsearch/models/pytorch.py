"""Models that PyTorch runs: where they lie, and the device that computes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from etsearch.boundary.files import to_path
from etsearch.boundary.hub import is_hub_name
from etsearch.boundary.numbers import shown
from etsearch.errors import ConfigError

Precision = Literal["float32", "bfloat16", "float16"]

_FILES: Final = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
"""What is fetched of a model on the hub: no code, and no weights in another format."""


def check_device(device: str) -> Any:
    """The device as PyTorch's own object.

    Raises:
        ConfigError: PyTorch knows no such device, or there is none here that it could use.
        ImportError: PyTorch is not installed.
    """
    import torch  # noqa: PLC0415

    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            there.append("mps")
        raise ConfigError(
            f"PyTorch {torch.__version__} cannot compute on the device {shown(device)}: {_first_line(error)}. "
            f"Here are {', '.join(there)}; for a GPU install a build of PyTorch that is made for it, and its driver"
        ) from error
    return found


def model_folder(name_or_path: str | Path) -> Path:
    """The folder of a Hugging Face model: one on this machine, or fetched from the hub by its name (``org/model``).

    Raises:
        ConfigError: there is no such folder, and no such model can be fetched.
        ImportError: huggingface_hub, which comes with transformers, is not installed.
    """
    path = to_path(name_or_path, "the model")
    if not is_hub_name(str(name_or_path), "the model"):
        if not (path / "config.json").is_file():
            raise ConfigError(
                f"{path} holds no config.json; give a Hugging Face model's folder, or its name on the hub, OWNER/NAME"
            )
        return path
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    try:
        return Path(snapshot_download(str(name_or_path), allow_patterns=list(_FILES)))
    except Exception as error:  # the library raises many kinds, its own and those of the connection
        raise ConfigError(
            f"{name_or_path} is no folder here, and the hub gives no such model: {_first_line(error)}. Give the folder "
            "of a model, or a name as it stands on the hub; for a model that is gated, set HF_TOKEN"
        ) from error


@contextmanager
def reading(folder: Path, device: Any) -> Iterator[None]:
    """Within it a model is read, without a progress bar; what transformers raises comes out as ConfigError."""
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()
    try:
        yield
    except ConfigError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"transformers cannot read {folder} on {device}: {error}") from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__

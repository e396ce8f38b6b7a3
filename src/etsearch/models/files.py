"""What lies in a model's folder or file: whether it is one, how it is used, how long its context is."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from etsearch.boundary.files import to_path
from etsearch.boundary.numbers import MOST_TOKENS, shown
from etsearch.boundary.plain import read_json, read_yaml
from etsearch.errors import ConfigError
from etsearch.models.gguf import read_header
from etsearch.types import Identity, PromptFormat


def check_path(path: str | Path) -> Path:
    path = to_path(path, "the model")
    if not path.exists():
        raise ConfigError(f"{path} does not exist; give an OpenVINO IR folder or a .gguf file")
    if path.is_file() and path.suffix != ".gguf":
        raise ConfigError(f"{path} is no .gguf file; give an OpenVINO IR folder or a .gguf file")
    if path.is_file():
        read_header(path)  # a broken one would end the process within the library
    if path.is_dir() and not (path / "openvino_model.xml").exists():
        raise ConfigError(
            f"{path} holds no openvino_model.xml; export a Hugging Face model into it: "
            f"optimum-cli export openvino --model MODEL --task text-generation-with-past {path}"
        )
    return path


def explain_unreadable(path: Path, reason: str) -> str:
    return (
        f"OpenVINO GenAI cannot read the model {path}; it needs an OpenVINO IR folder with the tokenizer, or a GGUF "
        f"file of a Llama or Qwen architecture. It says: {' '.join(reason.split())}"
    )


def read_description(folder: Path, key: str) -> dict[str, Any] | None:
    """The entry of a model folder's ``etsearch.json`` that says how the model is used; None if there is none."""
    entry = read_object(folder / "etsearch.json").get(key)
    if entry is not None and not isinstance(entry, dict):
        raise ConfigError(f"{folder / 'etsearch.json'}: {key!r} must be an object, not {entry!r}")
    return entry


def read_object(path: Path) -> dict[str, Any]:
    """The object in a model's JSON file; an empty one if there is no such file. Raises ConfigError if it holds none."""
    if not path.is_file():
        return {}
    try:
        value = read_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} cannot be read: it holds {shown(value)}, and must hold an object")
    return value


def identify(path: Path, engine: str) -> Identity:
    """Which model it is: its folder's or file's name, a hash of all its files, and its size if the folder says it."""
    count = read_object(path / "etsearch.json").get("num_parameters")
    return Identity(path.name, _sha256(path), count if isinstance(count, int) else None, engine)


@lru_cache(maxsize=16)
def _sha256(path: Path) -> str:
    """Of the names and the contents of all files; a large model takes seconds."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path.parent)}\n{file.stat().st_size}\n".encode())
            with file.open("rb") as content:
                while block := content.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def read_format(path: Path) -> PromptFormat | None:
    """The prompt format in the folder's description; None if there is none."""
    entry = read_description(path, "format")
    return None if entry is None else _format(entry, f"{path / 'etsearch.json'}: 'format'")


def read_format_file(path: Path) -> PromptFormat:
    """The prompt format in a JSON or YAML file; of an ``etsearch.json``, its entry ``format``."""
    path = to_path(path, "the prompt format")
    try:
        entry = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the prompt format {path} cannot be read: {error}") from error
    if isinstance(entry, dict) and isinstance(entry.get("format"), dict):
        entry = entry["format"]
    return _format(entry, f"the prompt format {path}")


def _format(entry: Any, what: str) -> PromptFormat:
    try:
        return PromptFormat(**entry)
    except TypeError as error:
        raise ConfigError(f"{what} takes template, step_delimiter, chat, system, ends: {error}") from error


def context_length(path: Path) -> int | None:
    """Tokens that the model was made for; None where its files do not tell."""
    if path.is_file():
        return read_header(path).context_tokens
    length = read_object(path / "config.json").get("max_position_embeddings")
    if length is not None and (not isinstance(length, int) or not 0 <= length <= MOST_TOKENS):
        raise ConfigError(f"{path / 'config.json'}: max_position_embeddings is {shown(length)}; it must be tokens")
    return length or None

"""What lies in a model's folder or file: whether it is one, how it is used, how long its context is."""

import hashlib
import json
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import yaml

from etsearch.errors import ConfigError
from etsearch.types import Identity, PromptFormat


def check_path(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        raise ConfigError(f"{path} does not exist; give an OpenVINO IR folder or a .gguf file")
    if path.is_file() and path.suffix != ".gguf":
        raise ConfigError(f"{path} is no .gguf file; give an OpenVINO IR folder or a .gguf file")
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
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


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
    path = path.expanduser()
    try:
        entry = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the prompt format {path} cannot be read: {error}") from error
    if isinstance(entry, dict) and isinstance(entry.get("format"), dict):
        entry = entry["format"]
    return _format(entry, f"the prompt format {path}")


def _format(entry: Any, what: str) -> PromptFormat:
    try:
        return PromptFormat(**entry)
    except TypeError as error:
        raise ConfigError(f"{what} takes template, step_delimiter, chat: {error}") from error


def context_length(path: Path) -> int | None:
    """Tokens that the model was made for; None where its files do not tell."""
    if path.is_file():
        return _gguf_context_length(path)
    config = path / "config.json"
    if not config.is_file():
        return None
    try:
        length = json.loads(config.read_text(encoding="utf-8")).get("max_position_embeddings")
        return int(length) if length else None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{config} cannot be read: {error}") from error


_GGUF_INTEGERS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 7: "?", 10: "Q", 11: "q"}
_GGUF_CODES: Final = {**_GGUF_INTEGERS, 6: "f", 12: "d"}
_GGUF_STRING: Final = 8
_GGUF_ARRAY: Final = 9


def _gguf_context_length(path: Path) -> int | None:
    """``*.context_length`` in the header; None where there is none."""
    with path.open("rb") as file:
        magic, _, _, count = struct.unpack("<4sIQQ", file.read(24))
        for _ in range(count if magic == b"GGUF" else 0):
            (size,) = struct.unpack("<Q", file.read(8))
            name = file.read(size).decode("utf-8", "replace")
            (kind,) = struct.unpack("<I", file.read(4))
            if name.endswith(".context_length") and kind in _GGUF_INTEGERS:
                code = "<" + _GGUF_INTEGERS[kind]
                return int(struct.unpack(code, file.read(struct.calcsize(code)))[0])
            _skip_gguf(file, kind)
    return None


def _skip_gguf(file: BinaryIO, kind: int) -> None:
    """Moves past a value of the header."""
    if kind == _GGUF_STRING:
        file.seek(struct.unpack("<Q", file.read(8))[0], 1)
    elif kind == _GGUF_ARRAY:
        element, count = struct.unpack("<IQ", file.read(12))
        if element in (_GGUF_STRING, _GGUF_ARRAY):
            for _ in range(count):
                _skip_gguf(file, element)
        else:
            file.seek(count * struct.calcsize("<" + _GGUF_CODES[element]), 1)
    else:
        file.seek(struct.calcsize("<" + _GGUF_CODES[kind]), 1)

"""Shapes of models: from a folder with a ``config.json``, or by the name on the hub of those that recipes serve."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from etsearch.boundary.files import to_path
from etsearch.boundary.numbers import shown
from etsearch.boundary.plain import load_mapping
from etsearch.errors import ConfigError
from etsearch.models.files import read_object
from etsearch.planning.layouts import read_layout
from etsearch.planning.shapes import Experts, Latent, ModelShape, Precision, Share

__all__ = ["Experts", "Latent", "ModelShape", "Precision", "Share", "find_shape", "read_shape", "shapes"]

_SHIPPED: Final = Path(__file__).with_name("shapes.yaml")


def shapes() -> Mapping[str, ModelShape]:
    """The shapes that ship, by the name of the model on the hub, or of the folder that a recipe serves."""
    return _shipped()


def read_shape(path: str | Path) -> ModelShape:
    """The shape of the model in a folder with a ``config.json``, or of such a file.

    Raises:
        ConfigError: no such file, an architecture that is not known, a field that is missing or out of range.
    """
    path = to_path(path, "the model")
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"{file} does not exist; give the folder of a Hugging Face model, with its config.json")
    name = file.parent.name if file.name == "config.json" else file.stem
    return read_layout(read_object(file), name or str(file), str(file))


def find_shape(name: str | Path) -> ModelShape:
    """The shape of the model in a folder or a file that is there, else of one that ships, by its name in any case.

    Raises:
        ConfigError: there is none; or as ``read_shape``.
    """
    path = to_path(name, "the model")
    if isinstance(name, Path) or path.exists():
        return read_shape(path)
    by_name = {known.lower(): shape for known, shape in _shipped().items()}
    found = by_name.get(name.strip().lower())
    if found is None:
        raise ConfigError(
            f"the shape of the model {shown(name)} is not known here; give the folder of the model, with its "
            f"config.json. Known without it are {', '.join(_shipped())}"
        )
    return found


@lru_cache(maxsize=1)
def _shipped() -> Mapping[str, ModelShape]:
    found = {}
    for name, entry in load_mapping(_SHIPPED, "the list of shapes", "MODEL: {config: ...}").items():
        shape = read_layout(entry["config"], name, f"the shape of {name}")
        found[name] = replace(shape, source=entry["source"], is_verified=entry["verified"])
    return MappingProxyType(found)

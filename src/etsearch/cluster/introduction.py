"""What a worker says of itself: where it is, and with what it would run a search."""

import hashlib
import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import etsearch
from etsearch.evaluation.run.environment import environment
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.sources import sources_of
from etsearch.types import Identity


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker is, and by which etsearch; plain values, for one of another version must be read too."""

    node: str
    host: str
    pid: int
    etsearch: str
    code: str

    @classmethod
    def of(cls, node: str) -> "Place":
        """This process, on the node of that id."""
        return cls(node, socket.gethostname(), os.getpid(), etsearch.__version__, code_sha256())


@dataclass(frozen=True, slots=True)
class Introduction:
    """With what a worker would run a search: all that must be the same on every worker."""

    identities: Mapping[str, Identity]
    files: Mapping[str, str]
    python: str
    packages: Mapping[str, str | None]

    @classmethod
    def of(cls, recipe: Recipe, identities: Mapping[str, Identity]) -> "Introduction":
        """That of this process."""
        files = {name: source.sha256 for name, source in sources_of(recipe).items()}
        return cls(dict(identities), files, platform.python_version(), environment()["packages"])

    def differences(self, other: "Introduction") -> list[str]:
        """In what another worker differs, in a sentence each."""
        pairs: list[tuple[str, Any, Any]] = [("python", self.python, other.python)]
        for what, mine, theirs in (
            ("identity of the", self.identities, other.identities),
            ("sha256 of", self.files, other.files),
            ("version of", self.packages, other.packages),
        ):
            pairs += [(f"{what} {name}", mine.get(name), theirs.get(name)) for name in {**mine, **theirs}]
        return [
            f"{what} is {theirs!r} where the others have {mine!r}" for what, mine, theirs in pairs if mine != theirs
        ]


@cache
def code_sha256() -> str:
    """Of the package's own sources: two checkouts of one version may differ."""
    root, digest = Path(etsearch.__file__).parent, hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()

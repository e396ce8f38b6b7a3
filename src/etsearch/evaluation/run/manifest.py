"""``run.json``: what a run was asked for and resolved to, with which models, from which files, on which machine."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from etsearch.boundary.plain import read_json
from etsearch.errors import ConfigError, RecordError
from etsearch.evaluation.run.environment import environment
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.sources import origins_of, sources_of
from etsearch.registry import Source, changes, reason_of
from etsearch.types import Identity

FORMAT: Final = "etsearch run"
VERSION: Final = 2
"""Of the folder. 1 held the figures of a depth as a list, and no sources; it is read, and gone on with as 2."""
READABLE: Final = (1, VERSION)

_FREE: Final = (
    "name",
    "strategies",
    "widths",
    "seeds",
    "concurrency",
    "levels",
    "shuffle",
    "limit",
    "timed",
    "assumed",
    "serve",
    "out",
)
"""What may differ when a run is gone on with: it says how much is run, not what a search is."""


class DamagedManifestError(RecordError):
    """A ``run.json`` that is not as it was written."""


class Git(BaseModel):
    """The repository of the package's sources."""

    commit: str
    dirty: bool


class Session(BaseModel):
    """One time that a run was begun or gone on with: what the user gave, with which packages, on which machine."""

    model_config = ConfigDict(extra="allow", frozen=True)

    started_at: str
    etsearch: str
    git: Git | None = None
    platform: str | None = None
    cpu: str | None = None
    cores: int | None = None
    memory_gib: float | None = None


class Manifest(BaseModel):
    """What a run is.

    Attributes:
        format, version: of the folder.
        resolved: the recipe with all defaults, as plain values.
        identities: the data set and the models, by what they are.
        cells: the specification of each arm, by ``LABEL @ WIDTH``; those asked for before among them.
        switches: the settings of each arm's searches that are not the recipe's, likewise.
        sources: the files of the parts that are named by their place, by that name.
        sessions: what the user gave, the packages of the parts, and the machine, each time that the run was begun or
            gone on with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["etsearch run"] = FORMAT
    version: int = VERSION
    resolved: dict[str, Any]
    identities: dict[str, Identity]
    cells: dict[str, str]
    switches: dict[str, dict[str, Any]] = {}
    sources: dict[str, Source] = {}
    sessions: tuple[Session, ...]

    @classmethod
    def of(cls, recipe: Recipe, asked: Mapping[str, Any], identities: Mapping[str, Identity]) -> Self:
        """The manifest of a run that begins now."""
        arms = {f"{arm.label} @ {arm.width}": arm for arm in recipe.arms()}
        return cls(
            resolved=recipe.plain(),
            identities=dict(identities),
            cells={key: arm.specification for key, arm in arms.items()},
            switches={key: dict(arm.search) for key, arm in arms.items()},
            sources=sources_of(recipe),
            sessions=(Session.model_validate({"asked": dict(asked), "parts": origins_of(recipe), **environment()}),),
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """The manifest of a run's folder.

        Raises:
            DamagedManifestError: it cannot be read.
            RecordError: there is none, or it is one of another version.
        """
        file = path / "run.json"
        try:
            values = read_json(file.read_bytes())
        except FileNotFoundError:
            raise RecordError(
                f"{path} is no run: it holds no run.json; make one with 'ets eval … --out {path}'"
            ) from None
        except ValueError as error:
            raise DamagedManifestError(f"{file} is damaged: {error}") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise DamagedManifestError(f"{file} is not that of a run of etsearch, or damaged: it tells no format")
        if values.get("version") not in READABLE:
            raise RecordError(
                f"{path} is a run of version {values.get('version')}; this etsearch reads versions "
                f"{' and '.join(map(str, READABLE))}. Use the etsearch that made it, or give another folder; "
                "nothing was touched"
            )
        try:
            manifest = cls.model_validate(values)
            manifest.check()
        except ValidationError as error:
            raise DamagedManifestError(f"{file} is damaged: {reason_of(error, list(cls.model_fields))}") from error
        except (ConfigError, ValueError) as error:
            raise DamagedManifestError(f"{file} is damaged: {error}") from error
        return manifest

    def check(self) -> None:
        """Raises ValueError if the recipe or a cell is none, or an arm or a session is missing."""
        told = set(self.specifications)
        if missing := [(arm.label, arm.width) for arm in self.recipe.arms() if (arm.label, arm.width) not in told]:
            raise ValueError(f"it does not tell what {missing[0][0]!r} is at width {missing[0][1]}")
        if not self.sessions:
            raise ValueError("it tells of no session")

    def text(self) -> str:
        """As it is written."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"

    @property
    def recipe(self) -> Recipe:
        """What the run was last asked for."""
        return Recipe.of_record(self.resolved)

    @property
    def specifications(self) -> dict[tuple[str, int], str]:
        """What each strategy was at each width, those asked for before among them."""
        cells = ((*key.rpartition(" @ "), text) for key, text in self.cells.items())
        return {(label, int(width)): text for label, _, width, text in cells}

    def continue_as(self, now: "Manifest") -> "Manifest":
        """The manifest of this run as it is gone on with."""
        merged = {name: {**getattr(self, name), **getattr(now, name)} for name in ("cells", "switches", "sources")}
        return now.model_copy(update={**merged, "sessions": (*self.sessions, *now.sessions)})

    def upgrade(self) -> "Manifest":
        """The manifest once lines of this version stand in the folder."""
        return self.model_copy(update={"version": VERSION})

    def differences(self, other: "Manifest", ignore: Collection[str] = ()) -> list[str]:
        """In what two runs differ that makes a search what it is: models, data, settings, files, what a label means."""
        old, new = self.essentials(ignore), other.essentials(ignore)
        pairs = [(key, old.get(key), new.get(key)) for key in {**old, **new}]
        for name in ("cells", "switches"):
            mine, theirs = getattr(self, name), getattr(other, name)
            pairs += [(key, what, theirs[key]) for key, what in mine.items() if key in theirs]
        told = [f"{key} was {was!r} and is {now_is!r}" for key, was, now_is in pairs if was != now_is]
        return told + changes(self.sources, other.sources)

    def essentials(self, ignore: Collection[str]) -> dict[str, Any]:
        """What must stay as it is; a setting that older runs do not tell of has its default there."""
        resolved = {k: v for k, v in self.recipe.plain().items() if k not in _FREE and k not in ignore}
        return {**resolved, **{f"identity of the {k}": v for k, v in self.identities.items()}}

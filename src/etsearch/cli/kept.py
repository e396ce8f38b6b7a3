"""A search of ``ets solve`` that its server left, in a file from which it goes on."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from etsearch.boundary.files import write_whole
from etsearch.boundary.plain import read_json
from etsearch.errors import ConfigError, RecordError
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.registry import Source, changes


@dataclass(frozen=True)
class KeptSearch:
    """Where a search is kept, and what it must be.

    Attributes:
        path: the file.
        strategy: the strategy's specification.
        settings: of the search.
        sources: the files of the parts that are named by their place.
    """

    path: Path
    strategy: str
    settings: SearchSettings
    sources: Mapping[str, Source]

    @property
    def _asked(self) -> dict[str, Any]:
        return {"strategy": self.strategy, "width": self.settings.width, "seed": self.settings.seed}

    def write(self, state: SearchState | None) -> str:
        """Writes a search that ended too early, and says where it is; an empty text if there is nothing to keep."""
        if state is None or not state.depths:
            return ""
        sources = {name: asdict(source) for name, source in self.sources.items()}
        values = {**self._asked, "sources": sources, "state": state.to_dict()}
        write_whole(self.path, json.dumps(values).encode())
        told = f"The search up to depth {len(state.depths)} is in {self.path}"
        return f"{told}: the same command with --resume goes on"

    def read(self) -> SearchState:
        """The search that was kept. Raises ConfigError if there is none, or if it is not the one that is asked for."""
        try:
            values = read_json(self.path.read_bytes())
            found = {key: values[key] for key in self._asked}
            sources = {name: Source(**source) for name, source in values.get("sources", {}).items()}
            state = SearchState.from_dict(values["state"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecordError) as error:
            raise ConfigError(
                f"there is no search to go on with in {self.path}: {error}; give its file with --state"
            ) from error
        if found != self._asked:
            raise ConfigError(
                f"the search in {self.path} is another one: {found}, not {self._asked}; give what it was begun with"
            )
        if changed := changes(sources, self.sources):
            raise ConfigError(f"the search in {self.path} cannot go on: {'; '.join(changed)}")
        return state

"""What a run keeps of a search beside its line, as bytes: the tree of one that is over, the state of one under way."""

import gzip
import json
import zlib
from dataclasses import dataclass

from etsearch.boundary.plain import read_json
from etsearch.errors import RecordError
from etsearch.evaluation.run.record import Key
from etsearch.loop.state import SearchState


@dataclass(frozen=True)
class StoredTree:
    """The tree of a search that is over, and what it takes to conclude it again."""

    key: Key
    specification: str
    stop_reason: str
    state: SearchState

    def pack(self) -> bytes:
        """The content of its file."""
        values = {"key": self.key, "specification": self.specification, "stop_reason": self.stop_reason}
        return gzip.compress(json.dumps({**values, "state": self.state.to_dict()}).encode(), mtime=0)

    @classmethod
    def unpack(cls, content: bytes) -> "StoredTree":
        """The tree that ``pack`` gave. Raises RecordError if the content is none."""
        try:
            values = read_json(gzip.decompress(content))
            state = SearchState.from_dict(values["state"])
            return cls(Key(*values["key"]), values["specification"], values["stop_reason"], state)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zlib.error) as error:
            raise RecordError(f"this is no tree of a search: {error}") from error


@dataclass(frozen=True)
class OpenSearch:
    """A search that is under way, after its last completed depth. ``resumed``: how often it was gone on with."""

    key: Key
    state: SearchState
    resumed: int

    def pack(self) -> bytes:
        """The content of its file."""
        return json.dumps({"key": self.key, "resumed": self.resumed, "state": self.state.to_dict()}).encode()

    @classmethod
    def unpack(cls, content: bytes) -> "OpenSearch":
        """The search that ``pack`` gave. Raises RecordError if the content is none."""
        try:
            values = read_json(content)
            return cls(Key(*values["key"]), SearchState.from_dict(values["state"]), int(values["resumed"]))
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"this is no state of a search: {error}") from error

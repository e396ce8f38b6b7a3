"""Keys: who may ask, and how much. The file holds hashes; a key itself is shown once, when it is made."""

import hashlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from etsearch.boundary.files import to_path, write_whole
from etsearch.boundary.numbers import MOST_WEIGHT
from etsearch.boundary.plain import read_yaml
from etsearch.errors import ConfigError
from etsearch.registry import reason_of
from etsearch.serving.trouble import ApiError
from etsearch.sharing.queue import LEAST_WEIGHT

PREFIX: Final = "ets-"
"""How a key begins."""
_MINUTE_S: Final = 60.0


class KeyEntry(BaseModel):
    """A key as the file has it.

    Attributes:
        name: whose it is; shown in logs and metrics.
        sha256: of the key. It has 256 random bits, so that a plain hash cannot be turned back.
        weight: its share of the KV cache, against other keys.
        most_open: its searches under way or waiting.
        requests_per_minute: that it may make.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w.@-]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = ""
    weight: Annotated[float, Field(ge=LEAST_WEIGHT, le=MOST_WEIGHT)] = 1.0
    most_open: Annotated[int, Field(ge=1, le=10**6)] | None = None
    requests_per_minute: Annotated[int, Field(ge=1, le=10**6)] | None = None


_FILE: Final = TypeAdapter(list[KeyEntry])


@dataclass(eq=False)
class Key:
    """Somebody who asks. ``num_open`` are the searches under way or waiting."""

    entry: KeyEntry
    clock: Callable[[], float] = time.monotonic
    num_open: int = 0
    _asked: deque[float] = field(default_factory=deque)

    @property
    def name(self) -> str:
        return self.entry.name

    def count_request(self) -> None:
        """A request was made. Raises ApiError if it is one too many in a minute."""
        most, now = self.entry.requests_per_minute, self.clock()
        if most is None:
            return
        while self._asked and now - self._asked[0] >= _MINUTE_S:
            self._asked.popleft()
        if len(self._asked) >= most:
            wait = _MINUTE_S - (now - self._asked[0])
            raise ApiError(
                429,
                f"this key may make {most} requests a minute",
                kind="rate_limit_error",
                code="rate_limit_exceeded",
                retry_after_s=wait,
            )
        self._asked.append(now)

    def check_room(self, retry_after_s: float) -> None:
        """Raises ApiError if it has as many searches open as it may."""
        most = self.entry.most_open
        if most is not None and self.num_open >= most:
            raise ApiError(
                429,
                f"this key may have {most} searches under way or waiting",
                kind="rate_limit_error",
                code="too_many_searches",
                retry_after_s=retry_after_s,
            )


class Keys:
    """All who may ask.

    Args:
        entries: of the file; without any, everybody may, under one name.
    """

    def __init__(self, entries: list[KeyEntry] | None = None) -> None:
        self._by_hash = {entry.sha256: Key(entry) for entry in entries or []}
        self._anybody = None if entries is not None else Key(KeyEntry(name="anybody"))

    @classmethod
    def load(cls, path: str) -> "Keys":
        """Those of a file; everybody where none is named. Raises ConfigError if it cannot be read."""
        return cls(read_keys(to_path(path, "the file of keys"))) if path else cls()

    def of(self, headers: Mapping[str, str]) -> Key:
        """Who asks. Raises ApiError unless the request bears a key that is known."""
        if self._anybody is not None:
            return self._anybody
        kind, _, token = headers.get("authorization", "").partition(" ")
        key = self._by_hash.get(hash_of(token.strip())) if kind.lower() == "bearer" else None
        if key is None:
            message = "a key is needed: 'Authorization: Bearer KEY'" if not token else "this key is not known"
            raise ApiError(401, message, kind="authentication_error", code="invalid_api_key")
        return key

    def named(self, name: str) -> Key:
        """The key of a job that is gone on with; one of that name without limits if it is there no more."""
        known = {key.name: key for key in self._by_hash.values()}
        return known.get(name) or self._anybody or Key(KeyEntry(name=name))


def hash_of(token: str) -> str:
    """What the file has in place of a key."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(path: Path) -> list[KeyEntry]:
    """The keys of a file. Raises ConfigError if it cannot be read, or two are the same."""
    try:
        entries = _FILE.validate_python(read_yaml(path.read_text(encoding="utf-8")) or [])
    except ValidationError as error:
        raise ConfigError(f"the file of keys {path}: {reason_of(error, known=list(KeyEntry.model_fields))}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"the file of keys {path} cannot be read: {error}") from error
    for what in ("name", "sha256"):
        values = [getattr(entry, what) for entry in entries]
        if twice := [value for value in values if not value or values.count(value) > 1]:
            raise ConfigError(f"the file of keys {path}: the {what} {twice[0]!r} is missing or stands there twice")
    return entries


def add_key(path: Path, values: Mapping[str, Any]) -> str:
    """Makes a key and adds it to a file, which need not be there yet. Returns the key, which is kept nowhere.

    Raises:
        ConfigError: a value out of its range, or a name that is there already.
    """
    token = PREFIX + secrets.token_urlsafe(32)
    with FileLock(f"{path}.lock"):
        entries = read_keys(path) if path.exists() else []
        try:
            entry = KeyEntry(**{**values, "sha256": hash_of(token)})
        except ValidationError as error:
            raise ConfigError(f"the key: {reason_of(error, known=list(KeyEntry.model_fields))}") from None
        if entry.name in [other.name for other in entries]:
            raise ConfigError(f"there is a key named {entry.name!r} already; take it out of {path} first")
        plain = [e.model_dump(exclude_none=True) for e in [*entries, entry]]
        write_whole(path, yaml.safe_dump(plain, sort_keys=False).encode())
        path.chmod(0o600)
    return token

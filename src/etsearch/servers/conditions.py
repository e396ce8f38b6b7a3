"""How servers are waited for, and how much is asked of them at once."""

import os
from dataclasses import dataclass
from typing import Final

from etsearch.errors import ConfigError

KEY_VARIABLE: Final = "ETSEARCH_API_KEY"
"""Environment variable that holds the API key, unless a setting names another."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How long a server is waited for, and how much is asked of it at once.

    Attributes:
        connect_timeout_s: for a connection to come about.
        read_timeout_s: for the answer to a request, the time it waits in the server's queue included.
        patience_s: for a server that is away or busy to take requests again, before the search stops.
        max_in_flight: requests to one server at once; more wait here.
        api_key_variable: the environment variable that holds the API key.
    """

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 600.0
    patience_s: float = 120.0
    max_in_flight: int = 128
    api_key_variable: str = KEY_VARIABLE

    def __post_init__(self) -> None:
        for name in ("connect_timeout_s", "read_timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not self.patience_s >= 0:
            raise ConfigError(f"patience_s is {self.patience_s}; it must be at least 0")
        if self.max_in_flight < 1:
            raise ConfigError(f"max_in_flight is {self.max_in_flight}; it must be at least 1")

    @property
    def headers(self) -> dict[str, str]:
        key = os.environ.get(self.api_key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(
                f"the key in the environment variable {self.api_key_variable} holds letters that no key has"
            )
        return {"Authorization": f"Bearer {key}"} if key else {}

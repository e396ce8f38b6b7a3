"""How servers are waited for, and how much is asked of them at once."""

import os
from dataclasses import dataclass
from typing import Final

from etsearch.boundary.numbers import LONGEST_S, MOST_WIDTH, check_number, check_whole
from etsearch.boundary.texts import keep_secret
from etsearch.errors import ConfigError

KEY_VARIABLE: Final = "ETSEARCH_API_KEY"
"""Environment variable that holds the API key, unless a setting names another."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How long a server is waited for, at most a year each, and how much is asked of it at once.

    Attributes:
        connect_timeout_s: for a connection to come about, above 0.
        read_timeout_s: for the whole answer to a request, to its last byte, the time it waits in the server's queue
            included; above 0.
        patience_s: for a server that is away or busy to take requests again, before the search stops; at least 0.
        max_in_flight: requests to one server at once; more wait here, 1 to 65,536.
        max_answer_mb: the largest answer that is read, in 10^6 bytes, 1 to 10,000.
        api_key_variable: the environment variable that holds the API key.
    """

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 600.0
    patience_s: float = 120.0
    max_in_flight: int = 128
    max_answer_mb: int = 100
    api_key_variable: str = KEY_VARIABLE

    def __post_init__(self) -> None:
        for name in ("connect_timeout_s", "read_timeout_s"):
            check_number(name, getattr(self, name), 0, LONGEST_S, above=True)
        check_number("patience_s", self.patience_s, 0, LONGEST_S)
        check_whole("max_in_flight", self.max_in_flight, 1, MOST_WIDTH)
        check_whole("max_answer_mb", self.max_answer_mb, 1, 10_000)

    @property
    def headers(self) -> dict[str, str]:
        key = os.environ.get(self.api_key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(
                f"the key in the environment variable {self.api_key_variable} holds letters that no key has"
            )
        keep_secret(key)
        return {"Authorization": f"Bearer {key}"} if key else {}

"""Every error that etsearch raises on purpose.

    EtsearchError
    ├── ConfigError (also a ValueError)      a value, a name or a text that cannot be used
    │   └── QuestionError                    … a question that the models cannot read
    ├── MissingDependencyError               an extra that is not installed
    ├── EngineError                          the generator failed
    │   ├── EngineTimeoutError               … did not answer in time
    │   ├── EngineOverloadedError            … has no room now
    │   ├── ContextLengthError               … cannot hold a prefix this long
    │   └── BadResponseError                 … answered something that breaks its contract
    ├── RewardError                          the process reward model failed or broke its contract
    ├── EmbedderError                        the embedder failed or broke its contract
    ├── UnavailableError                     a server stayed away; the search stopped, and can go on from its state
    ├── ClusterError                         a cluster cannot be reached, or has no worker that can be used
    ├── SolverError                          the selection programme was left without any solution
    └── RecordError                          a record cannot be read or written

A message gives the value, the allowed range and what to do.
"""

from typing import Any


class EtsearchError(Exception):
    """The root of all errors of this package. ``retryable`` says whether the same may succeed later."""

    retryable = False


class ConfigError(EtsearchError, ValueError):
    """A value, a name or a text that cannot be used."""


class QuestionError(ConfigError):
    """A question that the models cannot read.

    Args:
        message: for who runs the search.
        told: for whoever asked, where that is somebody else: no path, no address, nothing but the question. By default
            the message.
    """

    def __init__(self, message: str, told: str | None = None) -> None:
        super().__init__(message)
        self.told = told or message


class MissingDependencyError(EtsearchError):
    """A backend that needs an extra which is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}: pip install 'etsearch[{extra}]'")
        self.extra = extra


class EngineError(EtsearchError):
    """The generator failed."""


class EngineTimeoutError(EngineError):
    """The generator did not answer in time."""

    retryable = True


class EngineOverloadedError(EngineError):
    """The generator has no room now."""

    retryable = True


class ContextLengthError(EngineError):
    """The generator cannot hold a prefix this long."""


class BadResponseError(EngineError):
    """The generator answered something that breaks its contract."""


class RewardError(EtsearchError):
    """The process reward model failed or broke its contract. ``retryable``: whether the same may succeed later."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class EmbedderError(EtsearchError):
    """The embedder failed or broke its contract. ``retryable``: whether the same may succeed later."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class UnavailableError(EtsearchError):
    """A server that a search needs stayed away for longer than it is waited for.

    No branch is lost to it: the search stops, and ``state`` is its ``SearchState`` after the last depth that is over,
    with which ``run_search(resume=…)`` goes on. None where no search was under way.
    """

    state: Any = None


class ClusterError(EtsearchError):
    """A cluster cannot be reached, or has no worker that can be used."""


class SolverError(EtsearchError):
    """The selection programme was left without any solution."""


class RecordError(EtsearchError):
    """A record cannot be read or written."""

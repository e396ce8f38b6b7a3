"""What a client is told when something is wrong. Texts of exceptions, paths and keys never reach it."""

from typing import Any, Final

from etsearch.errors import EtsearchError, QuestionError, UnavailableError

INVALID: Final = "invalid_request_error"


class ApiError(Exception):
    """A refusal or a failure, in OpenAI's shape.

    Args:
        status: of HTTP.
        message: for the client; it holds nothing that it did not send, or that is not public.
        kind: the error's type.
        param: the field that is wrong.
        code: for programs.
        retry_after_s: when to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.param, self.code = status, message, kind, param, code
        self.retry_after_s = retry_after_s

    @property
    def body(self) -> dict[str, Any]:
        """As JSON."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {} if self.retry_after_s is None else {"Retry-After": str(max(1, round(self.retry_after_s)))}


def refuse(param: str, message: str, code: str = "unsupported_value") -> ApiError:
    """A request that asks for what cannot be had."""
    return ApiError(400, message, param=param, code=code)


def shutting_down() -> ApiError:
    """The gateway ends."""
    message = "the gateway is shutting down; try again later"
    return ApiError(503, message, kind="server_error", code="shutting_down", retry_after_s=10)


def not_found(what: str) -> ApiError:
    """Something is not there, or is not the client's."""
    return ApiError(404, f"there is no {what} here", code="not_found")


def failure_of(error: Exception, search_id: str) -> ApiError:
    """What the client is told of a search that failed; the log has the rest under the search's id."""
    if isinstance(error, QuestionError):
        return ApiError(400, error.told, param="messages", code="unreadable_question")
    if isinstance(error, UnavailableError):
        message = f"the engine is away; the search {search_id} was given up"
        return ApiError(503, message, kind="server_error", code="engine_unavailable", retry_after_s=10)
    kind = "engine_failed" if isinstance(error, EtsearchError) else "internal_error"
    return ApiError(
        502 if isinstance(error, EtsearchError) else 500,
        f"the search {search_id} failed; the gateway's log says why",
        kind="server_error",
        code=kind,
    )

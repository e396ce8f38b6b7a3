"""The log: a JSON object a line. Questions and answers are in it only where that is asked for."""

import json
import logging
import sys
import time
from typing import Any, Final, TextIO

from etsearch.boundary.texts import clean_message, hide_secrets
from etsearch.serving.running import Running

_PLAIN: Final = ("event", "fields")


class JsonLines(logging.Formatter):
    """A record as a JSON object on one line: time, level, event and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        values: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "event": getattr(record, "event", None) or record.name,
            **getattr(record, "fields", {}),
        }
        if not hasattr(record, "event"):
            values["message"] = clean_message(record.getMessage())
        if record.exc_info:
            values["exception"] = hide_secrets(self.formatException(record.exc_info))
        return json.dumps(values, ensure_ascii=True, default=str)


class Log:
    """What the gateway tells its keeper.

    Args:
        with_questions: whether questions and answers are told.
        stream: where it is written; standard error by default.
    """

    def __init__(self, *, with_questions: bool = False, stream: TextIO | None = None) -> None:
        self._with_questions = with_questions
        self._logger = logging.getLogger("etsearch.serving")
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._handler = logging.StreamHandler(stream or sys.stderr)
        self._handler.setFormatter(JsonLines())
        self._logger.handlers = [self._handler]

    def tell(self, event: str, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
        """Something happened."""
        self._logger.log(level, event, exc_info=error, extra={"event": event, "fields": fields})

    def end(self, running: Running, error: BaseException | None = None) -> None:
        """A search is over."""
        result = running.result
        fields: dict[str, Any] = {
            "search": running.id,
            "key": running.key.name,
            "model": running.asked.model,
            "status": str(running.status),
            "seconds": round((running.finished_at or time.time()) - running.created_at, 3),
        }
        if result is not None:
            fields |= {
                "stop_reason": str(result.stop_reason),
                "width": result.width,
                "depth": len(result.depths),
                "generated_tokens": result.usage.generated_tokens,
                "kv_tokens": result.usage.kv_tokens,
                "price": running.price,
            }
        if self._with_questions:
            fields |= {"question": running.asked.problem.question, "answer": running.answer}
        self.tell("search", logging.ERROR if error else logging.INFO, error, **fields)

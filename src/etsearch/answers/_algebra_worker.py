"""The program of the child process that does algebra: a request and a reply, one line of JSON each.

It is run by its path and imports nothing of the package.
"""

import contextlib
import importlib
import json
import logging
import math
import signal
import sys
import zlib
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

MAX_MEMORY_BYTES: Final = 2 << 30
"""Address space of this process, where the platform can limit it."""


def _serve() -> None:
    """Answers requests until the standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    logging.disable(logging.CRITICAL)
    import math_verify  # noqa: F401, PLC0415  takes a second

    for line in sys.stdin:
        request = json.loads(line)
        _limit_cpu(request.get("cpu_limit_s", 0))
        reply = _reply(request)
        _limit_cpu(0)
        print(json.dumps(reply), flush=True)


def _limit_cpu(seconds: float) -> None:
    """The system ends the process after this much computing time; 0 takes the limit away."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415  not on every platform

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = MAX_MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MAX_MEMORY_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _reply(request: dict[str, Any]) -> dict[str, Any]:
    try:
        if "read" in request:
            expression = _parse(request["read"])
            return {"readable": expression is not None, "value": _value(expression)}
        if "same" in request:
            return {"same": _verify(*map(_parse, request["same"]))}
    except (Exception, MemoryError):  # noqa: BLE001  whatever SymPy raises, it cannot read this
        return {"readable": False, "same": False}
    return {}


@lru_cache(maxsize=1 << 12)
def _parse(tidy: str) -> Any:
    """A SymPy object, or None. LaTeX only: the parser of plain expressions ends in ``eval``."""
    from math_verify import LatexExtractionConfig, parse  # noqa: PLC0415

    default = LatexExtractionConfig().normalization_config
    latex = LatexExtractionConfig(
        normalization_config=replace(default, units=False)
    )  # it takes the c of "x + c" for one
    found = parse(f"${tidy}$", [latex], fallback_mode="no_fallback", parsing_timeout=None)
    return found[0] if found else None


def _value(expression: Any) -> tuple[float, float] | None:
    """A number that equal expressions share: their value where every variable has a positive number of its own.

    Of a set it is the sum over the elements, of a matrix a weighted sum over the entries. None where there is none.
    """
    sympy = importlib.import_module("sympy")
    if isinstance(expression, sympy.MatrixBase):
        parts = [weight * entry for weight, entry in enumerate(expression.flat(), start=1)]
    elif isinstance(expression, sympy.FiniteSet):
        parts = list(expression.args)
    else:
        parts = [expression]
    if not all(isinstance(part, sympy.Expr) for part in parts):
        return None
    point = {symbol: sympy.Float(0.3 + zlib.crc32(symbol.name.encode()) / 2**32) for symbol in expression.free_symbols}
    try:
        value = sum((complex(part.evalf(20, subs=point)) for part in parts), start=0j)
    except (TypeError, ValueError, OverflowError):
        return None
    return (value.real, value.imag) if math.isfinite(value.real) and math.isfinite(value.imag) else None


def _verify(first: Any, second: Any) -> bool:
    """In both orders, because math-verify is not symmetric."""
    from math_verify import verify  # noqa: PLC0415

    if first is None or second is None or _kind(first) != _kind(second):
        return False
    return bool(verify(first, second, timeout_seconds=None) or verify(second, first, timeout_seconds=None))


def _kind(expression: Any) -> str:
    """What is never equal to something of another kind; math-verify would take long to say so."""
    sympy = importlib.import_module("sympy")
    if isinstance(expression, sympy.MatrixBase):
        return "matrix"
    if isinstance(expression, sympy.Expr | sympy.FiniteSet):
        return "points"
    return "range" if isinstance(expression, sympy.Interval | sympy.Union) or expression.is_Relational else "other"


if __name__ == "__main__":
    _serve()

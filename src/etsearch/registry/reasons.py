"""What pydantic finds wrong with a value, in the words of this package."""

from collections.abc import Sequence

from pydantic import ValidationError


def reason_of(error: ValidationError, known: Sequence[str] = ()) -> str:
    """The first thing that is wrong: where, what stands there, and why it cannot be used; ``known`` are the keys."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"there is no key {place!r}; the keys are {', '.join(known)}"
    if first["type"] == "missing":
        return f"the key {place!r} is missing"
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    return f"{place} is {first['input']!r}: {first['msg']}"

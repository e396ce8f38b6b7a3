"""What pydantic finds wrong with a value, in the words of this package."""

import re
from collections.abc import Sequence

from pydantic import ValidationError

from etsearch.boundary.numbers import shown


def reason_of(error: ValidationError, known: Sequence[str] = ()) -> str:
    """The first thing that is wrong: where, what stands there, and why it cannot be used; ``known`` are the keys."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"there is no key {place!r}; the keys are {', '.join(known)}"
    if first["type"] == "missing":
        return f"the key {place!r} is missing"
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    expected = re.sub(r" or (an )?instance of \w+", "", first["msg"])
    return f"{place or 'it'} is {shown(first['input'])}: {expected}"

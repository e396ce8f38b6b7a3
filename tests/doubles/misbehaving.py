"""Answers that no server should give, made from those that it gives: one value odd at a time, or the whole."""

import copy
import gzip
import json
import random

from tests.doubles.http import Raw

DEEP = "[" * 10_000
ODD = (
    None, True, 0, -1, 1.5, 10**30, float("nan"), float("inf"), "", "text", "\ud800", "\x1b[31m", "9" * 50,
    [], {}, [None], [[]], {"a": None}, ["x"], [1, 2, 3],
)  # fmt: skip
"""Values that stand where others should."""


def raw_answers():
    """Answers that are odd as a whole, by name."""
    plain = {"null": b"null", "number": b"3", "text": b'"text"', "true": b"true", "list": b"[]", "object": b"{}"}
    broken = {
        "nothing": b"",
        "deep": DEEP.encode(),
        "deep-object": b'{"a":' * 10_000,
        "closed-deep": (DEEP + "]" * 10_000).encode(),
        "no-json": b"<html><body>\x1b[2J502</body></html>",
        "no-utf8": b'{"choices": "\xff\xfe"}',
        "half-a-character": b'"\\ud800"',
        "cut": b'{"choices": [{"index": 0, "te',
        "two": b"{}{}",
        "nul": b"\x00\x00",
        "bom": b"\xef\xbb\xbf{}",
        "long-integer": b"9" * 5000,
        "not-a-number": b"NaN",
    }
    answers = {name: Raw(content) for name, content in (plain | broken).items()}
    statuses = {f"status-{s}": Raw(b'{"error": "no"}', s) for s in (204, 301, 304, 400, 404, 413, 418, 422, 451, 501)}
    return answers | statuses | {
        "redirect": Raw(b"", 302, {"location": "http://127.0.0.1:9/\x9b31m"}),
        "shorter-than-told": Raw(b"{}", length=1000),
        "bad-gzip": Raw(b"no gzip", headers={"content-encoding": "gzip"}),
        "gzip-bomb": Raw(gzip.compress(b"0" * 3_000_000), headers={"content-encoding": "gzip"}),
        "error-with-odd-message": Raw(b'{"error": {"message": [null]}}', 400),
        "error-is-a-list": Raw(b'[["error"]]', 400),
        "error-is-deep": Raw(DEEP.encode(), 400),
    }  # fmt: skip


def odd_answers(answer, count, seed=0):
    """So many of an answer's copies in each of which one value is odd, or gone; by name."""
    places = list(_places(answer))
    cases = [(place, odd) for place in places for odd in (*ODD, _gone)]
    random.Random(seed).shuffle(cases)
    for place, odd in cases[:count]:
        label = "gone" if odd is _gone else repr(odd)[:16]
        yield f"{'.'.join(map(str, place)) or 'whole'}={label}", _with(answer, place, odd)


def as_raw(answer):
    """JSON as a careless server writes it: half a character as an escape, NaN as it is."""
    return Raw(json.dumps(answer).encode(), headers={"content-type": "application/json"})


def _gone():
    """Stands for no value at all."""


def _places(value, before=()):
    yield before
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in list(items)[:8]:
        yield from _places(entry, (*before, key))


def _with(answer, place, odd):
    if not place:
        return None if odd is _gone else odd
    answer = copy.deepcopy(answer)
    holder = answer
    for key in place[:-1]:
        holder = holder[key]
    if odd is _gone:
        del holder[place[-1]]
    else:
        holder[place[-1]] = odd
    return answer

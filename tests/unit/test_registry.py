from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

import etsearch
from etsearch.embedders import EMBEDDERS
from etsearch.errors import ConfigError, MissingDependencyError
from etsearch.evaluation.datasets import DATASETS
from etsearch.generators import GENERATORS
from etsearch.prms import REWARD_MODELS
from etsearch.registry import Registry, Specification, needs, parse
from etsearch.strategies import STRATEGIES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ets", Specification("ets")),
        ("best-of-n", Specification("best_of_n")),
        ("openvino:/a/b.gguf", Specification("openvino", "/a/b.gguf")),
        ("vllm:http://h:1/m", Specification("vllm", "http://h:1/m")),
        ("beam(keep=4)", Specification("beam", None, {"keep": "4"})),
        ("ets( lambda_b = 1 , lambda_d=2)", Specification("ets", None, {"lambda_b": "1", "lambda_d": "2"})),
        ("beam()", Specification("beam")),
        ("openvino(cache_gb=2):/a (b)/c", Specification("openvino", "/a (b)/c", {"cache_gb": "2"})),
        ("./halving.py:Halving(keep=2)", Specification("./halving.py:Halving", None, {"keep": "2"})),
        ("~/a b/mine.py:Outer.Inner:/model", Specification("~/a b/mine.py:Outer.Inner", "/model")),
        ("pack.strategies:Halving(keep=2)", Specification("pack.strategies:Halving", None, {"keep": "2"})),
        ("openvino:/models/x.py:y", Specification("openvino", "/models/x.py:y")),
        ("vllm(tokenizer=a.py):http://h:1", Specification("vllm", "http://h:1", {"tokenizer": "a.py"})),
    ],
)
def test_parse(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["", "a b", "beam(keep=4", "beam(keep)", "beam(k=1,k=2)", "openvino:", "(x=1)"])
def test_parse_refuses(text):
    with pytest.raises(ConfigError):
        parse(text)


def plain(size=1):
    return "plain", size


def file(path: str):
    return "file", path


@needs(extra="moon", module="no_such_module_at_all")
def far():
    return "far"


def registry() -> Registry[object]:
    parts: Registry[object] = Registry("part", "etsearch.no_such_group")
    for make in (plain, file, far):
        parts.register(make.__name__, make)
    return parts


def test_create():
    assert registry().create("plain(size=3)") == ("plain", "3")
    assert registry().create("plain(size=3)", {"size": 4}) == ("plain", 4)
    assert registry().create("file:/x") == ("file", "/x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gone", "no part called 'gone', and none at all"),
        ("plain(colour=red)", "'plain' has no setting 'colour'; its settings: size"),
        ("file", "write the part as 'file:PATH', not 'file'"),
        ("plain:/x", "write the part as 'plain', not 'plain:/x'"),
    ],
)
def test_create_refuses(text, message):
    with pytest.raises(ConfigError, match=message):
        registry().create(text)


def test_a_missing_extra_is_named():
    with pytest.raises(MissingDependencyError, match=r"'far' needs the extra 'moon': pip install 'etsearch\[moon\]'"):
        registry().create("far")
    assert not registry().entry("far").is_available


def test_a_name_is_taken_once():
    parts = registry()
    with pytest.raises(ConfigError, match="called 'plain' already"):
        parts.register("plain", object)


class Sized:
    """A part that is a class.

    Args:
        size: how large; at least 1.
        kind: which.
        read: called with texts.
    """

    def __init__(
        self,
        size: int = 1,
        kind: Literal["a", "b"] = "a",
        read: Callable[[str], str] = str,
        *,
        share: float | None = None,
    ) -> None:
        self.values = size, kind, read, share


@dataclass(frozen=True)
class Waiting:
    """How long.

    Attributes:
        seconds: at least 0.
    """

    seconds: float = 2.0
    times: int = 3


def patient(path: Path, waiting: Waiting = Waiting(times=5)):
    """Waits."""
    return path, waiting


@pytest.fixture
def parts():
    found = Registry("part", "etsearch.no_such_group")
    found.register("sized", Sized)
    found.register("patient", patient)
    return found


def test_settings_are_those_of_the_constructor(parts):
    settings = parts.entry("sized").settings
    assert {name: setting.default for name, setting in settings.items()} == {"size": 1, "kind": "a", "share": None}
    assert settings["size"].help == "how large; at least 1"
    assert parts.entry("sized").summary == "A part that is a class"
    assert parts.create("sized(size=3, kind=b, share=0.5)").values == (3, "b", str, 0.5)
    assert parts.create("sized(share=none)").values[3] is None
    for text, message in (
        ("sized(kind=c)", "the setting 'kind' of the part 'sized' is 'c': Input should be 'a' or 'b'"),
        ("sized(size=many)", "the setting 'size' of the part 'sized' is 'many'"),
        ("sized(read=str)", "has no setting 'read'; its settings: size, kind, share"),
    ):
        with pytest.raises(ConfigError, match=message):
            parts.create(text)


def test_a_dataclass_lends_its_fields(parts):
    entry = parts.entry("patient")
    assert (entry.argument, entry.usage) == ("PATH", "patient:PATH")
    assert {name: setting.default for name, setting in entry.settings.items()} == {"seconds": 2.0, "times": 5}
    assert entry.settings["seconds"].help == "at least 0"
    assert parts.create("patient(seconds=0.5):/x") == (Path("/x"), Waiting(0.5, 5))
    assert parts.create("patient:/x") == (Path("/x"), Waiting(2.0, 5))


def test_none_declared_at_all_is_an_old_installation(parts):
    with pytest.raises(ConfigError, match="install it again"):
        parts.entry("rebase")


def test_every_part_of_ours_tells_what_it_is():
    for registry in (STRATEGIES, GENERATORS, REWARD_MODELS, EMBEDDERS, DATASETS):
        ours = [entry for entry in registry.entries() if entry.origin == f"etsearch {etsearch.__version__}"]
        assert len(ours) >= 4
        for entry in ours:
            assert entry.summary, entry.name
            assert all(setting.help for setting in entry.settings.values()), entry.name


def test_signatures_of_all_kinds(parts):
    def by_keyword(*, path: Path, size: int = 1):
        return path, size

    def for_checkers(size: "NoSuchType" = 1, share: "float" = 0.5):  # noqa: F821
        return size, share

    def lends_nothing(waiting: Waiting = None):
        return waiting

    for make in (by_keyword, for_checkers, lends_nothing, print):
        parts.register(make.__name__, make)
    parts.register("odd", type("Odd", (), {"__call__": None}).__call__ or iter)
    assert parts.create("by_keyword(size=2):/x") == (Path("/x"), 2)
    assert parts.create("for_checkers(size=2)") == ("2", 0.5)
    assert parts.create("lends_nothing") is None
    with pytest.raises(ConfigError, match="the part 'odd' does not tell what it takes"):
        parts.create("odd")


@pytest.mark.parametrize("name", ["a:b", "a b", "beam(keep=2)", "", "./x.py:Y", "a-b"])
def test_a_name_that_can_be_none(parts, name):
    with pytest.raises(ConfigError, match=r"can be no name of a part|is no specification"):
        parts.register(name, plain)

import pytest

from etsearch.errors import ConfigError, MissingDependencyError
from etsearch.registry import Registry, Specification, needs, parse


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
        ("gone", "no part called 'gone'; choose one of plain, file:PATH, far"),
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

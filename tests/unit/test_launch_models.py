"""Folders that ``ets up`` makes before a server can load them, with a small program in the place of the interpreter."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from etsearch.errors import ConfigError, MissingDependencyError
from etsearch.launch.machine import Machine
from etsearch.launch.models import prepare
from etsearch.launch.plan import plan
from etsearch.launch.serve import Serve
from etsearch.prms.classifier import HEAD_FILE, original, write_classifier
from etsearch.prms.families import FAMILIES
from etsearch.registry import Specification

PYTHON = f"""#!{sys.executable}
import pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "calls").open("a") as calls:
    print(*sys.argv[1:], file=calls)
if sys.argv[1] == "-m":
    if (here / "fails").exists():
        sys.exit("what came before\\nthe head of x is no single layer")
    pathlib.Path(sys.argv[4]).mkdir()
"""


@pytest.fixture
def python(tmp_path, monkeypatch):
    """The server's interpreter, which takes note of its calls; this one has not what a conversion needs."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    program = tmp_path / "python"
    program.write_text(PYTHON)
    program.chmod(0o755)
    return program


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "a-prm"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def wanted(model, python, family="skywork", role="prm", **settings):
    served = {"with": "vllm", "model": str(model), **({"python": str(python)} if python else {})}
    asked = Specification("vllm", None, {"family": family, **settings})
    (server,) = plan(Serve(**{role: served}), Machine(), asked, is_free=lambda _, __: True)
    return server


def conversions(python):
    return [line for line in (python.parent / "calls").read_text().splitlines() if line.startswith("-m ")]


def option(command, flag):
    return command[command.index(flag) + 1]


def test_a_prm_is_made_a_classifier_and_served_as_one(source, python, tmp_path):
    server = prepare(wanted(source, python), tmp_path / "state")
    out = option(server.command, "--model")
    assert out.startswith(str(tmp_path / "state" / "models" / "a-prm-classifier-"))
    assert option(server.command, "--served-model-name") == "a-prm"
    assert option(server.command, "--convert") == "classify"
    (call,) = conversions(python)
    module, given, made, row = call.split()[1:]
    assert (module, given, made) == ("etsearch.prms.classifier", str(source), out)
    assert json.loads(Path(row).read_text())["name"] == "skywork"


def test_a_classifier_is_made_once_for_each_way_of_reading(source, python, tmp_path):
    first = prepare(wanted(source, python), tmp_path)
    assert prepare(wanted(source, python), tmp_path) == first
    assert len(conversions(python)) == 1
    other = prepare(wanted(source, python, "llemma_reward"), tmp_path)
    assert other.place.model != first.place.model
    assert len(conversions(python)) == 2


def test_what_generates_or_pools_is_served_as_it_is(source, python, tmp_path):
    for server in (wanted(source, python, "math_shepherd"), wanted(source, python, "qwen_prm")):
        assert prepare(server, tmp_path) == server
    assert prepare(wanted(source, python, role="generator"), tmp_path).place.model == str(source)
    pooled = prepare(wanted(source, python, "math_shepherd", route="pooling"), tmp_path)
    assert "-classifier-" in pooled.place.model


def test_a_classifier_is_served_as_it_stands(source, python, tmp_path):
    """Made once more it would be read from its embeddings, or fail."""
    (source / HEAD_FILE).touch()
    server = wanted(source, python, "llemma_reward")
    assert prepare(server, tmp_path) == server
    assert option(server.command, "--convert") == "classify"
    with pytest.raises(ConfigError, match="is such a classifier already"):
        write_classifier(source, tmp_path / "out", FAMILIES["llemma_reward"])


def test_what_a_classifier_was_made_of(source, tmp_path):
    """That is what 'ets check' compares it with: transformers knows no such classifier."""
    made = tmp_path / "made"
    made.mkdir()
    assert original(made) == made
    (made / HEAD_FILE).touch()
    assert original(made) is None
    (made / "etsearch.json").write_text(json.dumps({"classifier_of": str(source)}))
    assert original(made) == source
    source.rename(tmp_path / "elsewhere")
    assert original(made) is None


def test_a_model_of_the_hub_is_downloaded_first(python, tmp_path):
    with pytest.raises(ConfigError, match="hf download OWNER/NAME --local-dir FOLDER"):
        prepare(wanted("OWNER/NAME", python), tmp_path)


def test_a_conversion_that_fails_says_why(source, python, tmp_path):
    (tmp_path / "fails").touch()
    with pytest.raises(ConfigError, match=r"classifier .* failed: the head of x is no single layer$"):
        prepare(wanted(source, python), tmp_path / "state")


def test_nothing_has_what_a_conversion_needs(source, python, tmp_path):
    with pytest.raises(MissingDependencyError, match="or the server's interpreter"):
        prepare(wanted(source, None), tmp_path)
    python.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(MissingDependencyError, match="or the server's interpreter"):
        prepare(wanted(source, python), tmp_path)

"""Fixtures that several suites share: tiny models, made once a session, and servers."""

import pytest

from tests.vllm.fixtures import miniature, policy, prm, serve

__all__ = ["miniature", "policy", "prm", "serve"]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The Hugging Face folder of a family's tiny model."""
    from tests.conformance import tiny

    made = {}

    def make(family, *, extreme=False):
        key = tiny.MODELS[family], extreme
        if key not in made:
            folder = tmp_path_factory.mktemp("-".join(map(str, key)))
            made[key] = tiny.make(key[0], folder, scale=2000.0 if extreme else 8.0)
        return made[key]

    return make


@pytest.fixture(scope="session")
def openvino_model(tiny_model, tmp_path_factory):
    """The same as an OpenVINO folder: the network with the family's head, the tokenizer as it is."""
    from tests.conformance import export

    made = {}

    def make(family, *, extreme=False):
        key = family, extreme
        if key not in made:
            made[key] = export.openvino(family, tiny_model(family, extreme=extreme), tmp_path_factory.mktemp(family))
        return made[key]

    return make


@pytest.fixture(scope="session")
def reference(tiny_model):
    """The plain implementation over a family's tiny model."""
    from tests.conformance.reference import Reference

    made = {}

    def make(family, *, extreme=False):
        key = family, extreme
        if key not in made:
            made[key] = Reference(family, tiny_model(family, extreme=extreme))
        return made[key]

    return make


_DIFFERENCE = "largest difference"


@pytest.fixture
def report(record_property):
    """Takes note of the largest difference of a route; shown at the end."""
    return lambda route, family, worst: record_property(_DIFFERENCE, (route, family, float(worst)))


def pytest_terminal_summary(terminalreporter):
    # a test's properties come with its report, from other processes too
    tests = [test for outcome in ("passed", "failed") for test in terminalreporter.getreports(outcome)]
    for route, family, worst in (
        value for test in tests for name, value in test.user_properties if name == _DIFFERENCE
    ):
        terminalreporter.write_line(f"{route:24} {family:18} {_DIFFERENCE} {worst:.1e}")

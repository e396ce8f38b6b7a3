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


_FOUND = []


@pytest.fixture
def report():
    """Takes note of the largest difference of a route; shown at the end."""
    return lambda route, family, worst: _FOUND.append((route, family, worst))


def pytest_terminal_summary(terminalreporter):
    for route, family, worst in _FOUND:
        terminalreporter.write_line(f"{route:24} {family:18} largest difference {worst:.1e}")

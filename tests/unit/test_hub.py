"""What is a name on the hub, and what a path."""

import pytest

from etsearch.boundary.hub import is_hub_name
from etsearch.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        ("openai/gsm8k", True),
        ("Qwen/Qwen2.5-Math-1.5B-Instruct", True),
        ("HuggingFaceH4/aime_2024", True),
        ("o/n", True),
        ("_o/n_", True),
        (f"o/{'n' * 94}", True),
        (f"o/{'n' * 95}", False),
        ("gpt2", False),
        ("a/b/c", False),
        ("o/", False),
        ("/n", False),
        ("./n", False),
        ("../n", False),
        ("~/n", False),
        ("o/.n", False),
        ("o/n.", False),
        ("o/-n", False),
        ("o-/n", False),
        ("o/n--m", False),
        ("o/n..m", False),
        ("o/n m", False),
        ("o/n\n", False),
        ("ö/n", False),
        ("o\\n", False),
        ("data/problems.jsonl", False),
        ("data/problems.JSON", False),
        ("models/m.gguf", False),
        ("o/n.git", False),
    ],
)
def test_names_and_paths(text, is_name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_name(text) is is_name


@pytest.mark.parametrize("make", ["mkdir", "touch"])
def test_what_lies_here_is_no_name(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    assert is_hub_name("owner/name")
    getattr(tmp_path / "owner" / "name", make)()
    assert not is_hub_name("owner/name")


@pytest.mark.parametrize("text", ["", "o/n\0"])
def test_what_is_neither_is_an_error(text):
    with pytest.raises(ConfigError, match="the model"):
        is_hub_name(text, "the model")

"""What is read off a model's files."""

import struct

import pytest

from etsearch.errors import ConfigError
from etsearch.models.files import context_length, read_format
from etsearch.prms.families import read_family

STRING, ARRAY, U32, F32 = 8, 9, 4, 6


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(*entries: tuple[str, int, bytes]) -> bytes:
    header = struct.pack("<4sIQQ", b"GGUF", 3, 0, len(entries))
    return header + b"".join(text(name) + struct.pack("<I", kind) + value for name, kind, value in entries)


CONTEXT = ("llama.context_length", U32, struct.pack("<I", 2048))
BEFORE = [
    ("general.architecture", STRING, text("llama")),
    ("general.languages", ARRAY, struct.pack("<IQ", STRING, 2) + text("en") + text("de")),
    ("general.sizes", ARRAY, struct.pack("<IQ", U32, 3) + struct.pack("<3I", 1, 2, 3)),
    ("general.nested", ARRAY, struct.pack("<IQ", ARRAY, 1) + struct.pack("<IQ", F32, 2) + struct.pack("<2f", 1, 2)),
    ("llama.rope.freq_base", F32, struct.pack("<f", 1e4)),
]


@pytest.mark.parametrize("num_before", range(len(BEFORE) + 1))
def test_the_context_length_of_a_gguf_file_stands_anywhere_in_its_header(tmp_path, num_before):
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf(*BEFORE[:num_before], CONTEXT, *BEFORE[num_before:]))
    assert context_length(path) == 2048


def test_a_gguf_file_need_not_tell_its_context_length(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf(*BEFORE))
    assert context_length(path) is None


@pytest.mark.parametrize("content", ["[]", "{", '{"max_position_embeddings": "many"}'])
def test_a_config_that_is_none_is_an_error(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json cannot be read"):
        context_length(tmp_path)


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (read_format, '{"format": {"template": 5, "step_delimiter": "\\n"}}'),
        (read_format, '{"format": {"template": "{question}", "step_delimiter": null}}'),
        (read_family, '{"prm": {"template": 5, "tag": "\\n", "good": "+", "bad": "-"}}'),
        (read_family, '{"prm": {"template": "{question}", "tag": "\\n", "good": "+"}}'),
    ],
)
def test_a_description_of_another_type_is_an_error(tmp_path, read, content):
    (tmp_path / "etsearch.json").write_text(content)
    with pytest.raises(ConfigError):
        read(tmp_path)

"""What is read off a model's files."""

import contextlib
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etsearch.errors import ConfigError
from etsearch.models.files import check_path, context_length, read_format
from etsearch.models.gguf import Header, read_header
from etsearch.prms.families import read_family

STRING, ARRAY, U32, F32 = 8, 9, 4, 6


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(*entries: tuple[str, int, bytes], tensors: bytes = b"", num_tensors: int = 0, version: int = 3) -> bytes:
    header = struct.pack("<4sIQQ", b"GGUF", version, num_tensors, len(entries))
    told = b"".join(text(name) + struct.pack("<I", kind) + value for name, kind, value in entries)
    return header + told + tensors


def tensor(name: str, *sizes: int, kind: int = 0, start: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, start)


def whole_gguf() -> bytes:
    """Two tensors, of 4 x 8 floats and of a block of 32 quantised ones."""
    tensors = tensor("token_embd.weight", 4, 8) + tensor("output.weight", 32, kind=2, start=128)
    header = gguf(*BEFORE, CONTEXT, tensors=tensors, num_tensors=2)
    return header + b"\0" * (-len(header) % 32) + bytes(128 + 18)


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


def test_a_whole_gguf_file_is_read(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(whole_gguf())
    assert read_header(path) == Header("llama", 2048, 2)


def test_a_gguf_file_that_is_cut_anywhere_is_refused(tmp_path):
    path, content = tmp_path / "model.gguf", whole_gguf()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ConfigError, match=r"model\.gguf is no whole GGUF file"):
            check_path(path)


@settings(max_examples=300, deadline=1000)
@given(
    st.integers(0, len(whole_gguf()) - 9),
    st.sampled_from([0, 1, 2**31, 2**40, 2**62, 2**64 - 1]) | st.integers(0, 2**64 - 1),
)
def test_no_count_or_length_of_a_gguf_file_is_trusted(place, value):
    content = bytearray(whole_gguf())
    content[place : place + 8] = struct.pack("<Q", value)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        path.write_bytes(content)
        with contextlib.suppress(ConfigError):
            header = read_header(path)
            assert header.num_tensors <= 2
            assert header.context_tokens is None or header.context_tokens < 2**32


@pytest.mark.parametrize("version", [0, 1, 4, 2**31])
def test_other_versions_of_gguf_are_refused(tmp_path, version):
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf(CONTEXT, version=version))
    with pytest.raises(ConfigError, match=f"its version is {version}"):
        read_header(path)


def test_a_gguf_file_need_not_tell_its_context_length(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf(*BEFORE))
    assert context_length(path) is None


@pytest.mark.parametrize("content", ["[]", "{", '{"max_position_embeddings": "many"}'])
def test_a_config_that_is_none_is_an_error(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
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

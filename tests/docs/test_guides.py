"""The guides: every command of a bash block is run, where its engine exists; Python and YAML blocks as they stand."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from tests.cli.process import ets
from tests.doubles import world
from tests.doubles.http import running
from tests.doubles.sglang import SglangDouble

from etsearch.prms.families import FAMILIES, PrmFamily

ROOT = Path(__file__).parents[2]
GUIDES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "guides").glob("*.md"))}


def blocks(guide, language):
    return [
        text
        for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", GUIDES[guide], re.MULTILINE | re.DOTALL)
        if kind == language
    ]


def commands(guide):
    lines = [line for text in blocks(guide, "bash") for line in text.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if shlex.split(line, comments=True)]


def run(command, addresses, **where):
    """An ``ets`` command with other addresses in place of the guide's."""
    assert command[0] == "ets"
    for old, new in addresses.items():
        command = [part.replace(old, new) for part in command]
    done = (
        ets(*command[1:])
        if not where
        else subprocess.run(
            [sys.executable, "-m", "etsearch", *command[1:]],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            **where,
        )
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    return done.stdout


@pytest.mark.parametrize("guide", GUIDES)
def test_links_lead_somewhere(guide):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", GUIDES[guide]):
        assert (ROOT / "docs" / "guides" / target).exists(), target


def test_python():
    for code in blocks("prms", "python"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("guide", ["strategies", "generators", "embedders", "datasets"])
def test_a_part_in_one_file(guide, tmp_path):
    """Blocks that begin with a file's name are that file; then the commands are run as they stand."""
    files = blocks(guide, "python")
    assert len(files) >= 2
    for text in files:
        (tmp_path / re.fullmatch(r"# (\w+\.py)", text.splitlines()[0])[1]).write_text(text, encoding="utf-8")
    found = commands(guide)
    assert {command[0] for command in found} == {"ets", "pytest"}
    for name, *arguments in found:
        module = {"ets": ["etsearch"], "pytest": ["pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]}[name]
        done = subprocess.run(
            [sys.executable, "-m", *module, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.strip()
        assert name == "ets" or " passed" in done.stdout


def test_the_row_of_the_guide_is_one():
    for text in blocks("prms", "yaml"):
        assert PrmFamily.of({"name": "mine", **yaml.safe_load(text)}, "the guide").good == "good"


def test_every_family_is_in_the_guide():
    assert [name for name in FAMILIES if f"`{name}`" not in GUIDES["prms"]] == []


@pytest.mark.slow
def test_sglang(tmp_path):
    folder = world.folder(tmp_path / "model")
    with running(SglangDouble(folder), SglangDouble(folder)) as (policy, prm):
        addresses = {"http://127.0.0.1:30000": policy.url, "http://127.0.0.1:30001": prm.url}
        assert len([run(command, addresses) for command in commands("sglang")]) == 2


@contextmanager
def llama_server():
    binary, model = os.environ.get("ETSEARCH_LLAMA_SERVER", ""), os.environ.get("ETSEARCH_GGUF", "")
    if not shutil.which(binary) or not Path(model).is_file():
        pytest.skip(
            f"ETSEARCH_LLAMA_SERVER and ETSEARCH_GGUF name no server and no model (they are {binary!r}, {model!r})"
        )
    command = [binary, "-m", model, "--host", "127.0.0.1", "--port", "8321", "-c", "16384", "-np", "8", "--metrics"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen("http://127.0.0.1:8321/health", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.5)
            yield "http://127.0.0.1:8321"
        finally:
            server.kill()


@pytest.mark.live
@pytest.mark.timeout(900)
def test_llama_server():
    """``ets solve`` ends with 1 where no trajectory states an answer, which so small a model may do."""
    with llama_server() as url:
        for command in commands("llama-server"):
            done = ets(*[part.replace("http://127.0.0.1:8080", url) for part in command[1:]])
            assert done.returncode in ((0,) if command[1] == "check" else (0, 1)), done.stdout + done.stderr
            assert "Traceback" not in done.stderr
            if command[1] == "solve":
                assert "KV tokens, summed over depths" in done.stdout
                assert "found in its cache" in done.stdout


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_vllm(serve, miniature, tmp_path):
    found = commands("vllm")
    assert [command for command in found if command[0] == "make"] == [["make", "vllm-up"], ["make", "vllm-down"]]
    with serve(miniature["policy"]) as policy, serve(miniature["prm"]) as prm:
        addresses = {"http://127.0.0.1:8100": policy.url, "http://127.0.0.1:8101": prm.url}
        told = [run(command, addresses, cwd=tmp_path) for command in found if command[0] == "ets"]
    assert len(told) == 4
    assert "The right answer is" in told[0]
    assert "found in its cache" in told[0]
    assert (tmp_path / "runs" / "on-vllm" / "searches.jsonl").read_text().count("\n") == 4

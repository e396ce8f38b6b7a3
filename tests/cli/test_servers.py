"""The command line with servers: ``ets check``, and a search whose server goes away."""

import json

import pytest
from tests.cli.process import ets
from tests.doubles import world
from tests.doubles.http import RefusedError, running
from tests.doubles.openai import LlamaDouble, PlainDouble
from tests.doubles.sglang import SglangDouble
from tests.doubles.vllm import VllmDouble


@pytest.fixture
def folder(tmp_path):
    return world.folder(tmp_path / "model")


def test_check_of_servers_that_are_as_they_should_be(folder):
    with running(VllmDouble(folder), VllmDouble(folder)) as (policy, prm):
        done = ets("check", "--generator", f"vllm:{policy.url}", "--prm", f"vllm:{prm.url}")
    assert done.returncode == 0, done.stdout + done.stderr
    for text in (
        "vllm 0.32.0",
        "4,096 tokens",
        "prefix caching",
        "were in the cache",
        "model by completions",
        "stays in",
    ):
        assert text in done.stdout
    assert "bad" not in done.stdout


def test_check_says_what_would_spoil_a_run(folder):
    class Broken(SglangDouble):
        """Keeps no prefixes, draws the same for every continuation, and cuts the delimiter off."""

        def get(self, path):
            found = super().get(path)
            return found | {"disable_radix_cache": True} if "server_info" in path else found

        def _one(self, ids, params, label, body):
            output = super()._one(ids, params | {"sampling_seed": 7}, label, body)
            return output | {"text": output["text"].removesuffix("\n")}

    with running(Broken(folder)) as server:
        done = ets("check", "--generator", f"sglang:{server.url}")
    assert done.returncode == 1
    for text in ("start the server with prefix caching", "are all equal", "would read steps run together"):
        assert text in " ".join(done.stdout.split())


@pytest.mark.slow
def test_check_of_servers_that_tell_little(folder):
    form = folder / "etsearch.json"
    with running(PlainDouble(logprobs=False), LlamaDouble()) as (plain, llama):
        done = ets("check", "--generator", f"openai(format={form}):{plain.url}", "--prm", f"openai:{plain.url}")
        assert done.returncode == 0, done.stdout + done.stderr
        for text in ("is sent text", "log probabilities", "judge by chat", "not told"):
            assert text in " ".join(done.stdout.split())
        done = ets("check", "--generator", f"openai(format={form}):{llama.url}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "llama-server b1-test" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to check"),
        (["--reference", "folder"], "give --prm too"),
        (["--generator", "vllm:http://127.0.0.1:9"], "no server answers"),
        (["--prm", "vllm:127.0.0.1"], "no address"),
    ],
)
def test_check_of_nothing(arguments, message):
    done = ets("check", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_search_whose_server_stays_away_is_kept_and_gone_on_with(folder, tmp_path):
    with running(VllmDouble(folder), VllmDouble(folder)) as (policy, prm):

        def trouble(call):
            if len(policy.posts("/v1/completions")) > 6:
                raise RefusedError(503, "going down")

        policy.trouble = trouble
        state = tmp_path / "kept.json"
        command = ["solve", "--example", "--number", "3", "--width", "8", "--strategy", "rebase", "--state", str(state)]
        command += ["--generator", f"vllm(patience_s=0.2):{policy.url}", "--prm", f"vllm:{prm.url}"]
        gone = ets(*command)
        assert gone.returncode == 1
        assert "503: going down" in gone.stderr
        assert f"is in {state}: the same command with --resume goes on" in gone.stderr
        depths = len(json.loads(state.read_text())["state"]["depths"])
        assert depths > 0
        policy.trouble = lambda call: None
        before = len(policy.posts("/v1/completions"))
        done = ets(*command, "--resume", "--json")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert len(result["depths"]) > depths
        assert len(policy.posts("/v1/completions")) > before
        for change, message in (
            (["--state", str(tmp_path / "none.json")], "no search to go on with"),
            (["--width", "16"], "is another one: {'strategy': 'rebase', 'width': 8, 'seed': 0}"),
            (["--compare", "rebase,ets"], "--compare runs several"),
        ):
            other = ets(*command, "--resume", *change)
            assert other.returncode == 2
            assert message in other.stderr

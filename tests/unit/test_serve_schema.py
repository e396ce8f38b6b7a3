"""The key ``serve`` of a recipe: what it resolves to, and what it refuses."""

import pytest
import yaml

from etsearch.errors import ConfigError
from etsearch.evaluation.run.dryrun import describe
from etsearch.evaluation.run.recipe import Recipe
from etsearch.launch.serve import ServedModel

MODEL = {"with": "vllm", "model": "Qwen/Qwen2.5-Math-1.5B-Instruct"}
BASE = {"name": "own", "data": "minimath:test", "strategies": ["rebase"], "generator": "vllm", "prm": "vllm"}


def recipe(**values):
    return Recipe.of({**BASE, "prm": "vllm(family=qwen_prm)", **values})


def test_all_that_can_be_said():
    said = {
        **MODEL,
        "port": 8200,
        "dtype": "bfloat16",
        "context_tokens": 4096,
        "memory": 0.45,
        "gpus": [0, 1, 2, 3],
        "tensor_parallel": 2,
        "replicas": 2,
        "block_tokens": 16,
        "options": ["--max-num-seqs", 256],
        "environment": {"VLLM_CPU_KVCACHE_SPACE": 1},
        "python": "~/vllm/bin/python",
        "host": "0.0.0.0",
    }
    served = recipe(serve={"generator": said}).serve.generator
    assert served.engine == "vllm"
    assert served.options == ("--max-num-seqs", "256")
    assert served.environment == {"VLLM_CPU_KVCACHE_SPACE": "1"}
    assert served.ports == {8200, 8201}


def test_what_is_written_down_is_read_again():
    first = recipe(serve={"generator": MODEL, "prm": {**MODEL, "gpus": [1]}})
    assert first.plain()["serve"]["generator"]["with"] == "vllm"
    assert Recipe.of(first.plain()) == Recipe.of_record(first.plain()) == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"with": "llama"}, "serve.generator.with is 'llama'"),
        ({"model": ""}, "serve.generator.model is ''"),
        ({"gpu": [0]}, "no key 'serve.generator.gpu'; the keys are with, model, host"),
        ({"port": 0}, "port is 0"),
        ({"port": 65_535, "replicas": 2}, "the last is 65535"),
        ({"memory": 0}, "memory is 0"),
        ({"memory": 1.1}, "memory is 1.1"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"gpus": [0, 0]}, "name each once"),
        ({"gpus": [0], "replicas": 2}, "need 2 GPUs, and gpus names 1"),
        ({"gpus": [0, 1], "replicas": 2, "tensor_parallel": 2}, "need 4 GPUs"),
        ({"gpus": [], "tensor_parallel": 2}, "leave it out on a CPU"),
        ({"context_tokens": 0}, "context_tokens is 0"),
        ({"environment": {"HF_TOKEN": "hf_x"}}, "set it in the shell"),
        ({"environment": {"A=B": "x"}}, "which is no variable"),
        ({"with": "sglang"}, "generator is 'vllm' and serve.generator is with sglang"),
    ],
)
def test_bad_values(change, message):
    with pytest.raises(ConfigError, match=message):
        recipe(serve={"generator": {**MODEL, **change}})


def test_servers_that_do_not_go_together():
    with pytest.raises(ConfigError, match="serve names no server"):
        recipe(serve={})
    with pytest.raises(ConfigError, match="both given port 8101"):
        recipe(serve={"generator": {**MODEL, "port": 8100, "replicas": 2}, "prm": {**MODEL, "port": 8101}})


def test_a_secret_is_not_shown_in_the_refusal():
    with pytest.raises(ConfigError) as caught:
        recipe(serve={"generator": {**MODEL, "environment": {"HF_TOKEN": "hf_abcdef"}}})
    assert "hf_abcdef" not in str(caught.value)


def test_the_defaults_have_no_port():
    assert ServedModel(**MODEL).ports == frozenset()
    assert ServedModel(engine="vllm", model="x") == ServedModel(**{"with": "vllm", "model": "x"})


def test_a_dry_run_says_what_is_not_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**BASE, "serve": {"generator": MODEL, "prm": MODEL}}))
    told = describe(Recipe.load(path))
    assert "generator: no server is up for it" in told
    assert "ets up RECIPE" in told

"""Every PRM family by every route of a real vLLM server, with tiny models of the families' architectures."""

import subprocess
import sys

import pytest

from etsearch.errors import ConfigError
from etsearch.prms import REWARD_MODELS
from etsearch.prms.remote import PrmOptions
from etsearch.prms.served import vllm
from tests.conformance.cases import check, row

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

POOLER = '{"task": "token_classify"}'
LABELS = {
    "math_shepherd": ["math_shepherd"],
    "rlhflow_deepseek": ["rlhflow_deepseek", "rlhflow_mistral", "judge", "label"],
}
"""Families that are read at labels, by the tiny model that serves them."""


def served(server, family, route, tmp_path):
    """The family's PRM on a server; a user's own row is a YAML file."""
    name = family
    if family == "label":
        own = tmp_path / "label.yaml"
        fields = row("label").model_dump(include={"template", "tag", "good", "bad"})
        own.write_text("\n".join(f"{key}: {value!r}".replace("'", '"') for key, value in fields.items()))
        name = str(own)
    return vllm(server.url, route, PrmOptions(family=name))


@pytest.mark.parametrize("model", LABELS)
async def test_labels_of_a_server_that_generates(model, serve, tiny_model, reference, report, tmp_path):
    with serve(tiny_model(model), name=model) as server:
        for family in LABELS[model]:
            for route in ("completions", "generative_scoring"):
                await check(served(server, family, route, tmp_path), reference(family), report, f"vllm {route}")
        with pytest.raises(ConfigError, match="needs vLLM's /pooling"):
            REWARD_MODELS.create(f"vllm(family=skywork):{server.url}")


@pytest.mark.parametrize("family", ["math_shepherd", "llemma_reward", "rlhflow_deepseek", "skywork"])
async def test_a_family_as_a_classifier(family, serve, tiny_model, reference, report, tmp_path):
    """Made by ``python -m etsearch.prms.classifier``, as the guide says, and served for pooling."""
    out = tmp_path / family
    command = [sys.executable, "-m", "etsearch.prms.classifier", str(tiny_model(family)), str(out), family]
    subprocess.run(command, check=True, capture_output=True)  # noqa: ASYNC221 - nothing else runs
    with serve(out, "--runner", "pooling", "--convert", "classify", "--pooler-config", POOLER) as server:
        await check(REWARD_MODELS.create(f"vllm:{server.url}"), reference(family), report, "vllm pooling")


async def test_qwen_prm_as_it_is(serve, tiny_model, reference, report):
    pooler = f'{{"step_tag_id": {row("qwen_prm").tag_id}, "returned_token_ids": [0, 1]}}'
    with serve(tiny_model("qwen_prm"), "--runner", "pooling", "--pooler-config", pooler, name="qwen") as server:
        prm = vllm(server.url, options=PrmOptions(family="qwen_prm"))
        await check(prm, reference("qwen_prm"), report, "vllm pooling")


async def test_rewards_of_exactly_0_and_1(serve, tiny_model, reference, report, tmp_path):
    with serve(tiny_model("math_shepherd", extreme=True), name="math-shepherd") as server:
        for route in ("completions", "generative_scoring"):
            prm = served(server, "math_shepherd", route, tmp_path)
            await check(prm, reference("math_shepherd", extreme=True), report, f"vllm {route}, 0 or 1")

"""Every recipe with servers, end to end on real vLLM with stand-ins of its models: prompt, steps, rewards and record.

The recipes of SGLang run on vLLM here: what is sent and read is their format and family, not their engine.
"""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from etsearch import Problem
from etsearch.embedders import EMBEDDERS
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.runner import evaluate
from etsearch.generators import GENERATORS
from etsearch.generators.formats import FORMATS
from etsearch.loop import run_search
from etsearch.prms import REWARD_MODELS
from etsearch.strategies import STRATEGIES
from etsearch.types import EndReason

pytestmark = [pytest.mark.recipes, pytest.mark.timeout(900)]

FOLDER = Path(__file__).parents[2] / "recipes"
QUESTION = "What is 3 + 4?"
BOXED = r"Please reason step by step, and put your final answer within \boxed{}."
SYSTEM = FORMATS["search_and_learn"].system
PROMPTS = {
    "llemma": f"<s>{QUESTION}\n",
    "mistral": f"<s>{QUESTION}\n",
    "llama3": (
        f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{SYSTEM}<|eot_id|>"
        f"<|start_header_id|>user<|end_header_id|>\n\n{QUESTION}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "qwen": (f"<|im_start|>system\n{BOXED}<|im_end|>\n<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"),
    "r1": f"<｜begin▁of▁sentence｜><｜User｜>{QUESTION}\n{BOXED}<｜Assistant｜><think>\n",
}
"""What each policy must be shown, letter by letter."""
POOLER = '{"task": "token_classify"}'
CASES = {
    "llemma-34b-math500": ("llemma", "llemma_reward"),
    "llemma-34b-gsm8k": ("llemma", "llemma_reward"),
    "mistral-7b-math500": ("mistral", "math_shepherd"),
    "mistral-7b-gsm8k": ("mistral", "math_shepherd"),
    "llama-3.2-1b-math500": ("llama3", "rlhflow_deepseek"),
    "llama-3.2-3b-math500": ("llama3", "skywork"),
    "qwen2.5-math-1.5b-math500": ("qwen", "qwen_prm"),
    "qwen2.5-math-7b-aime": ("qwen", "qwen_prm"),
    "deepseek-r1-qwen-7b-math500": ("r1", "qwen_prm"),
    "deepseek-r1-qwen-1.5b-aime": ("r1", "judge"),
}


def test_every_recipe_with_servers_is_run():
    assert set(CASES) == {path.stem for path in FOLDER.glob("*.yaml") if "\nserve:" in path.read_text()}


@pytest.fixture(scope="module")
def servers(serve, tiny_model, tmp_path_factory):
    """Starts a policy and a PRM, both at once; they stay until others are asked for."""
    from tests.recipes import stand_ins

    running = ExitStack()
    found = {}

    def start(policy, family):
        if (policy, family) not in found:
            running.close()
            found.clear()
            folder = stand_ins.make(policy, tmp_path_factory.mktemp(policy))
            prm, options = tiny_model(family), []
            if family in ("llemma_reward", "skywork"):
                out = tmp_path_factory.mktemp(family) / "classifier"
                command = [sys.executable, "-m", "etsearch.prms.classifier", str(prm), str(out), family]
                subprocess.run(command, check=True, capture_output=True)
                prm, options = out, ["--runner", "pooling", "--convert", "classify", "--pooler-config", POOLER]
            if family == "qwen_prm":
                options = ["--runner", "pooling"]
            wanted = [serve(folder, name=policy), serve(prm, *options, name=family)]
            with ThreadPoolExecutor(2) as pool:
                urls = [server.url for server in pool.map(running.enter_context, wanted)]
            found[policy, family] = (urls, folder)
        return found[policy, family]

    with running:
        yield start


@pytest.mark.parametrize("name", CASES)
async def test_a_recipe(name, servers, reference, tmp_path):
    policy, family = CASES[name]
    (generator_url, prm_url), folder = servers(policy, family)
    stated = Recipe.load(FOLDER / f"{name}.yaml")
    generator, prm = (
        f"{re.sub('^sglang', 'vllm', text)}:{url}"
        for text, url in ((stated.generator, generator_url), (stated.prm, prm_url))
    )
    data = tmp_path / "problems.jsonl"
    data.write_text(json.dumps({"question": QUESTION, "answer": "7"}) + "\n")
    changes = [f"generator={generator!r}", f"prm={prm!r}", f"data='jsonl:{data}'", f"out={tmp_path / 'run'}"]
    changes += ["embedder=lexical", "widths=4", "limit=1", "strategies=[rebase, ets]"]
    changes += ["limits.max_depth=8", "limits.max_step_tokens=24", "limits.max_tokens=120"]
    recipe = Recipe.load(FOLDER / f"{name}.yaml", changes)
    await check_search(recipe, PROMPTS[policy], reference(family), folder)
    outcome = await evaluate(recipe)
    assert (outcome.num_done, outcome.num_failed) == (2, 0)
    lines = (tmp_path / "run" / "searches.jsonl").read_text().splitlines()
    assert {json.loads(line)["status"] for line in lines} == {"done"}
    manifest = (tmp_path / "run" / "run.json").read_text()
    assert "vllm" in manifest
    assert f"format={re.search('format=([a-z0-9_]+)', stated.generator)[1]}" in manifest


async def check_search(recipe, prompt, reference, folder):
    import transformers

    tokens = transformers.AutoTokenizer.from_pretrained(folder)
    generator, prm = GENERATORS.create(recipe.generator), REWARD_MODELS.create(recipe.prm)
    try:
        ids = await generator.encode_prompt(QUESTION)
        assert tokens.decode(ids) == prompt
        assert ids == tokens.encode(prompt, add_special_tokens=False)
        result = await run_search(
            Problem(QUESTION),
            generator=generator,
            reward_model=prm,
            strategy=STRATEGIES.create("rebase"),
            embedder=EMBEDDERS.create("lexical"),
            settings=recipe.settings(4, 0),
        )
    finally:
        await generator.aclose()
        await prm.aclose()
    assert not result.failures
    form = generator.format
    answered = [t for t in result.trajectories if t.end_reason is EndReason.ANSWERED]
    assert answered
    for trajectory in result.trajectories:
        *inner, last = trajectory.steps
        for step in inner:
            assert step.endswith(form.step_delimiter) or len(tokens.encode(step, add_special_tokens=False)) >= 24
            assert form.step_delimiter not in step[:-1]
            assert not any(end in step for end in form.ends)
        if trajectory.end_reason is EndReason.ANSWERED and last.endswith(form.step_delimiter):
            assert any(end in last for end in form.ends)
        rewards = reference.rewards(QUESTION, [step.removesuffix("ки") for step in trajectory.steps])
        assert trajectory.rewards == pytest.approx(rewards, abs=1e-3)

"""Every recipe with servers by ``ets up``, ``ets eval`` and ``ets down``, end to end on real vLLM with stand-ins of its
models: prompt, steps, rewards and record.

What stands under ``serve`` is the recipe's own, but for the models, a CPU in place of GPUs and what the stand-ins hold.
The recipes of SGLang run on vLLM here: what is sent and read is their format and family, not their engine.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from etsearch import Problem
from etsearch.embedders import EMBEDDERS
from etsearch.evaluation.run.folder import read_run
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.served import with_addresses
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
CONTEXT_TOKENS = 2048
"""What the stand-ins hold."""
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
ALWAYS = ["llama-3.2-3b-math500"]
"""What 'make test-vllm' runs too: one with a chat template, whose PRM is made a classifier."""


def test_every_recipe_with_servers_is_run():
    assert set(CASES) == {path.stem for path in FOLDER.glob("*.yaml") if "\nserve:" in path.read_text()}


def ets(home, *arguments):
    """A command in a folder; what it says where it fails."""
    command = [sys.executable, "-m", "etsearch", *arguments]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def up(tiny_model, tmp_path_factory):
    """Brings up the servers of a recipe; they stay until those of other models are asked for.

    Gives the folder from which they were, the changes to the recipe by which they were, and the folder of the policy.
    """
    pytest.importorskip("vllm", reason="needs vLLM: make test-recipes")
    from tests.recipes import stand_ins

    home = tmp_path_factory.mktemp("home")
    policies = {}
    at = []

    def start(name):
        policy, family = CASES[name]
        if policy not in policies:
            policies[policy] = stand_ins.make(policy, home / policy)
        if at != [policy, family]:
            ets(home, "down")
            at[:] = policy, family
        changes = [f"name={policy}-{family}", *on_vllm(name)]
        for role, model in (("generator", policies[policy]), ("prm", tiny_model(family))):
            own = {"with": "vllm", "model": model, "dtype": "float32", "gpus": [], "context_tokens": CONTEXT_TOKENS}
            changes += [f"serve.{role}.{key}={value}" for key, value in own.items()]
        ets(home, "up", str(FOLDER / f"{name}.yaml"), *changes)
        return home, changes, policies[policy]

    yield start
    ets(home, "down")


def on_vllm(name):
    """The parts of a recipe as they are, but on vLLM."""
    stated = Recipe.load(FOLDER / f"{name}.yaml")
    parts = {"generator": stated.generator, "prm": stated.prm}
    return [f"{role}={re.sub('^sglang', 'vllm', part)!r}" for role, part in parts.items()]


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.vllm] * (n in ALWAYS)) for n in CASES])
async def test_a_recipe(name, up, reference, tmp_path, monkeypatch):
    policy, family = CASES[name]
    home, changes, folder = up(name)
    data, out = tmp_path / "problems.jsonl", tmp_path / "run"
    data.write_text(json.dumps({"question": QUESTION, "answer": "7"}) + "\n")
    changes = [*changes, f"data='jsonl:{data}'", f"out={out}", "embedder=lexical"]
    changes += ["widths=4", "limit=1", "strategies=[rebase, ets]"]
    changes += ["limits.max_depth=8", "limits.max_step_tokens=24", "limits.max_tokens=120"]
    monkeypatch.chdir(home)
    recipe = with_addresses(Recipe.load(FOLDER / f"{name}.yaml", changes))
    await check_search(recipe, PROMPTS[policy], reference(family), folder)
    ets(home, "eval", str(FOLDER / f"{name}.yaml"), *changes)
    assert [record.status for record in read_run(out).records] == ["done", "done"]
    resolved = json.loads((out / "run.json").read_text())["resolved"]
    assert resolved["generator"] == f"vllm(format={generator_format(name)})"
    assert resolved["prm"] == f"vllm(family={family})"


def generator_format(name):
    return re.search("format=([a-z0-9_]+)", Recipe.load(FOLDER / f"{name}.yaml").generator)[1]


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

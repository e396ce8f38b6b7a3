"""The formats that recipes name: what a model is shown, and what ends its steps and solutions."""

from pathlib import Path

import pytest
import yaml

from etsearch.errors import ConfigError
from etsearch.generators import GENERATORS
from etsearch.generators.base import STEP_BY_STEP
from etsearch.generators.formats import FORMATS, find_format, format_of
from etsearch.models.codec import TextCodec, turns_of
from etsearch.registry import Registry
from etsearch.types import Message, PromptFormat

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
SERVED = [path for path in RECIPES if "serve" in yaml.safe_load(path.read_text())]


def test_the_released_codes_prompt_is_the_question_and_a_newline():
    form = FORMATS["math_shepherd"]
    assert form.prompt(" What is 3 + 4?\n") == "What is 3 + 4?\n"
    assert (form.chat, form.step_delimiter) == (False, "ки")


def test_a_system_prompt_comes_first_unless_the_conversation_has_one():
    form = FORMATS["search_and_learn"]
    assert [turn.role for turn in form.turns((), "q")] == ["system", "user"]
    own = Message("system", "Be brief.")
    assert form.turns((own,), "q") == (own, Message("user", "q"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"system": "s"}, "no chat"),
        ({"ends": "The answer is"}, "list of texts"),
        ({"ends": [""]}, "none of them empty"),
    ],
)
def test_what_does_not_go_together(fields, message):
    with pytest.raises(ConfigError, match=message):
        PromptFormat("{question}", "\n", **fields)


async def test_every_codec_shows_the_system_prompt_of_a_format():
    codec, form = TextCodec(marks_turns=True), PromptFormat("{question}!", "\n", chat=True, system="Be brief.")
    assert turns_of(codec.decode_now(await codec.encode_question(form, "3 + 4"))) == [
        ("system", "Be brief."),
        ("user", "3 + 4!"),
    ]
    own = (Message("system", "Be long."), Message("user", "Hi"), Message("assistant", "Hello"))
    turns = turns_of(codec.decode_now(await codec.encode_turns(form, own, "3 + 4")))
    assert turns == [("system", "Be long."), ("user", "Hi"), ("assistant", "Hello"), ("user", "3 + 4!")]


def test_formats_by_name_or_file(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text('template: "Q: {question}"\nstep_delimiter: "\\n"\nends: [Done]\n')
    assert find_format(str(file)) == PromptFormat("Q: {question}", "\n", ends=("Done",))
    with pytest.raises(ConfigError, match="no format 'llama'; choose one of step_by_step, math_shepherd"):
        find_format("llama")


def test_what_the_user_says_goes_before_the_folder(tmp_path):
    (tmp_path / "etsearch.json").write_text('{"format": {"template": "{question}?", "step_delimiter": "."}}')
    own = PromptFormat("{question}", "\n")
    assert format_of(own, tmp_path) is own
    assert format_of("qwen_math", tmp_path) is FORMATS["qwen_math"]
    assert format_of(None, tmp_path) == PromptFormat("{question}?", ".")
    assert format_of(None, None) is format_of(None, tmp_path / "other") is STEP_BY_STEP


@pytest.mark.parametrize("name", ["openvino", "transformers", "vllm", "sglang", "openai"])
def test_every_generator_of_a_users_model_takes_a_format(name):
    setting = GENERATORS.entry(name).settings["format"]
    assert setting.read("qwen_math", name) == "qwen_math"
    assert setting.default is setting.read("none", name) is None


@pytest.mark.parametrize("path", SERVED, ids=lambda path: path.stem)
def test_every_recipe_with_servers_names_its_format_and_family(path):
    recipe = yaml.safe_load(path.read_text())
    assert set(recipe["serve"]) == {"generator", "prm"}
    generator, prm = (Registry("part", "none").parse(recipe[key]) for key in ("generator", "prm"))
    assert generator.settings["format"] in FORMATS
    assert prm.settings["family"]
    assert generator.name == recipe["serve"]["generator"]["with"]
    assert prm.name == recipe["serve"]["prm"]["with"]


def test_there_are_recipes_with_servers():
    assert len(SERVED) >= 10

"""Data sets by name, and what makes one unusable."""

import json
import sys
from types import SimpleNamespace

import pytest

from etsearch.errors import ConfigError, MissingDependencyError
from etsearch.evaluation.datasets import DATASETS
from etsearch.minimath import world


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_minimath_splits_differ_and_are_the_same_every_time():
    test, validation = (DATASETS.create(f"minimath:{split}") for split in ("test", "validation"))
    assert not {p.question for p in test.problems} & {p.question for p in validation.problems}
    assert test == DATASETS.create("minimath:test")
    assert test.sha256 != validation.sha256
    first = test.problems[7]
    assert str(world.parse(first.question).answer) == first.answer
    assert (first.id, first.level) == ("minimath/test/7", "2")


def test_minimath_beyond_what_its_models_were_trained_on():
    hard = DATASETS.create("minimath(easiest=5, hardest=7, distractors=2):test")
    assert [p.level for p in hard.problems[:4]] == ["5", "6", "7", "5"]
    assert hard.problems[0].id == "minimath/test-5-7-2/0"
    for problem in hard.problems[:30]:
        read = world.parse(problem.question)
        names = {operand for fact in read.needed for operand in fact.operands} | {read.target}
        assert len(read.facts) == len(names) + 2
        assert (str(read.answer), str(read.level), read.split) == (problem.answer, problem.level, "test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("easiest=0", "easiest is 0"),
        ("easiest=5, hardest=4", "hardest is 4"),
        ("hardest=11", "hardest is 11"),
        ("distractors=7", "distractors is 7"),
    ],
)
def test_minimath_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        DATASETS.create(f"minimath({settings}):test")


def test_gsm8k_takes_what_follows_the_mark(tmp_path):
    path = write(tmp_path / "a.jsonl", {"question": "How many?", "answer": "so 1,200\n#### 1,200"})
    assert DATASETS.create(f"gsm8k:{path}").problems[0].answer == "1200"
    write(path, {"question": "How many?", "answer": "12"})
    with pytest.raises(ConfigError, match=r"a\.jsonl, line 1: .*####"):
        DATASETS.create(f"gsm8k:{path}")


def test_math500_has_ids_and_levels(tmp_path):
    row = {"problem": "What?", "answer": "$x$", "unique_id": "test/1.json", "level": "Level 5"}
    problem = DATASETS.create(f"math500:{write(tmp_path / 'm.jsonl', row)}").problems[0]
    assert (problem.question, problem.id, problem.level) == ("What?", "test/1.json", "5")


def test_a_jsonl_by_its_fields(tmp_path):
    path = write(tmp_path / "own.jsonl", {"q": "One?", "a": 1, "n": "x"}, "", {"q": "Two?", "a": 2.5, "n": "y"})
    problems = DATASETS.create(f"jsonl(question=q, answer=a, id=n):{path}").problems
    assert [(p.question, p.answer, p.id) for p in problems] == [("One?", "1", "x"), ("Two?", "2.5", "y")]
    assert DATASETS.create(f"jsonl(question=q, answer=a):{path}").problems[1].id == "own/2"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (({"question": "One?", "answer": "1"}, {"question": "Two?"}), "line 2: 'answer' is missing"),
        (({"question": "One?", "answer": " "},), "line 1: 'answer' is ' '"),
        (({"question": "One?", "answer": None},), "'answer' is None"),
        (({"answer": "1"},), "'question' is missing"),
        (("{oops",), "line 1 is no JSON"),
        (("[1]",), "no JSON object"),
        ((), "holds no problem"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, rows, message):
    with pytest.raises(ConfigError, match=message):
        DATASETS.create(f"jsonl:{write(tmp_path / 'd.jsonl', *rows)}")


def test_an_id_stands_once(tmp_path):
    rows = [{"question": "One?", "answer": "1", "id": "x"}, {"question": "Two?", "answer": "2", "id": "x"}]
    with pytest.raises(ConfigError, match=r"line 2: the id 'x' is that of .*line 1"):
        DATASETS.create(f"jsonl(id=id):{write(tmp_path / 'd.jsonl', *rows)}")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        DATASETS.create(f"jsonl:{tmp_path}/none.jsonl")
    with pytest.raises(ConfigError, match="is 'exam': Input should be 'test', 'validation' or 'train'"):
        DATASETS.create("minimath:exam")


def test_some_of_the_problems():
    data = DATASETS.create("minimath:validation")
    some = data.choose(levels=["2", "3"], limit=5)
    assert [p.level for p in some.problems] == ["2", "3", "2", "3", "2"]
    assert some.sha256 == data.sha256
    shuffled = data.choose(shuffle=1, limit=50)
    assert shuffled == data.choose(shuffle=1, limit=50)
    assert shuffled != data.choose(limit=50)
    assert set(data.choose(shuffle=2).problems) == set(data.problems)
    with pytest.raises(ConfigError, match="level 9; the levels there are: 1, 2"):
        data.choose(levels=["9"])
    with pytest.raises(ConfigError, match="limit is 0"):
        data.choose(limit=0)


def test_the_hub_needs_its_extra():
    if DATASETS.entry("hub").is_available:
        pytest.skip("the extra 'hub' is installed")
    with pytest.raises(MissingDependencyError, match=r"etsearch\[hub\]"):
        DATASETS.create("hub:owner/name")


def test_the_hub_by_its_fields(monkeypatch):
    import importlib.util
    import sys
    import types

    rows = [{"q": "One?", "a": "1"}, {"q": "Two?", "a": "2"}]
    module = types.ModuleType("datasets")
    module.load_dataset = lambda name, subset, split: rows if (name, subset, split) == ("o/n", "main", "test") else []
    module.__spec__ = importlib.util.spec_from_loader("datasets", loader=None)
    monkeypatch.setitem(sys.modules, "datasets", module)
    data = DATASETS.create("hub(question=q, answer=a, subset=main):o/n")
    assert [(p.question, p.answer) for p in data.problems] == [("One?", "1"), ("Two?", "2")]
    with pytest.raises(ConfigError, match="holds no problem"):
        DATASETS.create("hub:o/other")


def test_aime_takes_whole_numbers_below_a_thousand(tmp_path):
    path = tmp_path / "aime.jsonl"
    path.write_text('{"id": 60, "problem": "p", "answer": "073"}\n')
    (problem,) = DATASETS.create(f"aime:{path}").problems
    assert (problem.answer, problem.id) == ("73", "60")
    path.write_text('{"problem": "p", "answer": "1/2"}\n')
    with pytest.raises(ConfigError, match=r"'1/2'; those of the AIME are whole numbers from 0 to 999"):
        DATASETS.create(f"aime:{path}")


@pytest.mark.parametrize("name", ["gsm8k:data/gsm8k_test.jsonl", "math500:data/none.jsonl", "aime:/nowhere/aime"])
def test_a_path_is_no_name_on_the_hub(name):
    with pytest.raises(ConfigError, match="cannot be read"):
        DATASETS.create(name)


def test_public_sets_by_their_names_on_the_hub(monkeypatch):
    asked = []

    def load_dataset(*given, **more):
        asked.append((*given, more["split"]))
        return [{"question": "q", "problem": "q", "answer": "so #### 7" if "gsm8k" in given[0] else "7"}]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    names = ("gsm8k:openai/gsm8k", "math500:HuggingFaceH4/MATH-500", "aime:HuggingFaceH4/aime_2024")
    assert [DATASETS.create(name).problems[0].answer for name in names] == ["7", "7", "7"]
    assert asked == [
        ("openai/gsm8k", "main", "test"),
        ("HuggingFaceH4/MATH-500", None, "test"),
        ("HuggingFaceH4/aime_2024", None, "train"),
    ]

"""A conversation from a file: ``ets solve --messages``."""

import json

import pytest
from tests.cli.process import ets
from tests.doubles import world
from tests.doubles.http import running
from tests.doubles.openai import PlainDouble

from etsearch import minimath

QUESTION = minimath.example(1).question
SCRIPTED = ("--generator", "scripted", "--prm", "scripted")


def message(role, content):
    return {"role": role, "content": content}


def write(path, values):
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return str(path)


def test_a_conversation_from_a_file(tmp_path):
    said = [message("system", "Be brief."), message("user", "Hi."), message("assistant", "Hi!")]
    file = write(tmp_path / "said.json", [*said, message("user", QUESTION + "\n")])
    form = world.folder(tmp_path / "model") / "etsearch.json"
    with running(PlainDouble()) as server:
        generator = f"openai(api=chat, format={form}):{server.url}"
        shared = ("--generator", generator, "--strategy", "best_of_n", "--prm", "none", "--aggregation", "majority")
        done = ets("solve", "--messages", file, "--json", *shared)
        assert done.returncode == 0, done.stderr
        sent = server.posts("/v1/chat/completions")[0]["messages"]
    assert sent == [*said, message("user", f"Q: {QUESTION}\n")]
    result = json.loads(done.stdout)
    assert result["question"] == f"System: Be brief.\n\nUser: Hi.\n\nAssistant: Hi!\n\nUser: {QUESTION}"


def test_a_question_alone_is_a_conversation_too(tmp_path):
    file = write(tmp_path / "said.json", [message("user", QUESTION)])
    done = ets("solve", "--messages", file, "--width", "32", "--json", *SCRIPTED)
    assert json.loads(done.stdout)["answer"] == minimath.example(1).answer


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("{", "cannot be read: "),
        ("[]", "it must hold a list of messages"),
        ({"messages": []}, "it must hold a list of messages"),
        (["hello"], "message 1 of "),
        ([message("user", "x") | {"name": "y"}], "it must be an object with role and content"),
        ([message("tool", "x")], "choose one of system, user, assistant"),
        ([message("user", 7)], "the content of the user's message is a int"),
        ([message("user", "x"), message("assistant", "y")], "it must be the user's question"),
        ([message("user", " ")], "it must be the user's question"),
        ([message("user", "x"), message("system", "y"), message("user", "z")], "only the first may be"),
        ([message("system", "x"), message("user", QUESTION)], "reads one question alone"),
    ],
)
def test_messages_that_cannot_be_used(tmp_path, values, told):
    done = ets("solve", "--messages", write(tmp_path / "said.json", values), *SCRIPTED)
    assert done.returncode == 2, done.stdout
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_no_file_and_two_questions(tmp_path):
    assert "cannot be read" in ets("solve", "--messages", str(tmp_path / "none.json"), *SCRIPTED).stderr
    done = ets("solve", "x", "--messages", write(tmp_path / "said.json", [message("user", "x")]), *SCRIPTED)
    assert "only one of them" in done.stderr

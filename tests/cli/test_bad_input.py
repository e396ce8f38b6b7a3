"""Inputs that no user should give, by the hundred: one message, exit code 2, soon, and nothing is lost."""

import contextlib
import copy
import io
import json
import signal
import sys
import time

import pytest
import yaml
from tests.doubles.misbehaving import DEEP

from etsearch.cli.main import main

pytestmark = pytest.mark.slow

LONGEST_S = 60
SCRIPTED = ("--generator", "scripted", "--prm", "scripted")
SOLVE = ("solve", "--example", "--width", "2", "--max-depth", "2", *SCRIPTED)
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
)
"""YAML whose aliases multiply."""

NUMBERS = (
    *("0", "-1", "1.5", "nan", "inf", "-inf", "1e400", "1e-320", "1e300", "9" * 20, "9" * 128, "9" * 5000, "x", ""),
    *(" ", "true", "none", "0x10", "1_0", "½", "-", "--", "[1]", "{}", "\ud800", "\x1b[31m", "1,2", "1;2", "$(id)"),
)
PARTS = (
    *("", " ", "x" * 5000, "\ud800", "a\x1b[31mb", "\x9b31m", "()", "(", ")", "a(b", "a(b)", "a(b=)", "a(b=1, b=2)"),
    *(":", "a:", ":a", "a:b:c", "./x.py", "./x.py:", "os:system", "os.path:join", "a.b.c:d", "../..", "~nouser/x"),
    *("http://", "vllm:", "vllm:http://", "vllm:x", "vllm:http://a b", "vllm:http://127.0.0.1:99999"),
    *("vllm:http://[::", "vllm:http://u:p@127.0.0.1", "openai:http://127.0.0.1:9/\udcff", "openvino:/nowhere"),
    *("openvino:", "openvino:\udc80", "ets(lambda_b=nan)", "ets(lambda_b=1e400)", "ets(kv_budget=101%)"),
    *("ets(kv_budget=-1%)", "beam(keep=0)", "ets,ets", f"ets(kv_target={'9' * 200})", f"beam(keep={'9' * 5000})"),
    *("lexical(num_dimensions=99999999999)", DEEP[:2000], "scripted(delay_s=inf)", "scripted(delay_s=-1)"),
    *("scripted(delay_s=nan)", f"minimath(cache_gb={'9' * 23})"),
)
WITH_NUMBERS = (
    *("--width", "--seed", "--max-depth", "--max-step-tokens", "--max-tokens", "--temperature", "--top-p"),
    *("--cluster-threshold", "--lambda-b", "--lambda-d", "--kv-budget", "--kv-target", "--balance-temperature"),
    *("--max-generated-tokens", "--deadline-s", "--number"),
)
WITH_TEXTS = ("--strategy", "--compare", "--generator", "--prm", "--embedder", "--aggregation", "--patterns")
VALUES = (
    *(None, True, 0, -1, 1.5, 10**30, float("nan"), float("inf"), "", "text", "a\x00b", "~nouser/x", "9" * 200),
    *([], {}, [None], [[]], {"a": None}, ["x"]),
)
BROKEN_YAML = (
    *(DEEP, "{" * 3000, LAUGHS, "a: &a [*a]", "a: " + "9" * 5000, "data: \x00", "\udcff", "- 1", "1", "", "a: b: c"),
    *("!!python/object:os.system x", "data: '\\ud800'", 'data: "\\ud800"', "? [a]\n: b", "data: !!binary x"),
)
BROKEN_LINES = (
    *(DEEP, "[" * 150 + "]" * 150, "9" * 5000, "NaN", "{", "\x00", '{"a":' * 3000),
    '{"question": "\\ud800", "answer": "1"}',
)
BROKEN_MODELS = (
    *("[]", DEEP, "{", "null", "3", '{"format": 3}', '{"format": {"template": "x"}}', '{"prm": []}', "\x00"),
    *('{"prm": {"family": []}}', '{"num_parameters": "x"}', '{"prm": {"family": "a.yaml"}}', '{"a": "\\ud800"}'),
)


class Told:
    """What a command printed, and how it ended."""

    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def wrong(self):
        """Why it did not end as it must; None if it did."""
        if self.seconds > LONGEST_S:
            return f"took {self.seconds:.1f} s"
        if self.code not in (0, 1, 2):
            return f"exit code {self.code}"
        if "Traceback" in self.err or "\x1b" in self.err + self.out or "\x9b" in self.err + self.out:
            return f"printed {self.err[-300:]!r}"
        if self.code == 1 and self.err.startswith("ets: "):
            return f"exit code 1, though nothing was begun: {self.err[-200:]!r}"
        if self.code == 2 and not (self.err.startswith("ets: ") or "Usage" in self.err):
            return f"says only {self.err!r}"
        return None


def ets(*arguments):
    """A command in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    stops = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    begun, code, argv = time.monotonic(), 0, sys.argv
    sys.argv = ["ets", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException as error:  # noqa: BLE001 - which is what is looked for
        err.write(f"Traceback: {type(error).__name__}: {error}")
    finally:
        sys.argv = argv
        for number, handler in stops.items():
            signal.signal(number, handler)
    seconds = time.monotonic() - begun
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8", "backslashreplace"))
    return Told(code, *texts, seconds)


def check(cases):
    """Runs every command; says how many there were."""
    told = [(arguments, ets(*arguments).wrong()) for arguments in cases]
    wrong = [f"{' '.join(map(repr, arguments))[-200:]}: {reason}" for arguments, reason in told if reason]
    assert not wrong, "\n".join([f"{len(wrong)} of {len(cases)} went wrong:", *wrong[:20]])
    return len(cases)


def test_numbers():
    cases = [(*SOLVE, option, value) for option in WITH_NUMBERS for value in NUMBERS]
    assert check(cases) > 350


def test_texts():
    assert check([(*SOLVE, option, value) for option in WITH_TEXTS for value in PARTS]) > 300


def test_questions_and_paths(tmp_path):
    questions = [("solve", text, *SCRIPTED) for text in PARTS]
    kept = [(*SOLVE, "--resume", "--state", text or " ") for text in PARTS]
    folders = [(command, text or " ") for command in ("report", "view", "grade") for text in PARTS]
    assert check([*questions, *kept, *folders]) > 200


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, which no bad command may change."""
    path = tmp_path_factory.mktemp("runs") / "run"
    asked = ("--strategy", "rebase", "--width", "2", "--limit", "2", "--out", str(path))
    assert ets("eval", "minimath:validation", *SCRIPTED, *asked).code == 0
    return path


def content(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != "lock"}


def odd(values):
    """Copies of a nest of values in each of which one is odd, or gone."""
    for place in list(_places(values)):
        for value in VALUES:
            changed = copy.deepcopy(values)
            holder = changed
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = value
            yield changed


def _places(value, before=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in items:
        yield (*before, key)
        yield from _places(entry, (*before, key))


def test_recipes(tmp_path, run):
    before = content(run)
    recipe = {
        "data": "minimath:validation",
        "generator": "scripted",
        "prm": "scripted",
        "embedder": "lexical",
        "strategies": [
            {"strategy": "rebase", "label": "r", "at": {2: {"rounding": "round"}}, "search": {"merge": False}}
        ],
        "widths": [2],
        "seeds": [0],
        "concurrency": [1],
        "limit": 1,
        "levels": ["1"],
        "shuffle": 1,
        "measure": "accuracy",
        "limits": {"max_depth": 2, "max_tokens": 100},
        "sampling": {"temperature": 1.0},
        "patterns": ["boxed"],
        "assumed": {"depths": 2.0},
        "out": str(run),
    }  # fmt: skip
    cases = []
    for number, changed in enumerate(odd(recipe)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(changed, allow_unicode=False), encoding="utf-8")
        cases.append(("eval", str(file), "--dry-run"))
    assert check(cases) > 300
    files = []
    for number, text in enumerate(BROKEN_YAML):
        file = tmp_path / f"broken-{number}.yaml"
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        files += [("eval", str(file), "--dry-run"), ("eval", str(file)), ("sweep", str(file))]
    overrides = ("x", "=", "a=[", "a.b=1", "limit=\ud800", DEEP[:300])
    files += [("eval", str(tmp_path / "0.yaml"), override) for override in overrides]
    dry = ("eval", "minimath:test", *SCRIPTED, "--strategy", "rebase", "--out", str(run), "--dry-run")
    options = ("--width", "--seeds", "--concurrency", "--limit", "--shuffle", "--levels")
    files += [(*dry, option, value) for option in options for value in NUMBERS]
    check(files)
    assert content(run) == before


def test_lines_of_data(tmp_path):
    row = {"question": "There are 3 red cups. What is the count of red cups?", "answer": "3", "id": "a", "level": "1"}
    lines = [json.dumps(changed) for changed in odd(row)]
    lines += BROKEN_LINES
    cases = []
    for number, line in enumerate(lines):
        file = tmp_path / f"{number}.jsonl"
        file.write_text(line + "\n", encoding="utf-8")
        data = f"jsonl(id=id, level=level):{file}"
        out = ("--out", str(tmp_path / f"run-{number}"), "--width", "2", "--max-depth", "2")
        cases.append(("eval", data, *SCRIPTED, "--strategy", "best_of_n", *out))
    assert check(cases) > 80


def test_files_of_a_model(tmp_path):
    cases = []
    for number, text in enumerate(BROKEN_MODELS):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "openvino_model.xml").write_text("<net/>")
        (folder / "etsearch.json").write_text(text)
        (folder / "config.json").write_text(text)
        (folder / "family.yaml").write_text(text)
        cases += [
            ("solve", "--example", "--generator", f"openvino:{folder}"),
            ("solve", "--example", "--generator", "scripted", "--prm", f"openvino:{folder}"),
            (
                "solve",
                "--example",
                "--generator",
                "scripted",
                "--prm",
                f"openvino(family={folder}/family.yaml):{folder}",
            ),
        ]
    check(cases)

"""Extraction, equivalence and the vote: tables of what goes in and what comes out."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data import data_rows

from etsearch.answers import (
    DEFAULT_PATTERNS,
    Aggregation,
    Pattern,
    Reading,
    Vote,
    _algebra,
    equivalence,
    equivalent,
    extract,
    vote,
    weight,
)
from etsearch.errors import ConfigError

# --- extraction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So $x = \boxed{42}$.", "42"),
        (r"Hence \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}} it is", r"\{1, 2\}"),
        (r"\fbox{7}", "7"),
        (r"$\boxed 5$", "5"),
        (r"$\boxed5$.", "5"),
        (r"first \boxed{1}, then \boxed{2}", "2"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxed{$4$}", "4"),
        ("The answer is 42.", "42"),
        ("The answer is 3.5.", "3.5"),
        ("The answer is 3.5", "3.5"),
        ("The answer is therefore 12.", "12"),
        ("The answer is going to be 12.", "12"),
        ("The answer is equal to 5.", "5"),
        ("The answer is thus, approximately 3.14.", "3.14"),
        ("the answer is: 12", "12"),
        ("The answer is $x^2 + 1$.", "x^2 + 1"),
        ("The answer is $5$ because it is.", "5"),
        (r"The answer is \(7\).", "7"),
        ("The answer is $x = 1$ and $x = 2$.", "$x = 1$ and $x = 2$"),
        ("The answer is $18.", "$18"),
        ("The final answer is $7$. I hope it is correct.", "7"),
        ("The answer is 5, because 2 + 3 = 5.", "5"),
        ("The answer is (1.5, 2.5). Done.", "(1.5, 2.5)"),
        (r"The answer is $\boxed{9}$.", "9"),
        ("**Final Answer:** 10", "10"),
        ("**Answer**: 11", "11"),
        ("Final Answer: \\frac{3}{4}\n", r"\frac{3}{4}"),
        ("She earns 18.\n#### 18", "18"),
        ("#### 1,234\n", "1,234"),
        ("The answer is 1. No.\nThe answer is 2.", "2"),
        (r"The answer is 1, I mean \boxed{2}", "2"),
        (r"\boxed{1}. On second thoughts, the answer is 2.", "2"),
        (r"The answer is \text{Evelyn}.", r"\text{Evelyn}"),
        (r"\boxed{7} and then \boxed{\frac{1}{2", "7"),
        (r"\boxed{3} or \boxed{-3}", "3, -3"),
        (r"Hence $\boxed{3}$ or $x = \boxed{-3}$.", "3, -3"),
        (r"a \boxed{1}, \boxed{2},\text{ and }\boxed{3}.", "1, 2, 3"),
        (r"\boxed{(1,2)} and \boxed{(3,4)}", "(1,2), (3,4)"),
        (r"The answer is \boxed{3} or \boxed{5}.", "3, 5"),
        (r"\boxed{3}. Now \boxed{4}", "4"),
        (r"\boxed{3} \boxed{4}", "4"),
        (r"\boxed{3}, so that \boxed{4}", "4"),
        ("9 + 9 = 18, so #### 18", "18"),
        ("#### 5 and then #### 6\nmore", "6"),
        ("The answer is 3.0e2.", "3.0e2"),
        ("The answer is 1e-3. Done.", "1e-3"),
        (r"The answer is: 11,\! 111,\! 111,\! 100", r"11,\! 111,\! 111,\! 100"),
        (r"The answer is 10\! 000. Done!", r"10\! 000"),
    ],
)
def test_extract_finds_the_last_answer(text, answer):
    assert extract(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "There are 3 + 4 = 7 cups.",
        r"\boxed{\frac{1}{2}",
        r"\boxed{}",
        "The answer is",
        "The answer is {1.",
        "The answer isn't 5.",
        "The answer is found by adding 3 and 4.",
        "The answer is then obtained from 3 and 4.",
        "The answer is as follows.",
        "The answer is the sum of both.",
        "The answer is not 5.",
        "We check that our answer is correct.",
        "We check our answer: 2 + 3 is 5.",
        "The answer is a number that nobody in this room knows yet.",
        "#### Step 2",
        "see #### Step 2",
        "5 ##### 6",
        "#### 2. Simplify the fraction",
        "##### 5",
        "a boxed set of pens",
        r"\boxedtext{5}",
    ],
)
def test_extract_finds_none(text):
    assert extract(text) is None


@pytest.mark.parametrize(
    ("text", "whole", "cut"),
    [
        ("The answer is 12", "12", None),
        ("The answer is 12.", "12", None),
        ("The answer is 12. ", "12", "12"),
        ("The answer is east.", "east", "east"),
        ("The answer is 12\n", "12", "12"),
        ("#### 12", "12", None),
        (r"So \boxed{12}", "12", "12"),
        (r"So \boxed 12", "12", None),
        ("The answer is 7.\nNo, the answer is 12", "12", "7"),
    ],
)
def test_a_statement_that_a_limit_may_have_cut_is_passed_over(text, whole, cut):
    assert extract(text) == whole
    assert extract(text, is_cut=True) == cut


def test_a_model_can_have_patterns_of_its_own():
    result = Pattern("result", "=>", r"=>\s*", Reading.LINE)
    assert extract("2 + 2 => 4\nThe answer is 5.", [result]) == "4"
    assert extract("2 + 2 => 4\nThe answer is 5.", (*DEFAULT_PATTERNS, result)) == "5"


@pytest.mark.parametrize(("hint", "cue"), [("=>", "("), ("=>", ""), ("", "=>")])
def test_an_unusable_pattern_is_refused(hint, cue):
    with pytest.raises(ConfigError, match="mine"):
        Pattern("mine", hint, cue, Reading.LINE)


def test_extract_reads_the_answers_of_gsm8k():
    for row in data_rows("gsm8k_test.jsonl"):
        assert extract(row["answer"]) == row["answer"].split("#### ")[1]


# --- equivalence ------------------------------------------------------------------------------------------------------

SAME_BY_FORM = [
    ("1,000", "1000"),
    (r"10,\!080", "10080"),
    (r"11,\! 111,\! 111,\! 100", "11111111100"),
    (r"\$32,\!348", "32348"),
    ("$42$", "42"),
    (r"\(42\)", "42."),
    ("042", "42"),
    (".5", "0.50"),
    ("+3", "3"),
    (r"\dfrac12", r"\frac{1}{2}"),
    (r"\frac9{19}", "9/19"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    ("1/2", "0.5"),
    ("0.333333", "1/3"),
    (r"0.\overline{3}", r"\frac13"),
    (r"137 \frac{1}{2}", "137.5"),
    ("1 4/5", r"1\frac{4}{5}"),
    (r"50\%", "0.5"),
    (r"50\%", "50"),
    (r"106^\circ", "106"),
    (r"\frac{270}7\text{ degrees}", "270/7"),
    (r"15\mbox{ cm}^2", "15"),
    ("864 square inches", "864"),
    ("18 dollars", "$18"),
    ("2 thousand", "2000"),
    (r"1.5\text{ million dollars}", "1,500,000"),
    ("half a dozen", "Half a dozen"),
    ("1.5 dozen eggs", "18"),
    (r"\text{Evelyn}", "evelyn"),
    (r"\text{(B)}", "B"),
    ("No", "no"),
    ("xy", "yx"),
    (r"\left( 3, \dfrac{\pi}{2} \right)", r"(3.0,\frac{\pi}{2})"),
    (r"(\frac{3}{5},2]", "(0.6, 2]"),
    ("(2,4)", "2, 4"),
    ("1,-2", "-2,1"),
    (r"\{1,2\}", "2,1"),
    ("3 or 5", "5, 3"),
    ("(1,2), (3,4)", "(3,4), (1,2)"),
    ("x=5", "5"),
    ("AB = 2 + 3 = 5", "5"),
    (r"x \in [-2,7]", "[-2,7]"),
    ("x=1, y=2", "(1,2)"),
    ("4210_{5}", "4210_5"),
    ("52_8", "52"),
    ("−3", "-3"),
    ("3.0e2", "300"),
    ("1E-3", "0.001"),
    ("-2.5e+1", "-25"),
    (r"3 \times 10^2", "300"),
    (r"3.0\cdot10^{ 2 }", "300"),
    (r"6.72\times10^{-5}", "6.72e-5"),
    ("3*10^2", "300"),
    (r"10\,000", "10000"),
    (r"10\;000", "10000"),
    (r"10\ 000\ 000", "10000000"),
    ("10{,}000", "10000"),
    ("10~000", "10000"),
    ("10 000", "10,000"),
    ("10\u202f000\u202f000", "10000000"),
    ("10\u00a0000.5", "10000.5"),
    ("3\u2009cm", "3"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix} 1 & 2 \\ 3 & 4 \\ \end{bmatrix}"),
    (r"\begin{bmatrix}1&\frac12\\3&4\end{bmatrix}", r"\begin{Bmatrix} 1 & 0.5 \\[2pt] 3 & 4 \end{Bmatrix}"),
    (r"\left(\begin{array}{cc}1&2\\3&4\end{array}\right)", r"\begin{pmatrix} 1 & 2 \cr 3 & 4 \end{pmatrix}"),
    (r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", r"\left| \begin{array}{rr} 1 & 2 \\ 3 & 4 \end{array} \right|"),
    (r"\begin{cases}5&x>0\\6&x=0\end{cases}", r"\begin{cases} 5 & x > 0 \\ 6 & x = 0 \end{cases}"),
    (r"\begin{pmatrix}1\\ 2\end{pmatrix}", r"\begin{pmatrix}1 \\2\end{pmatrix}"),
]
SAME_BY_ALGEBRA = [
    (r"(3, \frac\pi2)", r"(3, 0.5\pi)"),
    (r"2\sqrt5", r"\sqrt{20}"),
    ("2*sqrt(3)", r"2\sqrt{3}"),
    (r"\frac{1}{\sqrt3}", r"\frac{\sqrt{3}}{3}"),
    ("x**2 + 2x + 1", "(x+1)^2"),
    ("p - q", "-q + p"),
    ("x + c", "c + x"),
    ("6 - 5i", "-5i + 6"),
    (r"\pi", "3.141593"),
    ("pi/4", r"\frac{\pi}{4}"),
    (r"1\pm\sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"),
    (r"(-\infty,2)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,2)"),
    (r"(3,\infty)", "x>3"),
    (r"\begin{pmatrix} 1/5 \\ -2 \end{pmatrix}", r"\begin{pmatrix} 0.2 \\ -2 \end{pmatrix}"),
    ("5x - 7y + 4 = 0", "7y - 5x - 4 = 0"),
    ("y = 2x + 3", "2x+3"),
    ("2^{10}", "1024"),
    (r"6.72\times10^{-5}", ".0000672"),
    (r"\begin{vmatrix}1&0\\0&1\end{vmatrix}", r"\begin{vmatrix}1&7\\0&1\end{vmatrix}"),
    (r"\begin{pmatrix}x+1\\2\end{pmatrix}", r"\begin{pmatrix} 1 + x \\ 2 \end{pmatrix}"),
]
DIFFERENT_BY_FORM = [
    ("", "1"),
    ("1", "2"),
    ("-5", "5"),
    ("1,2", "12"),
    ("1,2", "1.2"),
    ("(100,200)", "100200"),
    ("100, 200", "100200"),
    ("0.33", "1/3"),
    ("1.9999999", "2"),
    ("0.0000672", "0.0000673"),
    (r"1\frac45", r"\frac45"),
    ("40_9", "40_8"),
    ("east", "seat"),
    ("ab", "ac"),
    ("yes", "no"),
    ("B", "C"),
    ("x", "y"),
    ("7 am", "7 p.m."),
    ("12:30", "6:15"),
    ("(2,4)", "[2,4]"),
    ("(2,4)", "(4,2)"),
    ("(2,4)", "4,2"),
    ("[1,2)", "(1,2]"),
    ("1,2,3", "1,2"),
    ("5x + 4 = 0", "0"),
    ("f'(x)", "f(x)"),
    ("5 million", "5"),
    ("1.5 billion", "1.5 million"),
    ("3e2", "30"),
    ("3e2", "3e-2"),
    (r"3\times10^2", r"3\times10^3"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&5\end{pmatrix}"),
    (r"\begin{pmatrix}1&0\\0&1\end{pmatrix}", r"\begin{vmatrix}1&0\\0&1\end{vmatrix}"),
    (r"\begin{cases}5&6\\7&8\end{cases}", r"\begin{pmatrix}5&6\\7&8\end{pmatrix}"),
]
DIFFERENT_BY_ALGEBRA = [
    ("3 5", "35"),
    ("10 00", "1000"),
    ("1 2345", "12345"),
    ("6xy", "6"),
    ("10x", "10"),
    ("p - q", "q - p"),
    ("x=5", "y=5"),
    ("x<5", r"x\le5"),
    (r"1+\sqrt2", r"1+\sqrt3"),
    (r"\pi", "3.14"),
    (r"\sqrt{x^2}", "x"),
    (r"6.72\times10^{-5}", r"6.73\times10^{-5}"),
    (r"\infty", r"-\infty"),
    (r"\log_2 3", r"\log_3 3"),
    ("1/0", "2/0"),
    ("3 squared", "3"),
    ("4 factorial", "4"),
    ("5 degrees below zero", "5"),
    ("52 base eight", "52 base nine"),
]


@pytest.fixture
def no_algebra(monkeypatch):
    monkeypatch.setattr(_algebra, "same", lambda x, y: pytest.fail(f"algebra was asked for {x!r} and {y!r}"))
    equivalence._equivalent.cache_clear()
    yield
    equivalence._equivalent.cache_clear()


def both_ways(a, b):
    forth = equivalent(a, b)
    equivalence._equivalent.cache_clear()
    assert equivalent(b, a) is forth
    return forth


@pytest.mark.parametrize(("a", "b"), SAME_BY_FORM)
def test_same_by_form(no_algebra, a, b):
    assert both_ways(a, b)


@pytest.mark.parametrize(("a", "b"), DIFFERENT_BY_FORM)
def test_different_by_form(no_algebra, a, b):
    assert not both_ways(a, b)


@pytest.mark.parametrize(("a", "b"), SAME_BY_ALGEBRA)
def test_same_by_algebra(a, b):
    assert both_ways(a, b)


@pytest.mark.parametrize(("a", "b"), DIFFERENT_BY_ALGEBRA)
def test_different_by_algebra(a, b):
    assert not both_ways(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("(" * 100 + ")" * 100, "1"),
        ("(1," * 100 + "1" + ")" * 100, "(1," * 100 + "2" + ")" * 100),
        ("{" * 300, "}" * 300),
        ("9" * 5000, "9" * 4999),
        ("\ud800", "\x00"),
        ("1 " * 40000, "$" * 200),
        (r"\frac{1}{0}", "0"),
        ("__import__('os').getpid()", "1"),
    ],
)
def test_nonsense_is_different_and_raises_nothing(a, b, monkeypatch):
    monkeypatch.setattr(_algebra, "CPU_LIMIT_S", 0.3)
    assert not equivalent(a, b)
    assert equivalent(a, a)


PIECES = st.sampled_from(
    (
        *(
            r"\boxed{",
            r"\frac{",
            "}",
            "{",
            "(",
            ")",
            "[",
            "]",
            ",",
            ";",
            "$",
            "$$",
            "####",
            "&",
            r"\\",
            r"\!",
            r"\,",
            "\\ ",
        ),
        *(
            r"\begin{pmatrix}",
            r"\end{pmatrix}",
            "1",
            "2",
            "000",
            "e",
            "3e2",
            "x",
            "the answer is ",
            " and ",
            " or ",
            "\n",
        ),
        *(".", "!", "\ud800", "\x00", "\u202f", "{" * 500, "}" * 500, " " * 300),
    )
)
TEXTS = st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join)


@settings(max_examples=300, deadline=2000)
@given(TEXTS, TEXTS)
def test_no_text_breaks_what_reads_answers(a, b):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_algebra, "same", lambda x, y: False)
        found = extract(a + b)
        assert found is None or found.strip() == found
        assert extract(a + b, is_cut=True) in (None, found) or found is not None
        equivalence._equivalent.cache_clear()
        both_ways(a, b)
    equivalence._equivalent.cache_clear()


@pytest.mark.parametrize("giant", ["9^{9^9}", "7^{7^{7^{7}}}", r"1 - 10^{10^{10}}"])
def test_an_answer_that_cannot_be_computed_ends_in_time_and_the_next_one_is_compared(giant, monkeypatch, caplog):
    monkeypatch.setattr(_algebra, "CPU_LIMIT_S", 0.3)
    with caplog.at_level(logging.WARNING, "etsearch.answers._algebra"):
        assert not equivalent(giant, "1")
    assert "gave up" in caplog.text
    caplog.clear()
    for other in ("2", "3", "4"):
        assert not equivalent(giant, other)
    assert not caplog.records, "it cost its limit again"
    monkeypatch.setattr(_algebra, "CPU_LIMIT_S", 30.0)
    assert equivalent(r"\sqrt{8}", r"2\sqrt{2}")


def test_a_child_that_dies_is_replaced():
    assert equivalent("a + b", "b + a")
    _algebra._process._process.kill()
    assert equivalent("a + c", "c + a")


def test_without_algebra_strings_decide_and_it_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(_algebra, "_process", _algebra._Process())
    monkeypatch.setattr(_algebra.sys, "executable", str(Path("no", "such", "python")))
    _algebra._reading.cache_clear()
    assert not equivalent("d + e", "e + d")
    assert "math-verify could not be started" in caplog.text
    _algebra._reading.cache_clear()
    equivalence._equivalent.cache_clear()


def test_threads_and_an_event_loop_may_ask_at_once():
    verdicts = []

    def ask(number):
        verdicts.append(equivalent(f"x + {number}", f"{number} + x") and not equivalent(f"x + {number}", "y"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def ask_inside():
        return equivalent("2z", "z + z")

    assert verdicts == [True] * 8
    assert asyncio.run(ask_inside())


def test_sympy_is_not_imported_here():
    code = (
        "import sys; from etsearch.answers import equivalent;"
        r"assert equivalent('1,000', '1000.0') and equivalent(r'\sqrt{8}', r'2\sqrt{2}');"
        "print('sympy' in sys.modules)"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": paths()})
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def paths():
    return os.pathsep.join(filter(None, sys.path))


def test_every_gold_answer_of_math500_is_equivalent_to_itself_however_it_is_written():
    answers = [row["answer"] for row in data_rows("math500.jsonl")]
    assert len(answers) == 500
    rewritten = {
        "as it is": lambda a: a,
        "boxed": lambda a: extract(rf"Therefore $\boxed{{{a}}}$."),
        "dollars": lambda a: f"${a}$",
        "spaces": lambda a: f" {a.replace(',', ', ') if a[0] in '([' else a} ",
        "dfrac": lambda a: a.replace(r"\frac", r"\dfrac"),
        "no sizes": lambda a: a.replace(r"\left", "").replace(r"\right", ""),
    }
    for name, rewrite in rewritten.items():
        wrong = [answer for answer in answers if not equivalent(rewrite(answer), answer)]
        assert not wrong, name


def test_the_answers_are_found_in_the_solutions_of_math500():
    wrong = [
        r["answer"] for r in data_rows("math500.jsonl") if not equivalent(extract(r["solution"]) or "", r["answer"])
    ]
    assert not wrong


# --- vote -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("last", 0.5), ("min", 0.25), ("prod", 0.125), ("mean", 1.75 / 3), ("majority", 1.0)],
)
def test_weight(aggregation, expected):
    assert weight([1.0, 0.25, 0.5], Aggregation(aggregation)) == pytest.approx(expected)


def test_a_majority_needs_no_rewards():
    assert weight([], Aggregation.MAJORITY) == 1.0
    with pytest.raises(ConfigError, match="without rewards"):
        weight([], Aggregation.LAST)


@pytest.mark.parametrize(
    ("answers", "weights", "votes"),
    [
        ([], [], []),
        ([None, None], [1.0, 2.0], []),
        (["7", "8", "7.0"], [0.3, 0.5, 0.3], [Vote("7", 0.6, 2, (0, 2)), Vote("8", 0.5, 1, (1,))]),
        (["7", None, "8"], [0.1, 9.0, 0.2], [Vote("8", 0.2, 1, (2,)), Vote("7", 0.1, 1, (0,))]),
        (["1", "2"], [0.5, 0.5], [Vote("1", 0.5, 1, (0,)), Vote("2", 0.5, 1, (1,))]),
        (["1", "2", "2"], [0.0, 0.0, 0.0], [Vote("2", 0.0, 2, (1, 2)), Vote("1", 0.0, 1, (0,))]),
        ([r"2\sqrt{2}", r"\sqrt{8}"], [1.0, 1.0], [Vote(r"2\sqrt{2}", 2.0, 2, (0, 1))]),
    ],
)
def test_vote(answers, weights, votes):
    assert vote(answers, weights) == votes


@pytest.mark.parametrize("bad", [float("nan"), -0.1, float("inf")])
def test_a_bad_weight_is_named(bad):
    with pytest.raises(ConfigError, match=f"weight 1 is {bad}"):
        vote(["1", "2"], [0.5, bad])
    with pytest.raises(ConfigError, match=f"reward 0 is {bad}"):
        weight([bad, 0.5], Aggregation.LAST)


def test_answers_and_weights_must_be_as_many():
    with pytest.raises(ConfigError, match="2 answers but 1 weights"):
        vote(["1", "2"], [1.0])

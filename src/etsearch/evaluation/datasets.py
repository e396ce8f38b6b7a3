"""Problems with reference answers: the miniature world, the public sets by path, any JSONL, the hub.

A data set is named like every other part: ``minimath:test``, ``expressions:test``, ``gsm8k:PATH``,
``math500:PATH``, ``aime:PATH``, ``jsonl(question=FIELD, answer=FIELD):PATH``,
``hub(question=FIELD, answer=FIELD):OWNER/NAME``. The
public sets may be named by ``OWNER/NAME`` on the hub in place of a path.
"""

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

from etsearch import expressions, minimath
from etsearch.boundary.files import to_path
from etsearch.boundary.hub import is_hub_name
from etsearch.boundary.numbers import check_whole
from etsearch.boundary.plain import read_json
from etsearch.errors import ConfigError, MissingDependencyError
from etsearch.registry import Registry, needs
from etsearch.types import Problem

MINIATURE_PROBLEMS: Final = 600
"""Problems of a split of a miniature world, as many of each level."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Problems with their reference answers.

    ``sha256`` is of the file, or of all questions and answers where there is none; it does not depend on which of the
    problems are chosen.
    """

    problems: tuple[Problem, ...]
    sha256: str

    @classmethod
    def of(cls, problems: "Iterable[Problem]", name: str) -> "Dataset":
        """A data set of problems that lie in no file: its hash is that of their questions and answers.

        Args:
            problems: at least one; one without an id gets its place as such.
            name: of the data set, for those ids and for messages.

        Raises:
            ConfigError: no problem, something that is none, or two of one id.
        """
        distinct = _distinct(_check_problems(problems, name), name)
        text = json.dumps([[p.transcript, p.answer] for p in distinct])
        return cls(distinct, hashlib.sha256(text.encode()).hexdigest())

    def choose(self, levels: Iterable[str] = (), shuffle: int | None = None, limit: int | None = None) -> "Dataset":
        """Those of some levels (all if none are named), in an order of their own if shuffled, the first ``limit``.

        Raises:
            ConfigError: a level that no problem has, or a limit below 1.
        """
        wanted = set(levels)
        if missing := wanted - {p.level for p in self.problems}:
            known = ", ".join(sorted({p.level for p in self.problems if p.level})) or "none"
            raise ConfigError(f"no problem has level {', '.join(sorted(missing))}; the levels there are: {known}")
        if limit is not None:
            check_whole("the limit", limit, 1, 10**9)
        problems = [p for p in self.problems if not wanted or p.level in wanted]
        if shuffle is not None:
            random.Random(f"etsearch {shuffle}").shuffle(problems)
        return Dataset(tuple(problems[:limit]), self.sha256)


DATASETS: Registry[Dataset | Iterable[Problem]] = Registry("data set", "etsearch.datasets")
"""All data sets by name: those that packages declare as entry points, ours among them."""


def open_dataset(text: str) -> Dataset:
    """The data set that a specification names, such as ``gsm8k:PATH`` or ``./mine.py:problems``.

    One that gives problems alone, without their hash, is taken for what it gives.

    Raises:
        ConfigError: no such data set, one that cannot be read, or two problems of one id.
        MissingDependencyError: the extra that it needs is not installed.
    """
    made = DATASETS.create(text)
    return made if isinstance(made, Dataset) else Dataset.of(made, DATASETS.parse(text).name.rpartition(":")[2])


def minimath_problems(
    split: Literal["test", "validation", "train"],
    easiest: int = 1,
    hardest: int = minimath.world.MAX_LEVEL,
    distractors: int | None = None,
) -> Dataset:
    """The miniature world, these levels in turn.

    Args:
        split: of the world.
        easiest: operations that a problem needs at least, 1 to 10.
        hardest: operations that a problem needs at most, ``easiest`` to 10; the shipped models were trained up to 6.
        distractors: facts of each problem that its answer does not need, 0 to 6; by default none or one, as the shipped
            models were trained.
    """
    check_whole("easiest", easiest, 1, minimath.world.HIGHEST_LEVEL)
    check_whole("hardest", hardest, easiest, minimath.world.HIGHEST_LEVEL)
    if distractors is not None:
        check_whole("distractors", distractors, 0, minimath.world.MOST_DISTRACTORS)
    return _minimath(split, easiest, hardest, distractors)


@lru_cache(maxsize=8)
def _minimath(
    split: Literal["test", "validation", "train"], easiest: int, hardest: int, distractors: int | None
) -> Dataset:
    """Making the problems takes a second."""
    counts = minimath.world.DISTRACTORS if distractors is None else (distractors,)
    levels = range(easiest, hardest + 1)
    made = minimath.world.problems(split, MINIATURE_PROBLEMS, levels=levels, distractors=counts)
    is_standard = (easiest, hardest, distractors) == (1, minimath.world.MAX_LEVEL, None)
    name = split if is_standard else f"{split}-{easiest}-{hardest}" + ("" if distractors is None else f"-{distractors}")
    problems = [Problem(w.question, str(w.answer), f"minimath/{name}/{n}", str(w.level)) for n, w in enumerate(made)]
    return Dataset.of(problems, "minimath")


def expressions_problems(
    split: Literal["test", "validation", "train"],
    easiest: int = expressions.world.LEVELS[0],
    hardest: int = expressions.world.LEVELS[-1],
) -> Dataset:
    """The world of expressions, these levels in turn.

    Args:
        split: of the world.
        easiest: operations of a problem at least, 2 to 12.
        hardest: operations of a problem at most, ``easiest`` to 12; the shipped models were trained on 3 to 8.
    """
    check_whole("easiest", easiest, expressions.world.LOWEST_LEVEL, expressions.world.HIGHEST_LEVEL)
    check_whole("hardest", hardest, easiest, expressions.world.HIGHEST_LEVEL)
    return _expressions(split, range(easiest, hardest + 1))


@lru_cache(maxsize=8)
def _expressions(split: Literal["test", "validation", "train"], levels: range) -> Dataset:
    made = expressions.world.problems(split, MINIATURE_PROBLEMS, levels=levels)
    name = split if levels == expressions.world.LEVELS else f"{split}-{levels[0]}-{levels[-1]}"
    problems = [Problem(p.question, str(p.answer), f"expressions/{name}/{n}", str(p.level)) for n, p in enumerate(made)]
    return Dataset.of(problems, "expressions")


_AIME_ANSWER = re.compile(r"[0-9]{1,3}")
_GSM8K_ANSWER = re.compile(r"####\s*(.+?)\s*$")


def gsm8k(path: str, split: str = "test", subset: str | None = "main") -> Dataset:
    """GSM8K: question, answer ending in '#### ANSWER'.

    Args:
        path: a JSONL file, or OWNER/NAME on the hub, such as openai/gsm8k.
        split: of the hub's.
        subset: of the hub's.
    """

    def problem(row: Mapping[str, Any], where: str) -> Problem:
        stated = _GSM8K_ANSWER.search(_text(row, "answer", where))
        if stated is None:
            raise ConfigError(f"{where}: the answer does not end with '#### ANSWER'; is this GSM8K?")
        return Problem(_text(row, "question", where), stated[1].replace(",", ""))

    return _read_anywhere(path, problem, split, subset)


def math500(path: str, split: str = "test", subset: str | None = None) -> Dataset:
    """MATH500: problem, answer, unique_id, level.

    Args:
        path: a JSONL file, or OWNER/NAME on the hub, such as HuggingFaceH4/MATH-500.
        split: of the hub's.
        subset: of the hub's.
    """

    def problem(row: Mapping[str, Any], where: str) -> Problem:
        answer = _text(row, "answer", where)
        return Problem(_text(row, "problem", where), answer, str(row.get("unique_id", "")), _level(row.get("level")))

    return _read_anywhere(path, problem, split, subset)


def aime(path: str, split: str = "train", subset: str | None = None) -> Dataset:
    """AIME: problem, answer from 0 to 999, id.

    Args:
        path: a JSONL file, or OWNER/NAME on the hub, such as HuggingFaceH4/aime_2024.
        split: of the hub's.
        subset: of the hub's.
    """

    def problem(row: Mapping[str, Any], where: str) -> Problem:
        answer = _text(row, "answer", where)
        if not _AIME_ANSWER.fullmatch(answer):
            raise ConfigError(f"{where}: the answer is {answer!r}; those of the AIME are whole numbers from 0 to 999")
        return Problem(_text(row, "problem", where), str(int(answer)), str(row.get("id", "")))

    return _read_anywhere(path, problem, split, subset)


def jsonl(path: str, question: str = "question", answer: str = "answer", id: str = "", level: str = "") -> Dataset:  # noqa: A002
    """Any JSONL; the settings name its fields.

    Args:
        path: the file.
        question: the field that holds the question.
        answer: the field that holds the reference answer.
        id: the field that holds the problem's id; by default its place is its id.
        level: the field that says how hard it is.
    """
    return _read(path, _reader(question, answer, id, level))


def _reader(question: str, answer: str, id_: str, level: str) -> Callable[[Mapping[str, Any], str], Problem]:
    def problem(row: Mapping[str, Any], where: str) -> Problem:
        name = _text(row, id_, where) if id_ else ""
        of_level = _level(row.get(level)) if level else ""
        return Problem(_text(row, question, where), _text(row, answer, where), name, of_level)

    return problem


@needs(extra="hub", module="datasets")
def hub(
    name: Annotated[str, "OWNER/NAME"],
    question: str = "question",
    answer: str = "answer",
    id: str = "",  # noqa: A002
    level: str = "",
    split: str = "test",
    subset: str | None = None,
) -> Dataset:
    """A data set of the Hugging Face hub, or a folder that 'datasets' can load.

    Args:
        name: its name, or the folder.
        question: the column that holds the question.
        answer: the column that holds the reference answer.
        id: the column that holds the problem's id; by default its place is its id.
        level: the column that says how hard it is.
        split: of the data set.
        subset: of the data set; by default its own default.
    """
    return _read_hub(name, _reader(question, answer, id, level), split, subset)


def _read_anywhere(
    given: str, problem: Callable[[Mapping[str, Any], str], Problem], split: str, subset: str | None
) -> Dataset:
    """The problems of a JSONL file, or of a data set of the hub."""
    on_hub = is_hub_name(given, "the data set")
    return _read_hub(given, problem, split, subset) if on_hub else _read(given, problem)


def _read_hub(name: str, read: Callable[[Mapping[str, Any], str], Problem], split: str, subset: str | None) -> Dataset:
    try:
        from datasets import load_dataset  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("A data set of the hub", "hub") from error
    try:
        rows: Sequence[Mapping[str, Any]] = list(load_dataset(name, subset, split=split))
    except Exception as error:
        raise ConfigError(f"the hub's data set {name!r} cannot be loaded: {error}") from error
    where = [f"{name}, row {number}" for number in range(1, len(rows) + 1)]
    return Dataset.of([read(row, place) for place, row in zip(where, rows, strict=True)], name)


def _read(given: str, problem: Callable[[Mapping[str, Any], str], Problem]) -> Dataset:
    """The problems of a JSONL file, a line each; blank lines do not count."""
    path = to_path(given, "the data set")
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the data set {path} cannot be read: {error}") from error

    def rows() -> Iterator[tuple[str, Problem]]:
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                row = read_json(line)
            except ValueError as error:
                raise ConfigError(f"{where} is no JSON: {error}") from error
            if not isinstance(row, dict):
                raise ConfigError(f"{where} is no JSON object but {line[:40]!r}")
            yield where, problem(row, where)

    return Dataset(_distinct(rows(), path.stem), hashlib.sha256(raw).hexdigest())


def _check_problems(problems: Iterable[Any], name: str) -> Iterator[tuple[str, Problem]]:
    for number, problem in enumerate(problems, start=1):
        if not isinstance(problem, Problem):
            raise ConfigError(f"the data set {name} gives {problem!r}; it must give etsearch.Problem")
        yield f"{name}, problem {number}", problem


def _distinct(rows: Iterable[tuple[str, Problem]], name: str) -> tuple[Problem, ...]:
    """The problems, each with an id of its own: its place where the data gives none."""
    problems: dict[str, Problem] = {}
    first: dict[str, str] = {}
    for number, (where, problem) in enumerate(rows, start=1):
        key = problem.id or f"{name}/{number}"
        if key in problems:
            raise ConfigError(f"{where}: the id {key!r} is that of {first[key]} too; ids must differ")
        problems[key] = replace(problem, id=key)
        first[key] = where
    if not problems:
        raise ConfigError(f"the data set {name} holds no problem")
    return tuple(problems.values())


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    """A field that must be there and hold something: a text, or a number as its text."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        found = "is missing" if key not in row else f"is {value!r}"
        raise ConfigError(f"{where}: {key!r} {found}; it must hold a text. Fields there: {', '.join(row)}")
    return str(value).strip()


def _level(value: Any) -> str:
    """``Level 5`` is ``5``."""
    return "" if value is None else str(value).removeprefix("Level").strip()

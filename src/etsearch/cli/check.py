"""``ets check``: what a generator and a PRM really do, before a run."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from etsearch.errors import ConfigError
from etsearch.evaluation.checks import Finding, Level, check_generator, check_reference, check_reward_model
from etsearch.generators import GENERATORS
from etsearch.prms import REWARD_MODELS, RewardModel
from etsearch.prms.remote import RemoteRewardModel

_STYLES = {Level.OK: "green", Level.NOTE: "yellow", Level.BAD: "bold red"}


def check(
    generator: Annotated[str, typer.Option(help="See 'ets engines'.")] = "",
    prm: Annotated[str, typer.Option(help="See 'ets prms'.")] = "",
    reference: Annotated[str, typer.Option(help="The PRM's folder, to score by transformers for comparison.")] = "",
) -> None:
    """Try a generator and a reward model, and say what it means for a search; exit code 1 if a run would be spoilt."""
    if reference and not prm:
        raise ConfigError("--reference is compared with a PRM; give --prm too")
    if not generator and not prm:
        raise ConfigError("there is nothing to check; give --generator, --prm, or both")
    logging.getLogger("etsearch.generators").setLevel(logging.ERROR)  # its warnings are among the findings
    findings = asyncio.run(_gather(generator, prm, reference))
    table = Table("", "what was tried", "found", "what it means", box=None, pad_edge=False, header_style="bold")
    for finding in findings:
        mark = f"[{_STYLES[finding.level]}]{finding.level}[/]"
        table.add_row(mark, *map(escape, (finding.subject, finding.found, finding.means)))
    Console(width=None if Console().is_terminal else 160).print(table)
    if any(finding.level is Level.BAD for finding in findings):
        raise typer.Exit(1)


async def _gather(generator: str, prm: str, reference: str) -> list[Finding]:
    async with AsyncExitStack() as stack:
        findings: list[Finding] = []
        if generator:
            writer = GENERATORS.create(generator)
            stack.push_async_callback(writer.aclose)
            findings += [finding async for finding in check_generator(writer)]
        if prm:
            findings += [finding async for finding in _prm_findings(stack, prm, reference)]
        return findings


async def _prm_findings(stack: AsyncExitStack, prm: str, reference: str) -> AsyncIterator[Finding]:
    judge, twin = REWARD_MODELS.create(prm), REWARD_MODELS.create(prm)
    stack.push_async_callback(judge.aclose)
    stack.push_async_callback(twin.aclose)
    async for finding in check_reward_model(judge, twin):
        yield finding
    plain, folder = _reference(judge, reference)
    if plain is not None and folder is not None:
        stack.push_async_callback(plain.aclose)
        async for finding in check_reference(judge, plain, folder):
            yield finding


def _reference(judge: RewardModel, given: str) -> tuple[RewardModel | None, Path | None]:
    """The same PRM by transformers: from the folder that was given, or from the server's own if it lies here."""
    found = judge.folder if isinstance(judge, RemoteRewardModel) else None
    folder = Path(given).expanduser() if given else found
    if folder is None or (not given and not REWARD_MODELS.entry("transformers").is_available):
        return None, None
    from etsearch.prms.transformers import TransformersRewardModel  # noqa: PLC0415

    family = judge.reader.family if isinstance(judge, RemoteRewardModel) else None
    return TransformersRewardModel(folder, family=family), folder

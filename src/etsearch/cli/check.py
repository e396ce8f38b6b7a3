"""``ets check``: what a generator and a PRM really do, before a run."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from etsearch.cli.terminal import make_console
from etsearch.errors import ConfigError
from etsearch.evaluation.checks import check_generator, check_reference, check_reward_model, open_reference
from etsearch.generators import GENERATORS
from etsearch.prms import REWARD_MODELS
from etsearch.types import Finding, Level

_STYLES = {Level.OK: "green", Level.NOTE: "yellow", Level.BAD: "bold red"}


def check(
    generator: Annotated[str, typer.Option(help="See 'ets generators'.")] = "",
    prm: Annotated[str, typer.Option(help="See 'ets prms'.")] = "",
    reference: Annotated[str, typer.Option(help="The PRM's folder, to score by transformers for comparison.")] = "",
) -> None:
    """Try a generator and a reward model, and say what it means for a search; exit code 1 if a run would be spoilt."""
    if reference and not prm:
        raise ConfigError("--reference is compared with a PRM; give --prm too")
    if not generator and not prm:
        raise ConfigError("there is nothing to check; give --generator, --prm, or both")
    logging.getLogger("etsearch.generators").setLevel(logging.ERROR)  # its warnings are among the findings
    if show(asyncio.run(gather(generator, prm, reference))):
        raise typer.Exit(1)


def show(findings: Sequence[Finding]) -> bool:
    """Prints findings as a table; whether a run would be spoilt by one."""
    table = Table("", "what was tried", "found", "what it means", box=None, pad_edge=False, header_style="bold")
    for finding in findings:
        mark = f"[{_STYLES[finding.level]}]{finding.level}[/]"
        table.add_row(mark, *map(escape, (finding.subject, finding.found, finding.means)))
    make_console(wide=160).print(table)
    return any(finding.level is Level.BAD for finding in findings)


async def gather(generator: str, prm: str, reference: str = "") -> list[Finding]:
    """What is found of a generator and a PRM; of one that is given as an empty text nothing."""
    async with AsyncExitStack() as stack:
        findings: list[Finding] = []
        if generator:
            part = GENERATORS.create(generator)
            stack.push_async_callback(part.aclose)
            findings += [finding async for finding in check_generator(part)]
        if prm:
            findings += [finding async for finding in _prm_findings(stack, prm, reference)]
        return findings


async def _prm_findings(stack: AsyncExitStack, prm: str, reference: str) -> AsyncIterator[Finding]:
    reward_model, twin = REWARD_MODELS.create(prm), REWARD_MODELS.create(prm)
    stack.push_async_callback(reward_model.aclose)
    stack.push_async_callback(twin.aclose)
    async for finding in check_reward_model(reward_model, twin):
        yield finding
    if opened := open_reference(reward_model, reference):
        plain, folder = opened
        stack.push_async_callback(plain.aclose)
        async for finding in check_reference(reward_model, plain, folder):
            yield finding

"""A run as Markdown and as one HTML page, with every table and plot. Needs the extra ``report``."""

import base64
import html
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from etsearch.boundary.files import write_whole
from etsearch.errors import ConfigError, MissingDependencyError, RecordError
from etsearch.evaluation.report import plots, tables
from etsearch.evaluation.report.results import Results
from etsearch.types import Identity

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto; margin: 0.6rem 0 1.6rem; }
th, td { padding: 3px 9px; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, td:nth-child(2), th:nth-child(2) { text-align: left; }
th { border-bottom: 2px solid #888; } img { max-width: 100%; } code { background: #f2f2f2; padding: 0 3px; }
"""


def write_report(results: Results, folder: Path) -> list[Path]:
    """Writes ``report.md``, ``report.html`` (one file, no network) and the plots as PNG and SVG.

    Returns the files. Raises RecordError if no search is done, MissingDependencyError without the extra.
    """
    if not results.cells:
        where = ", ".join(str(run.path) for run in results.runs)
        raise RecordError(f"no search of {where} is done; there is nothing to report")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; give a folder for the report")
    folder.mkdir(parents=True, exist_ok=True)
    files, images = [], {}
    for name, draw in plots.ALL.items():
        figure = draw(results)
        if figure is None:
            continue
        for suffix in ("png", "svg"):
            path = folder / f"{name}.{suffix}"
            figure.savefig(path, dpi=130, metadata={"Date": None} if suffix == "svg" else None)
            files.append(path)
        images[name] = folder / f"{name}.png"
        plots.pyplot().close(figure)
    text = "\n\n".join(_parts(results, images))
    inside = {path.name: path.read_bytes() for path in images.values()}
    for path, content in ((folder / "report.md", text + "\n"), (folder / "report.html", page(text, inside))):
        write_whole(path, content.encode())
        files.append(path)
    return files


def _parts(results: Results, images: Mapping[str, Path]) -> Iterator[str]:
    yield f"# {', '.join(run.recipe.name for run in results.runs)}"
    yield "\n".join(f"- {line}" for line in about(results))
    place = {tables.figure_2: "figure-2", tables.table_1: "figure-3", tables.votes: "votes"}
    place |= {tables.engine: "cache", tables.seconds: "seconds", tables.depths: "depths"}
    for make in tables.ALL:
        table = make(results)
        if not table.rows:
            continue
        yield table.markdown()
        name = place.get(make, "")
        if name in images:
            yield f"![{table.title}]({images[name].name})"


def about(results: Results) -> list[str]:
    """What was run, with what, where and when: a line each."""
    lines = []
    for run in results.runs:
        last = run.manifest.sessions[-1]
        git = last.git
        state = f"commit {git.commit[:10]}{' (changed)' if git.dirty else ''}" if git else "no repository"
        recipe, begun = run.recipe, run.manifest.sessions[0].started_at
        lines.append(
            f"Run `{recipe.name}`: data `{recipe.data}`, widths {_list(recipe.widths)}, seeds {_list(recipe.seeds)}, "
            f"{_list(recipe.concurrency)} searches in flight; etsearch {last.etsearch}, {state}; begun {begun}."
        )
        lines += [f"Notice: {notice}" for notice in run.notices]
    manifest = results.runs[0].manifest
    for name, identity in manifest.identities.items():
        lines.append(f"{name.capitalize()}: {_identity(identity)}.")
    last = manifest.sessions[-1]
    lines.append(f"Machine: {last.cpu}, {last.cores} cores, {last.memory_gib} GiB; {last.platform}.")
    lines.append(f"Grader: {results.grader}. {results.problems} problems, {len(results.failed)} searches failed.")
    lines += _losses(results) + _notes(results)
    lines += [f"Failed: {', '.join(map(str, r.key))}: {r.error}" for r in results.failed[:20]]
    return lines


def _notes(results: Results) -> list[str]:
    """Where searches were run otherwise than asked for."""
    told = Counter(re.sub(r"\d+", "…", note) for records in results.cells.values() for r in records for note in r.notes)
    return [f"In {count} searches {note}." for note, count in told.items()]


def _losses(results: Results) -> list[str]:
    """What was lost to failures: whole searches, which no table counts, and requests of those that tables count."""
    lines = []
    for cell, count in Counter((r.strategy, r.width) for r in results.failed).items():
        lines.append(f"`{cell[0]}` at width {cell[1]}: {count} searches failed; no table counts them.")
    lossy = [r for records in results.cells.values() for r in records if r.failures]
    if lossy:
        reasons = Counter(re.sub(r"\d+", "…", f) for r in lossy for f in r.failures)
        (reason, often), total = reasons.most_common(1)[0], sum(reasons.values())
        lines.append(f"{len(lossy)} other searches lost {total} requests to failures; {often} times: {reason}.")
    return lines


def _identity(identity: Identity) -> str:
    parts = [f"`{identity.name}`"]
    if identity.num_parameters:
        parts.append(f"{identity.num_parameters:,} parameters")
    if identity.engine:
        parts.append(identity.engine)
    if identity.sha256:
        parts.append(f"sha256 {identity.sha256[:12]}")
    return ", ".join(parts)


def _list(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))


def page(text: str, images: Mapping[str, bytes]) -> str:
    """Markdown as one page, in which its images lie: PNGs by the names that the text has for them.

    Raises:
        MissingDependencyError: the extra ``report`` is not installed.
    """
    try:
        from markdown_it import MarkdownIt  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("a report", "report") from error
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    for name, content in images.items():
        inside = base64.b64encode(content).decode()
        body = body.replace(f'src="{name}"', f'src="data:image/png;base64,{inside}"')
    title = html.escape(text.splitlines()[0].removeprefix("# "))
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}</body></html>\n'

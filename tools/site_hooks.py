"""What the documentation site has beside ``docs/``: the README as its first page, and the changelog.

Hooks of MkDocs, see ``mkdocs.yml``. Links from a page to a file that is not on the site become plain text.
"""

import html as html_
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\((?!https?:|#)([^)\s]+)\)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_ROLE = re.compile(r":(?:class|func|meth|attr|mod|data):`~?([\w.]+)`")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that lie elsewhere."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")
    for name, content in (("index.md", readme), ("changelog.md", changes)):
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Takes away links that lead out of the site, such as to recipes."""
    folder = Path(page.file.src_uri).parent

    def plain(match: re.Match[str]) -> str:
        path = match[2].partition("#")[0]
        target = (Path(config.docs_dir) / folder / path).resolve()
        is_outside = not target.is_relative_to(Path(config.docs_dir).resolve())
        is_of_repository = (ROOT / path).exists() and files.get_file_from_path(str(folder / path)) is None
        return match[1] if is_outside or (str(folder) == "." and is_of_repository) else match[0]

    return _LINK.sub(plain, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Formulas become MathML, which browsers show without a script; references in docstrings are names."""

    def formula(match: re.Match[str]) -> str:
        return str(convert(html_.unescape(match[2]), display="block" if match[1] == "div" else "inline"))

    return _ROLE.sub(r"<code>\1</code>", _FORMULA.sub(formula, html).replace("<code>~", "<code>"))

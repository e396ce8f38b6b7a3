"""Folders of models that are made before a server can load them: the miniature ones, and PRMs as classifiers."""

import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from etsearch.boundary.files import write_whole
from etsearch.errors import ConfigError, MissingDependencyError
from etsearch.launch.commands import Way
from etsearch.launch.plan import Wanted
from etsearch.launch.serve import MINIATURE, ServedModel
from etsearch.prms.classifier import is_classifier


def prepare(wanted: Wanted, folder: Path) -> Wanted:
    """The server with the folder of its model, which is made below ``folder`` unless it is there.

    A PRM's folder that is a classifier already is served as it stands.

    Raises:
        ConfigError: a PRM that must become a classifier is no folder on this machine, or cannot become one.
        MissingDependencyError: neither this interpreter nor the server's has what making it needs.
    """
    models = (folder / "models").resolve()
    if wanted.place.model == MINIATURE:
        out = models / wanted.place.name
        if not (out / "model.safetensors").is_file():
            needs = ("openvino", "safetensors")
            _run("etsearch.minimath.hugging_face", [str(models)], needs, "local,tokenizers", wanted.served)
        wanted = wanted.serving(out)
    return _as_classifier(wanted, models) if wanted.way is Way.CLASSIFY else wanted


def _as_classifier(wanted: Wanted, models: Path) -> Wanted:
    source, family = Path(wanted.place.model), wanted.family
    if is_classifier(source):
        return wanted
    if family is None or not source.is_dir():
        raise ConfigError(
            f"the PRM {wanted.place.model} is served as a classifier, which is made from its files; have them on this "
            f"machine (hf download {wanted.place.model} --local-dir FOLDER), and give 'model: FOLDER'"
        )
    row = family.model_dump_json(exclude_defaults=True)
    digest = hashlib.sha256(f"{source}\0{row}".encode()).hexdigest()[:12]
    out = models / f"{wanted.place.name}-classifier-{digest}"
    if not out.is_dir():
        models.mkdir(parents=True, exist_ok=True)
        told = models / f"{family.name}-{digest}.json"
        write_whole(told, row.encode())
        arguments, needs = [str(source), str(out), str(told)], ("torch", "safetensors")
        _run("etsearch.prms.classifier", arguments, needs, "transformers,tokenizers", wanted.served)
    return wanted.serving(out)


def _run(module: str, arguments: Sequence[str], needs: Sequence[str], extra: str, served: ServedModel) -> None:
    """Runs a module of this package in the first interpreter that has what it needs: this one, or the server's."""
    program = _interpreter(needs, served)
    if program is None:
        raise MissingDependencyError(f"{module} (or the server's interpreter, with etsearch in it)", extra)
    done = subprocess.run([program, "-m", module, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).strip().splitlines()[-1:])
        raise ConfigError(f"{module} {' '.join(arguments)} failed: {said or f'exit code {done.returncode}'}")


def _interpreter(needs: Sequence[str], served: ServedModel) -> str | None:
    if all(importlib.util.find_spec(name) is not None for name in needs):
        return sys.executable
    if served.python is None:
        return None
    own = str(Path(served.python).expanduser())
    tried = [own, "-c", f"import {', '.join(['etsearch', *needs])}"]
    return own if subprocess.run(tried, capture_output=True, check=False).returncode == 0 else None  # noqa: S603

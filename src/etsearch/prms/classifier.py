"""A PRM as a classifier for vLLM's ``/pooling``: what the family's head computes, as the linear layer of such a model.

    python -m etsearch.prms.classifier SOURCE OUT [FAMILY]
    vllm serve OUT --runner pooling --convert classify --pooler-config '{"task": "token_classify"}'

The mean of all logits is one output whose weights are the mean of the output matrix's rows; two labels are two outputs,
their rows; a value head is itself. So a server computes one or two figures a token, and none of the vocabulary. Weights
are linked to, but for those that hold a head, which are written anew without it. Qwen2.5-Math-PRM needs none of
this: vLLM knows it as it is.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from etsearch.errors import ConfigError, EtsearchError, MissingDependencyError
from etsearch.models.codec import FolderCodec
from etsearch.models.files import read_object
from etsearch.prms.families import Head, PrmFamily, find_family
from etsearch.prms.reading import PrmReader

HEAD_FILE: Final = "model-head.safetensors"
_OTHER_WEIGHTS: Final = (".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack")
_INDEX: Final = "model.safetensors.index.json"
_MADE_OF: Final = "classifier_of"


def is_classifier(folder: Path) -> bool:
    """Whether a folder is one that ``write_classifier`` wrote."""
    return (folder / HEAD_FILE).is_file()


def original(folder: Path) -> Path | None:
    """The folder that a classifier was made of, None if it is gone; of any other folder, itself."""
    if not is_classifier(folder):
        return folder
    named = read_object(folder / "etsearch.json").get(_MADE_OF)
    source = Path(named) if isinstance(named, str) else None
    return source if source is not None and source.is_dir() else None


def write_classifier(source: Path, out: Path, family: PrmFamily) -> Path:
    """Writes the folder of a classifier that scores as a PRM does.

    Args:
        source: the PRM's Hugging Face folder, with safetensors and ``tokenizer.json``.
        out: the folder to write; it must not exist.
        family: how the PRM is read.

    Raises:
        ConfigError: a folder that is not as expected or is a classifier already, or a head of more than one layer.
        MissingDependencyError: PyTorch or safetensors is not installed.
    """
    if is_classifier(source):
        raise ConfigError(f"{source} is such a classifier already; serve it as it stands")
    try:
        import safetensors.torch  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("Writing a classifier", "transformers") from error
    if out.exists():
        raise ConfigError(f"{out} is there already; give a folder that is not")
    files = sorted(source.glob("*.safetensors"))
    if not files or not (source / "config.json").is_file():
        raise ConfigError(f"{source} holds no config.json or no safetensors; give a Hugging Face model's folder")
    head = _head(source, family)
    whole, out = out, out.with_name(out.name + ".part")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    places: dict[str, str] = dict.fromkeys(head, HEAD_FILE)
    for file in source.iterdir():
        if file.suffix == ".safetensors":
            places |= dict.fromkeys(_without_heads(file, out / file.name), file.name)
        elif file.is_file() and file.name != _INDEX and file.suffix not in _OTHER_WEIGHTS:
            shutil.copy(file, out / file.name)
    _write_config(out, len(head["score.weight"]))
    safetensors.torch.save_file(head, out / HEAD_FILE, metadata={"format": "pt"})
    (out / _INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}, indent=2), encoding="utf-8")
    told = {"prm": family.model_dump(exclude_defaults=True), _MADE_OF: str(source.resolve())}
    (out / "etsearch.json").write_text(json.dumps(told), encoding="utf-8")
    return out.rename(whole)


def _head(source: Path, family: PrmFamily) -> dict[str, Any]:
    """The weights of the linear layer ``[outputs, hidden]``, and its bias where the family has one."""
    from etsearch.prms.transformers import tensor  # noqa: PLC0415

    if family.head is Head.VALUE and len(family.weights) == 1:
        bias = tensor(source, f"{family.weights[0]}.bias")
        named = {"score.weight": tensor(source, f"{family.weights[0]}.weight"), "score.bias": bias}
        return {name: value for name, value in named.items() if value is not None}
    if family.head not in (Head.LABELS, Head.MEAN_LOGIT):
        raise ConfigError(f"the head of {family.name} is no single layer; serve the model as it is")
    matrix = tensor(source, "lm_head.weight")
    if matrix is None:
        matrix = tensor(source, "model.embed_tokens.weight")
    if matrix is None:
        raise ConfigError(f"{source} holds neither lm_head.weight nor model.embed_tokens.weight")
    if family.head is Head.MEAN_LOGIT:
        return {"score.weight": matrix.double().mean(dim=0, keepdim=True).to(matrix.dtype)}
    labels = PrmReader(family, FolderCodec(source)).label_ids
    return {"score.weight": matrix[list(labels or ())].clone()}


def _write_config(out: Path, num_labels: int) -> None:
    path = out / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    kind = config["architectures"][0].partition("For")[0]
    labels = {str(i): f"LABEL_{i}" for i in range(num_labels)}
    config |= {
        "architectures": [f"{kind}ForSequenceClassification"],
        "num_labels": num_labels,
        "id2label": labels,
        "label2id": {label: int(i) for i, label in labels.items()},
        "problem_type": "multi_label_classification",
    }
    config.pop("auto_map", None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _without_heads(file: Path, out: Path) -> list[str]:
    """Links to a file of weights, or writes it anew if it holds more than the language model; gives the names."""
    import safetensors.torch  # noqa: PLC0415

    with safetensors.safe_open(file, "pt") as tensors:
        names = list(tensors.keys())
        kept = [name for name in names if name.startswith("model.")]
        if all(name.startswith(("model.", "lm_head.")) for name in names):
            out.symlink_to(file.resolve())
        else:
            weights = {name: tensors.get_tensor(name) for name in kept}
            safetensors.torch.save_file(weights, out, metadata={"format": "pt"})
    return kept


def main(arguments: list[str]) -> None:
    """Writes one classifier."""
    if len(arguments) not in (2, 3):
        raise SystemExit(__doc__)
    source = Path(arguments[0]).expanduser()
    try:
        family = find_family(arguments[2] if len(arguments) == 3 else None, source.name, source)
        print(write_classifier(source, Path(arguments[1]).expanduser(), family))
    except EtsearchError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main(sys.argv[1:])

"""The shipped miniature models as Hugging Face folders, which vLLM, SGLang and transformers load.

    python -m etsearch.minimath.hugging_face FOLDER        # writes FOLDER/minimath-policy and FOLDER/minimath-prm

They are made from the OpenVINO networks that ship: the same weights, in the same half precision.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from etsearch import minimath
from etsearch.errors import ConfigError, MissingDependencyError

MODELS: Final[tuple[Literal["policy", "prm"], ...]] = ("policy", "prm")
_COPIED: Final = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "etsearch.json")


def write(model: Literal["policy", "prm"], folder: Path) -> Path:
    """Writes one model into ``folder``, which is made; what lies there already is written over.

    Raises:
        ConfigError: the shipped network is not laid out as expected: a defect of this package.
        MissingDependencyError: OpenVINO or safetensors is not installed.
    """
    try:
        import safetensors.numpy  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("Writing a Hugging Face folder", "tokenizers") from error
    source = minimath.model_path(model)
    folder.mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        if (source / name).is_file():
            shutil.copy(source / name, folder / name)
    safetensors.numpy.save_file(weights(source), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def weights(source: Path) -> dict[str, NDArray[Any]]:
    """The weights of a network by the names that a LlamaForCausalLM has for them, in float32."""
    try:
        import openvino as ov  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("Reading the shipped models", "local") from error
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    found: dict[str, NDArray[Any]] = {}
    for node in ov.Core().read_model(source / "openvino_model.xml").get_ordered_ops():
        if node.get_type_name() != "Constant" or not node.get_element_type().is_real():
            continue
        value = np.array(node.data, dtype=np.float32)
        if name := _matrix_name(node):
            found[name] = value
        elif value.shape == (1, 1, config["hidden_size"]):
            found[_norm_name(node)] = value.reshape(-1)
    expected = 2 + 9 * config["num_hidden_layers"]
    if len(found) != expected:
        raise ConfigError(f"{source} holds {len(found)} weights, not {expected}: {', '.join(found)}")
    return found


def _matrix_name(node: Any) -> str | None:
    """``model.…weight`` of a constant that the export named after its parameter; None for any other."""
    name = str(node.get_friendly_name()).removesuffix("_compressed")
    if not name.endswith(".weight"):
        return None
    return "model." + name.partition("model.")[2].removeprefix("model.")


def _norm_name(node: Any) -> str:
    """The name of a norm's weight, which the export lost: told by the matrices that the norm leads to."""
    ahead, seen = [node], set()
    while ahead:
        for target in (t.get_node() for output in ahead.pop(0).outputs() for t in output.get_target_inputs()):
            if target.get_friendly_name() in seen:
                continue
            seen.add(target.get_friendly_name())
            if target.get_type_name() != "MatMul":
                ahead.append(target)
                continue
            matrix = _weight_of(target)
            if ".self_attn.q_proj" in matrix:
                return matrix.replace("self_attn.q_proj", "input_layernorm")
            if ".mlp.gate_proj" in matrix:
                return matrix.replace("mlp.gate_proj", "post_attention_layernorm")
            if ".layers." not in matrix:
                return "model.norm.weight"
    raise ConfigError(f"the network's norm {node.get_friendly_name()} leads to no matrix")


def _weight_of(product: Any) -> str:
    """The name of the matrix in a product; empty for one that the export made anew, which is the output's."""
    node = product.input_value(1).get_node()
    while node.get_input_size():
        node = node.input_value(0).get_node()
    return _matrix_name(node) or ""


def main(arguments: list[str]) -> None:
    """Writes both models."""
    if len(arguments) != 1:
        raise SystemExit(__doc__)
    for model in MODELS:
        print(write(model, Path(arguments[0]) / f"minimath-{model}"))


if __name__ == "__main__":
    main(sys.argv[1:])

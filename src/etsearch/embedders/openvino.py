"""Sentence embedders in this process by OpenVINO GenAI."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, final

from numpy.typing import ArrayLike

from etsearch.boundary.files import to_path
from etsearch.embedders.in_process import InProcessEmbedder
from etsearch.errors import ConfigError, MissingDependencyError
from etsearch.registry import needs

Pooling = Literal["mean", "cls", "last_token"]

_FILES: Final = ("openvino_model.xml", "openvino_tokenizer.xml")


@final
@needs(extra="local", module="openvino_genai")
class OpenVinoEmbedder(InProcessEmbedder):
    """An encoder from an OpenVINO IR folder, on the CPU, in float32.

    Such a folder is made by ``optimum-cli export openvino --model MODEL --task feature-extraction --library
    transformers PATH``; without the library named, a sentence embedder is exported with a second output, which
    OpenVINO GenAI does not take. The last layer's tokens are pooled here. A text longer than the exported tokenizer
    allows is cut at its end.

    Args:
        path: the folder, with ``openvino_model.xml`` and ``openvino_tokenizer.xml``.
        pooling: what stands for the text: the mean over its tokens, its first token (``cls``), or its last one. The
            model's card says which; ``1_Pooling/config.json`` beside the original, too.
        max_batch: texts that the model reads at once at most, 1 to 65,536.

    Raises:
        ConfigError: the folder holds no such model, or ``max_batch`` is below 1.
        MissingDependencyError: openvino-genai is not installed.
    """

    def __init__(self, path: str | Path, pooling: Pooling = "mean", max_batch: int = 64) -> None:
        super().__init__(max_batch)
        self._pipeline = _load(to_path(path, "the model"), pooling)

    def _embed_batch(self, texts: list[str]) -> Iterable[ArrayLike]:
        return list(self._pipeline.embed_documents(texts))


def _load(folder: Path, pooling: Pooling) -> Any:
    export = f"optimum-cli export openvino --model MODEL --task feature-extraction --library transformers {folder}"
    if missing := [name for name in _FILES if not (folder / name).is_file()]:
        raise ConfigError(f"{folder} holds no {' and no '.join(missing)}; export an encoder into it: {export}")
    try:
        from openvino_genai import TextEmbeddingPipeline  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("the embedder 'openvino'", "local") from error
    kinds = TextEmbeddingPipeline.PoolingType
    kind = {"mean": kinds.MEAN, "cls": kinds.CLS, "last_token": kinds.LAST_TOKEN}[pooling]
    try:
        return TextEmbeddingPipeline(
            str(folder), "CPU", pooling_type=kind, normalize=True, INFERENCE_PRECISION_HINT="f32"
        )
    except RuntimeError as error:
        raise ConfigError(
            f"OpenVINO GenAI cannot read the encoder {folder}; it needs one output, the last layer of every token, as "
            f"of {export}. It says: {' '.join(str(error).split())}"
        ) from error

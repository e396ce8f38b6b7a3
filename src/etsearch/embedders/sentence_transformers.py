"""Sentence embedders in this process by the library sentence-transformers."""

from collections.abc import Iterable
from typing import Any, final

from numpy.typing import ArrayLike

from etsearch.embedders.in_process import InProcessEmbedder
from etsearch.errors import ConfigError, MissingDependencyError
from etsearch.models.pytorch import check_device
from etsearch.registry import needs


@final
@needs(extra="sentence-transformers", module="sentence_transformers")
class SentenceTransformersEmbedder(InProcessEmbedder):
    """Any model that sentence-transformers loads.

    The ETS paper's is ``math-similarity/Bert-MLM_arXiv-MP-class_zbMath``, a BERT whose masked language modelling was
    trained further on mathematics. Its folder says nothing of sentences; of such a one, as of any plain Hugging Face
    encoder, the library takes the mean over the last layer's tokens. A text longer than the model reads is cut at its
    end.

    Args:
        name_or_path: a folder, or a model's name on the Hugging Face hub, which is fetched when it is first used.
        device: where PyTorch computes: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        max_batch: texts that the model reads at once at most, 1 to 65,536.

    Raises:
        ConfigError: the model cannot be loaded, there is no such device, or ``max_batch`` is below 1.
        MissingDependencyError: sentence-transformers or PyTorch is not installed.
    """

    def __init__(self, name_or_path: str, device: str = "cpu", max_batch: int = 64) -> None:
        super().__init__(max_batch)
        self._model = _load(name_or_path, device)

    def _embed_batch(self, texts: list[str]) -> Iterable[ArrayLike]:
        rows = self._model.encode(
            texts, batch_size=len(texts), convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
        )
        return list(rows)


def _load(name_or_path: str, device: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("the embedder 'sentence_transformers'", "sentence-transformers") from error
    where = check_device(device)
    try:
        return SentenceTransformer(name_or_path, device=str(where))
    except Exception as error:
        raise ConfigError(
            f"sentence-transformers cannot load {name_or_path!r} on {device!r}: {' '.join(str(error).split())}. Give a "
            "folder with config.json, tokenizer and safetensors, or the name of a model on a hub that can be reached"
        ) from error

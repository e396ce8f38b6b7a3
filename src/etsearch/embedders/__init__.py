"""Embedders: what places steps, so that they can be clustered."""

from typing import Any, Literal

from etsearch.embedders.base import Embedder
from etsearch.embedders.lexical import LexicalEmbedder
from etsearch.registry import Entry, Registry
from etsearch.servers.conditions import SETTINGS

__all__ = ["EMBEDDERS", "Embedder", "LexicalEmbedder"]

EMBEDDERS: Registry[Embedder] = Registry("embedder")
"""All embedders by name. Add one of your own with ``EMBEDDERS.register``."""


def _sentence_transformers(name_or_path: str, device: str = "cpu", max_batch: int = 64) -> Embedder:
    from etsearch.embedders.sentence_transformers import SentenceTransformersEmbedder  # noqa: PLC0415

    return SentenceTransformersEmbedder(name_or_path, device=device, max_batch=max_batch)


def _openvino(path: str, pooling: Literal["mean", "cls", "last_token"] = "mean", max_batch: int = 64) -> Embedder:
    from etsearch.embedders.openvino import OpenVinoEmbedder  # noqa: PLC0415

    return OpenVinoEmbedder(path, pooling=pooling, max_batch=max_batch)


def _http(address: str, max_batch: int = 32, **conditions: Any) -> Embedder:
    from etsearch.embedders.http import HttpEmbedder  # noqa: PLC0415
    from etsearch.servers.pool import pool_at  # noqa: PLC0415

    # An address by itself is a specification too: of http://HOST the name is "http" and the argument "//HOST".
    whole = f"http:{address}" if address.startswith("//") else address
    return HttpEmbedder.at(pool_at(whole, conditions), max_batch)


EMBEDDERS.register(
    Entry("lexical", "no model: letters of words, values of numbers", LexicalEmbedder, parameters=("num_dimensions",))
)
EMBEDDERS.register(
    Entry(
        "sentence_transformers",
        "a sentence embedder or any encoder, in process with PyTorch",
        _sentence_transformers,
        parameters=("device", "max_batch"),
        takes_argument="NAME_OR_PATH",
        extra="sentence-transformers",
        module="sentence_transformers",
    )
)
EMBEDDERS.register(
    Entry(
        "openvino",
        "an OpenVINO IR folder of an encoder, in process",
        _openvino,
        parameters=("pooling", "max_batch"),
        takes_argument="PATH",
        extra="local",
        module="openvino_genai",
    )
)
EMBEDDERS.register(
    Entry(
        "http",
        "a model behind /v1/embeddings (vLLM, Text Embeddings Inference), or replicas",
        _http,
        ("max_batch", *SETTINGS),
        "http://HOST:PORT[/MODEL][,…]",
        SETTINGS,
    )
)

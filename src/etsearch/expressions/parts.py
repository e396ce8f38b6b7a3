"""The parts of the world of expressions: its two models, in process."""

from typing import Literal

from etsearch import expressions
from etsearch.generators.openvino import OpenVinoGenerator
from etsearch.prms.openvino import OpenVinoRewardModel
from etsearch.registry import needs


@needs(extra="local", module="openvino_genai")
def generator(
    cache_gb: int = 1,
    num_kv_blocks: int | None = None,
    max_num_seqs: int = 256,
    precision: Literal["f32", "bf16", "f16"] | None = "f32",
) -> OpenVinoGenerator:
    """The shipped model of the world of expressions, in process.

    Args:
        cache_gb: size of the KV cache, 1 to 65,536.
        num_kv_blocks: the same in blocks of 32 tokens, 1 to 2^25, for a small one.
        max_num_seqs: sequences in a step at most, 1 to 65,536.
        precision: what the model computes in; f32 gives the same on every kind of CPU.
    """
    return OpenVinoGenerator(
        str(expressions.model_path("policy")),
        cache_gb=cache_gb,
        num_kv_blocks=num_kv_blocks,
        max_num_seqs=max_num_seqs,
        precision=precision,
        read_question=expressions.read_question,
    )


@needs(extra="local", module="openvino_genai")
def reward_model(max_batch: int = 64) -> OpenVinoRewardModel:
    """The shipped reward model of the world of expressions, in process.

    Args:
        max_batch: trajectories that are read at once at most, 1 to 65,536.
    """
    path = expressions.model_path("prm")
    return OpenVinoRewardModel(path, max_batch=max_batch, read_question=expressions.read_question)

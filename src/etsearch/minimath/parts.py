"""The parts of the miniature world: its two models, in process, and their stand-ins without a model."""

from typing import Literal

from etsearch import minimath
from etsearch.generators.openvino import OpenVinoGenerator
from etsearch.generators.scripted import ScriptedGenerator
from etsearch.prms.openvino import OpenVinoRewardModel
from etsearch.prms.scripted import ScriptedRewardModel
from etsearch.registry import needs


@needs(extra="local", module="openvino_genai")
def generator(
    cache_gb: int = 1,
    num_kv_blocks: int | None = None,
    max_num_seqs: int = 256,
    precision: Literal["f32", "bf16", "f16"] | None = "f32",
) -> OpenVinoGenerator:
    """The shipped miniature model, in process.

    Args:
        cache_gb: size of the KV cache, 1 to 65,536.
        num_kv_blocks: the same in blocks of 32 tokens, 1 to 2^25, for a small one.
        max_num_seqs: sequences in a step at most, 1 to 65,536.
        precision: what the model computes in; f32 gives the same on every kind of CPU.
    """
    return OpenVinoGenerator(
        str(minimath.model_path("policy")),
        cache_gb=cache_gb,
        num_kv_blocks=num_kv_blocks,
        max_num_seqs=max_num_seqs,
        precision=precision,
        read_question=minimath.read_question,
    )


@needs(extra="local", module="openvino_genai")
def reward_model(max_batch: int = 64) -> OpenVinoRewardModel:
    """The shipped miniature model, in process.

    Args:
        max_batch: trajectories that are read at once at most, 1 to 65,536.
    """
    path = minimath.model_path("prm")
    return OpenVinoRewardModel(path, max_batch=max_batch, read_question=minimath.read_question)


def scripted_generator(delay_s: float = 0.0) -> ScriptedGenerator:
    """No model: a program that solves minimath, now and then wrongly.

    Args:
        delay_s: seconds to wait before answering a request, at most 3,600.
    """
    return ScriptedGenerator(
        minimath.scripted.write_step, format=minimath.FORMAT, delay_s=delay_s, read_question=minimath.read_problem
    )


def scripted_reward_model(delay_s: float = 0.0) -> ScriptedRewardModel:
    """No model: a checker of minimath with noise.

    Args:
        delay_s: seconds to wait before answering a request, at most 3,600.
    """
    # The name is that of records: one of another name would be another reward model, and no run could go on.
    return ScriptedRewardModel(minimath.scripted.reward_of, delay_s=delay_s, name="judge")

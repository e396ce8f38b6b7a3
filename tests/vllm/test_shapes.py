"""Parameters as the planner counts them against models that transformers builds, without their weights."""

import pytest

from etsearch.planning.layouts import read_layout

pytestmark = pytest.mark.vllm

DENSE = {
    "hidden_size": 96,
    "intermediate_size": 200,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 320,
    "pad_token_id": 0,
}
WIDE = DENSE | {"head_dim": 32}
QWEN_MOE = {"num_experts_per_tok": 3, "moe_intermediate_size": 40}
LATENT = DENSE | {
    "num_key_value_heads": 6,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 20,
    "qk_rope_head_dim": 12,
    "v_head_dim": 28,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 40,
    "first_k_dense_replace": 2,
    "n_group": 2,
    "topk_group": 1,
}
MODELS = [
    ("llama", DENSE),
    ("llama", DENSE | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 32}),
    ("granite", DENSE | {"attention_bias": True, "mlp_bias": True}),
    ("mistral", WIDE),
    ("phi3", DENSE),
    ("qwen2", DENSE),
    ("qwen2", DENSE | {"tie_word_embeddings": True}),
    ("qwen3", WIDE),
    ("qwen3", WIDE | {"attention_bias": True}),
    ("olmo2", DENSE),
    ("gemma", WIDE),
    ("gemma2", WIDE),
    ("gemma3_text", WIDE),
    ("mixtral", DENSE | {"num_local_experts": 8, "num_experts_per_tok": 2}),
    ("qwen2_moe", DENSE | QWEN_MOE | {"num_experts": 8, "shared_expert_intermediate_size": 56}),
    (
        "qwen2_moe",
        DENSE
        | QWEN_MOE
        | {"num_experts": 8, "shared_expert_intermediate_size": 56, "qkv_bias": False}
        | {"decoder_sparse_step": 2, "mlp_only_layers": [3]},
    ),
    ("qwen3_moe", WIDE | QWEN_MOE | {"num_experts": 8, "mlp_only_layers": [0]}),
    ("deepseek_v2", LATENT | {"q_lora_rank": None}),
    ("deepseek_v2", LATENT | {"q_lora_rank": 36, "attention_bias": True}),
    ("deepseek_v3", LATENT | {"q_lora_rank": 36}),
]


def count(model):
    """Numbers in the weights and the buffers that are stored, what is tied once."""
    return sum(
        value.numel() for value in {id(value): value for value in model.state_dict(keep_vars=True).values()}.values()
    )


@pytest.mark.parametrize(("model_type", "fields"), MODELS, ids=[f"{n}-{m[0]}" for n, m in enumerate(MODELS)])
def test_every_matrix_is_counted(model_type, fields):
    import torch
    import transformers

    config = transformers.AutoConfig.for_model(model_type, **fields)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    values = config.to_dict() | {"architectures": [type(model).__name__]}
    assert read_layout(values, "tiny", "config.json").num_parameters == count(model)


@pytest.mark.parametrize("kind", ["SequenceClassification", "TokenClassification"])
def test_the_head_of_a_classifier_is_counted(kind):
    import torch
    import transformers

    config = transformers.AutoConfig.for_model("qwen2", **DENSE, num_labels=3)
    with torch.device("meta"):
        model = getattr(transformers, f"AutoModelFor{kind}").from_config(config)
    values = config.to_dict() | {"architectures": [type(model).__name__]}
    assert read_layout(values, "tiny", "config.json").num_parameters == count(model)

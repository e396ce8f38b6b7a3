"""Shapes of models: parameters exact to one, what a step reads, what a token keeps, what a card holds."""

import json
from pathlib import Path

import pytest
import yaml

from etsearch.errors import ConfigError
from etsearch.planning.models import Precision, find_shape, read_shape, shapes

RECIPES = Path(__file__).parents[2] / "recipes"

LLAMA_2_7B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}
MIXTRAL_8X7B = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_experts_per_tok": 2,
    "num_local_experts": 8,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
}
QWEN3_30B_A3B = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "attention_bias": False,
    "decoder_sparse_step": 1,
    "head_dim": 128,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "max_window_layers": 48,
    "mlp_only_layers": [],
    "moe_intermediate_size": 768,
    "num_attention_heads": 32,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
DEEPSEEK_V2_LITE = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "attention_bias": False,
    "first_k_dense_replace": 1,
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "kv_lora_rank": 512,
    "moe_intermediate_size": 1408,
    "moe_layer_freq": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_attention_heads": 16,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 27,
    "num_key_value_heads": 16,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "tie_word_embeddings": False,
    "vocab_size": 102400,
}
DEEPSEEK_V3 = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "attention_bias": False,
    "first_k_dense_replace": 3,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "moe_intermediate_size": 2048,
    "moe_layer_freq": 1,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "quantization_config": {"quant_method": "fp8"},
    "tie_word_embeddings": False,
    "vocab_size": 129280,
}


@pytest.fixture
def read(tmp_path):
    """Writes a config as a model's folder has it, and reads its shape."""

    def write(config, **changes):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        values = {key: value for key, value in (config | changes).items() if value is not ...}
        (folder / "config.json").write_text(json.dumps(values))
        return read_shape(folder)

    return write


@pytest.mark.parametrize(
    ("config", "num_parameters"),
    [
        (LLAMA_2_7B, 6_738_415_616),
        (MIXTRAL_8X7B, 46_702_792_704),
        (QWEN3_30B_A3B, 30_532_122_624),
        (DEEPSEEK_V2_LITE, 15_706_484_224),
        (DEEPSEEK_V3, 671_026_419_200),
    ],
    ids=["llama-2-7b", "mixtral-8x7b", "qwen3-30b-a3b", "deepseek-v2-lite", "deepseek-v3"],
)
def test_parameters_are_those_of_the_published_weights(read, config, num_parameters):
    assert read(config).num_parameters == num_parameters


def dense(model_type, architecture, sizes, **more):
    """A config of: hidden, intermediate, layers, heads, heads of keys and values, of one head, vocabulary."""
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    fields = dict(zip((*keys, "head_dim", "vocab_size"), sizes, strict=True))
    return {"model_type": model_type, "architectures": [architecture]} | fields | more


@pytest.mark.parametrize(
    ("config", "num_parameters"),
    [
        (dense("phi3", "Phi3ForCausalLM", (3072, 8192, 32, 32, 32, None, 32064)), 3_821_079_552),
        (dense("gemma", "GemmaForCausalLM", (2048, 16384, 18, 8, 1, 256, 256000)), 2_506_172_416),
        (dense("gemma2", "Gemma2ForCausalLM", (2304, 9216, 26, 8, 4, 256, 256000)), 2_614_341_888),
        (dense("gemma3_text", "Gemma3ForCausalLM", (1152, 6912, 26, 4, 1, 256, 262144)), 999_885_952),
        (
            dense("qwen3", "Qwen3ForCausalLM", (1024, 3072, 28, 16, 8, 128, 151936), tie_word_embeddings=True),
            596_049_920,
        ),
    ],
    ids=["phi-3-mini", "gemma-2b", "gemma-2-2b", "gemma-3-1b", "qwen3-0.6b"],
)
def test_dense_families_count_what_is_peculiar_to_them(read, config, num_parameters):
    assert read(config).num_parameters == num_parameters


def test_biases_are_counted_where_a_config_asks_for_them(read):
    assert read(LLAMA_2_7B, attention_bias=True).num_parameters == 6_738_415_616 + 32 * 4 * 4096
    assert read(LLAMA_2_7B, mlp_bias=True).num_parameters == 6_738_415_616 + 32 * (2 * 11008 + 4096)
    attention = 1536 + 512 + 64 + 7168
    assert read(DEEPSEEK_V3, attention_bias=True).num_parameters == 671_026_419_200 + 61 * attention
    attention = 512 + 64 + 2048
    assert read(DEEPSEEK_V2_LITE, attention_bias=True).num_parameters == 15_706_484_224 + 27 * attention
    assert read(dense("olmo2", "Olmo2ForCausalLM", (96, 200, 5, 6, 2, None, 320))).num_parameters == (
        2 * 320 * 96 + 96 + 5 * (2 * 96 * 96 + 2 * 96 * 32 + 96 + 32 + 3 * 96 * 200 + 2 * 96)
    )


def test_experts_are_in_the_layers_that_a_config_says(read):
    shape = read(DEEPSEEK_V2_LITE)
    assert shape.experts.num_layers == 26
    assert read(DEEPSEEK_V2_LITE, moe_layer_freq=2).experts.num_layers == 13  # 2, 4 … 26
    assert read(DEEPSEEK_V2_LITE, first_k_dense_replace=27).experts is None
    assert read(DEEPSEEK_V2_LITE, n_routed_experts=None).experts is None
    assert read(QWEN3_30B_A3B, num_experts=0).experts is None


@pytest.mark.parametrize(
    ("name", "num_parameters"),
    [
        ("codellama/CodeLlama-34b-hf", 33_743_970_304),
        ("tkitsers/Llemma-metamath-34b", 33_743_970_304),
        ("mistralai/Mistral-7B-v0.1", 7_241_732_096),
        ("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248),
        ("meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400),
        ("meta-llama/Llama-3.2-3B-Instruct", 3_212_749_824),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304),
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1_777_088_000),
    ],
)
def test_parameters_of_what_ships_are_those_of_the_published_weights(name, num_parameters):
    assert find_shape(name).num_parameters == num_parameters


def test_the_models_of_every_recipe_are_known_without_a_network():
    served = [
        served["model"]
        for recipe in sorted(RECIPES.glob("*.yaml"))
        for served in (yaml.safe_load(recipe.read_text()).get("serve") or {}).values()
    ]
    assert len(served) > 10
    assert [name for name in served if name not in shapes()] == []


@pytest.mark.parametrize("shape", shapes().values(), ids=list(shapes()))
def test_every_shape_says_where_it_is_from_and_what_is_not_confirmed(shape):
    assert shape.source
    assert shape.is_verified != ("not confirmed" in shape.source.lower())
    assert shape.context_tokens >= 4096


def test_a_dense_step_reads_all_but_the_embedding_however_many_rows_it_has(read):
    shape = read(LLAMA_2_7B)
    assert shape.active_parameters == shape.num_parameters - 32000 * 4096
    assert shape.read_parameters(1) == shape.read_parameters(500) == shape.active_parameters
    tied = read(LLAMA_2_7B, tie_word_embeddings=True)
    assert tied.num_parameters == tied.active_parameters == shape.active_parameters


def test_a_mixture_reads_the_experts_that_its_rows_are_expected_to_choose(read):
    shape = read(MIXTRAL_8X7B)
    expert = 32 * 3 * 4096 * 14336
    others = shape.num_parameters - 32000 * 4096 - 8 * expert
    assert shape.active_parameters == others + 2 * expert
    assert shape.read_parameters(1) == pytest.approx(others + 2 * expert, rel=1e-12)
    assert shape.read_parameters(2) == pytest.approx(others + 3.5 * expert, rel=1e-12)  # 8 (1 - 0.75 ** 2)
    assert shape.read_parameters(10_000) == pytest.approx(others + 8 * expert, rel=1e-12)
    assert read(MIXTRAL_8X7B, num_experts_per_tok=8).read_parameters(1) == others + 8 * expert


def test_what_is_active_is_what_the_model_cards_say(read):
    assert read(MIXTRAL_8X7B).active_parameters / 1e9 == pytest.approx(12.9, abs=0.2)
    assert read(QWEN3_30B_A3B).active_parameters + 151936 * 2048 == 3_353_032_704  # the card counts the embedding
    assert read(DEEPSEEK_V2_LITE).active_parameters / 1e9 == pytest.approx(2.4, abs=0.1)
    assert read(DEEPSEEK_V3).active_parameters / 1e9 == pytest.approx(37, abs=0.6)


def test_kv_values_and_attention_of_whole_keys_and_values(read):
    shape = find_shape("codellama/CodeLlama-34b-hf")
    assert shape.kv_values_per_token * Precision.BF16.bytes == 196_608
    assert shape.attention_flops_per_context_token == 4 * 48 * 64 * 128
    assert read(LLAMA_2_7B, num_key_value_heads=1).kv_values_per_token == 2 * 32 * 128


def test_kv_values_and_attention_of_a_compressed_context(read):
    shape = read(DEEPSEEK_V3)
    assert shape.kv_values_per_token == 61 * (512 + 64)
    assert shape.attention_flops_per_context_token == 61 * 128 * (2 * (512 + 64) + 2 * 512)


def test_qwen2_moe_counts_its_dense_layers_and_its_shared_expert(read):
    fields = {"model_type": "qwen2_moe", "architectures": ["Qwen2MoeForCausalLM"], "num_key_value_heads": 16}
    fields |= {"num_attention_heads": 16, "num_hidden_layers": 24, "intermediate_size": 5632, "num_experts": 60}
    fields |= {"num_experts_per_tok": 4, "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632}
    config = QWEN3_30B_A3B | fields | {"head_dim": None}
    whole = read(config)
    assert whole.num_parameters == 14_315_784_192  # Qwen1.5-MoE-A2.7B
    every_other = read(config, decoder_sparse_step=2, mlp_only_layers=[1])
    assert every_other.experts.num_layers == 11
    beside = 2048 * 60 + 3 * 2048 * 5632 + 2048
    mixed = beside + 60 * 3 * 2048 * 1408
    assert whole.num_parameters - every_other.num_parameters == 13 * (mixed - 3 * 2048 * 5632)


@pytest.mark.parametrize(
    ("cards", "kv_heads"),
    [(1, 8), (2, 4), (8, 1), (16, 1), (64, 1)],
)
def test_a_card_of_a_group_holds_its_part_of_the_matrices_and_whole_heads(cards, kv_heads):
    shape = find_shape("codellama/CodeLlama-34b-hf")
    share = shape.split(cards)
    assert share.num_parameters == shape.num_parameters / cards
    assert share.active_parameters == shape.active_parameters / cards
    assert share.read_parameters(7) == shape.read_parameters(7) / cards
    assert share.kv_values_per_token == 2 * 48 * kv_heads * 128
    assert share.attention_flops_per_context_token == shape.attention_flops_per_context_token / cards
    assert share.summed_values_per_row == (0 if cards == 1 else 2 * 48 * 8192)


def test_a_compressed_context_lies_on_every_card(read):
    shape = read(DEEPSEEK_V3)
    assert shape.split(8).kv_values_per_token == shape.kv_values_per_token
    assert shape.split(8).attention_flops_per_context_token == shape.attention_flops_per_context_token / 8


@pytest.mark.parametrize("cards", [3, 7, 8, 14, 56])
def test_cards_must_divide_the_heads_and_share_those_of_keys_and_values(cards):
    shape = find_shape("Qwen/Qwen2.5-7B-Instruct")
    said = f"cannot be split over {cards} cards: it has 28 heads, 4 of keys and values; give 1, 2, 4, 28$"
    with pytest.raises(ConfigError, match=said):
        shape.split(cards)
    assert [shape.split(n).kv_values_per_token // (2 * 28 * 128) for n in (1, 2, 4, 28)] == [4, 2, 1, 1]


def test_the_number_of_cards_and_of_rows_is_checked():
    shape = find_shape("Qwen/Qwen2.5-7B-Instruct")
    with pytest.raises(ConfigError, match="the number of cards is 0; it must be a whole number from 1 to 4,096"):
        shape.split(0)
    with pytest.raises(ConfigError, match="rows is 0; it must be a whole number from 1"):
        shape.read_parameters(0)


@pytest.mark.parametrize(
    ("architecture", "head", "changes"),
    [
        ("LlamaForSequenceClassification", 4096, {"num_labels": 1}),
        ("LlamaForSequenceClassification", 3 * 4096, {"id2label": {"0": "a", "1": "b", "2": "c"}}),
        ("LlamaForTokenClassification", 2 * 4097, {}),
        ("LlamaForProcessRewardModel", 4096 * 4097 + 2 * 4097, {}),
        ("LlamaForRewardModel", 4096 * 4097 + 4097, {}),
        ("LlamaForPrmModel", 4097, {}),
        ("LlamaModel", 0, {}),
    ],
)
def test_the_head_is_that_of_the_architecture(read, architecture, head, changes):
    shape = read(LLAMA_2_7B, architectures=[architecture], tie_word_embeddings=True, **changes)
    assert shape.head_parameters == head
    assert shape.num_parameters == 6_738_415_616 - 32000 * 4096 + head


@pytest.mark.parametrize(
    ("config", "changes", "said"),
    [
        (LLAMA_2_7B, {}, ()),
        (LLAMA_2_7B, {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "sliding_window": 2047}, ("2,047",)),
        (MIXTRAL_8X7B, {"sliding_window": 4096}, ("a window of 4,096 tokens",)),
        (QWEN3_30B_A3B, {"sliding_window": 4096}, ()),
        (QWEN3_30B_A3B, {"sliding_window": 4096, "use_sliding_window": ...}, ()),
        (QWEN3_30B_A3B, {"sliding_window": 4096, "use_sliding_window": True}, ("a window of 4,096 tokens",)),
        (QWEN3_30B_A3B, {"layer_types": ["full_attention"] * 48}, ()),
        (QWEN3_30B_A3B, {"layer_types": ["full_attention", "sliding_attention"] * 24}, ("layers with a window are",)),
        (DEEPSEEK_V3, {}, ("predict further tokens", "quantised")),
    ],
)
def test_what_the_figures_leave_out_is_said(read, config, changes, said):
    notes = read(config, **changes).notes
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))


def test_a_window_does_not_change_what_is_kept(read):
    assert read(MIXTRAL_8X7B, sliding_window=64).kv_values_per_token == read(MIXTRAL_8X7B).kv_values_per_token


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "mamba2"}, "type 'mamba2' keeps a state that is no plain KV cache.*known are llama, "),
        ({"model_type": "jamba"}, "type 'jamba' keeps a state"),
        ({"model_type": "qwen3_next"}, "type 'qwen3_next' keeps a state"),
        ({"layer_types": ["linear_attention"] * 32}, "type 'llama' keeps a state"),
        ({"layer_types": "full"}, "layer_types is 'full'; it must be a list"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "type 't5' is an encoder with a decoder"),
        ({"model_type": "llama4"}, "type 'llama4' is built in a way that is not known here.*known are llama, "),
        ({"model_type": ...}, "model_type is None; it must be text"),
        (
            {"architectures": ["LlamaForCausalLMEagle"]},
            "architecture 'LlamaForCausalLMEagle' is not known.*LlamaForCaus",
        ),
        ({"architectures": ["MyLlamaForCausalLM"]}, "architecture 'MyLlamaForCausalLM' is not known"),
        ({"hidden_size": ...}, "lacks the field hidden_size; it is needed to count parameters"),
        ({"intermediate_size": None}, "lacks the field intermediate_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; it must be a whole number from 1 to 10,000"),
        ({"num_key_value_heads": 5}, "has 32 heads and 5 of keys and values; the second must divide the first"),
        ({"num_key_value_heads": 64}, "num_key_value_heads is 64; it must be a whole number from 1 to 32"),
        ({"num_attention_heads": 30, "num_key_value_heads": 30}, "30 heads do not divide hidden_size, 4096"),
        ({"vocab_size": "many"}, "vocab_size is 'many'; it must be a whole number"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'; it must be true or false"),
    ],
)
def test_what_is_not_known_is_refused_and_never_guessed(read, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said) as raised:
        read(LLAMA_2_7B, **changes)
    assert str(tmp_path) in str(raised.value) or "the second must divide" in said


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (MIXTRAL_8X7B, "num_key_value_heads"),
        (MIXTRAL_8X7B, "num_local_experts"),
        (MIXTRAL_8X7B, "num_experts_per_tok"),
        (QWEN3_30B_A3B, "head_dim"),
        (QWEN3_30B_A3B, "num_experts"),
        (QWEN3_30B_A3B, "moe_intermediate_size"),
        (DEEPSEEK_V3, "kv_lora_rank"),
        (DEEPSEEK_V3, "v_head_dim"),
        (DEEPSEEK_V3, "first_k_dense_replace"),
    ],
)
def test_a_field_that_a_family_needs_is_named(read, config, field):
    with pytest.raises(ConfigError, match=f"config.json lacks the field {field}"):
        read(config, **{field: ...})


def test_a_shape_is_found_by_folder_by_file_and_by_name(read, tmp_path, monkeypatch):
    shape = read(LLAMA_2_7B)
    assert shape.name == "model"
    assert find_shape(tmp_path / "model") == find_shape(str(tmp_path / "model" / "config.json")) == shape
    monkeypatch.chdir(tmp_path)
    assert find_shape("model").num_parameters == shape.num_parameters
    assert find_shape("qwen/qwen2.5-7b-instruct") is shapes()["Qwen/Qwen2.5-7B-Instruct"]


def test_a_name_that_is_not_there_is_told_to_give_the_folder(tmp_path):
    with pytest.raises(
        ConfigError, match=r"'acme/none' is not known here; give the folder of the model, with its config"
    ):
        find_shape("acme/none")
    with pytest.raises(ConfigError, match=r"config\.json does not exist; give the folder of a Hugging Face model"):
        read_shape(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        find_shape(tmp_path / "none")


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": '])
def test_a_file_that_is_no_config_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        read_shape(tmp_path)


@pytest.mark.parametrize(
    ("name", "bytes_each"),
    [("fp32", 4), ("bfloat16", 2), ("BF16", 2), ("half", 2), ("fp8", 1), ("fp8_e4m3", 1), ("int8", 1), ("int4", 0.5)],
)
def test_a_precision_is_found_by_the_names_of_engines(name, bytes_each):
    assert Precision(name).bytes == bytes_each


def test_a_precision_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"the precision is 'fp7'; it must be one of fp32, bf16, .*bfloat16"):
        Precision("fp7")

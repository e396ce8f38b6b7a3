"""Tiny models with random weights, one for each PRM family: the family's architecture, special tokens and token ids.

The tokenizer is byte-level without merges: a token is a byte, but for the family's own tokens, which have the ids that
they have in the real one. Needs PyTorch and transformers.
"""

import json

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 2048,
}


def tokenizer(special, plain=(), *, bos=None, template=None):
    """A byte-level tokenizer; ``special`` and ``plain`` are tokens of their own by id, ``plain`` no special ones."""
    fixed = dict(special) | dict(plain)
    letters = [letter for letter in sorted(pre_tokenizers.ByteLevel.alphabet()) if letter not in fixed]
    size = max(max(fixed.values()) + 1, len(letters) + len(fixed))
    free = iter(sorted(set(range(size)) - set(fixed.values())))
    vocabulary = {**fixed, **{letter: next(free) for letter in letters}}
    vocabulary |= {f"<unused {i}>": i for i in free}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_tokens([AddedToken(t, normalized=False, special=False) for t in dict(plain) if len(t) > 1])
    inner.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in dict(special)])
    named = {"bos_token": bos} if bos else {}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, chat_template=template, **named)


FAMILIES = {
    "math_shepherd": (
        transformers.MistralConfig,
        lambda: tokenizer({"<s>": 1}, {"+": 648, "-": 387, "ки": 12902}, bos="<s>"),
        {"sliding_window": None},
    ),
    "llemma_reward": (transformers.LlamaConfig, lambda: tokenizer({"<s>": 1}, {"ки": 8094}, bos="<s>"), {}),
    "rlhflow_deepseek": (
        transformers.LlamaConfig,
        lambda: tokenizer(
            {
                "<|begin_of_text|>": 300,
                "<|start_header_id|>": 301,
                "<|end_header_id|>": 302,
                "<|eot_id|>": 303,
            },
            {"+": 10, "-": 12, "Yes": 304, "No": 305},
            bos="<|begin_of_text|>",
            template=LLAMA3,
        ),
        {},
    ),
    "skywork": (transformers.Qwen2Config, lambda: tokenizer({"<|endoftext|>": 300}, bos="<|endoftext|>"), {}),
    "qwen_prm": (
        transformers.Qwen2Config,
        lambda: tokenizer(
            {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<extra_0>": 151651},
            template=CHATML,
        ),
        {},
    ),
}
"""Of each architecture: its configuration, its tokenizer, and what its configuration sets beside the sizes."""

MODELS = {
    "math_shepherd": "math_shepherd",
    "llemma_reward": "llemma_reward",
    "rlhflow_deepseek": "rlhflow_deepseek",
    "rlhflow_mistral": "rlhflow_deepseek",
    "judge": "rlhflow_deepseek",
    "label": "rlhflow_deepseek",
    "skywork": "skywork",
    "qwen_prm": "qwen_prm",
}
"""Which tiny model a family is tried with."""


def make(name, folder, *, scale=8.0):
    """Writes a tiny model; ``scale`` is that of its heads: at 8 rewards spread over [0, 1], at 2000 they are 0 or 1."""
    config_class, make_tokenizer, more = FAMILIES[name]
    tokens = make_tokenizer()
    size = len(tokens)
    config = config_class(vocab_size=size, tie_word_embeddings=False, **SIZES, **more)
    torch.manual_seed(len(name))
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=(scale if key == "lm_head.weight" else 3.0) / SIZES["hidden_size"] ** 0.5 / 2)
        if name == "llemma_reward":  # else the mean of so many logits is nearly 0
            model.lm_head.weight += scale * torch.randn(1, SIZES["hidden_size"]) / SIZES["hidden_size"] ** 0.5
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    _add_head(name, folder, scale)
    return folder


def _add_head(name, folder, scale):
    """The heads beside the language model, with the names that the real checkpoints have for them."""
    hidden = SIZES["hidden_size"]
    random = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(shape, generator=random) / hidden**0.5  # noqa: E731
    heads = {
        "skywork": {"v_head.summary.weight": scale * draw(1, hidden), "v_head.summary.bias": torch.tensor([0.3])},
        "qwen_prm": {
            "score.0.weight": scale * draw(hidden, hidden),
            "score.0.bias": draw(hidden),
            "score.2.weight": scale * draw(2, hidden),
            "score.2.bias": draw(2),
        },
    }
    if name not in heads:
        return
    path, config = folder / "model.safetensors", folder / "config.json"
    weights = load_file(path)
    if name == "qwen_prm":
        weights.pop("lm_head.weight")
        values = json.loads(config.read_text()) | {"architectures": ["Qwen2ForProcessRewardModel"], "num_labels": 2}
        config.write_text(json.dumps(values))
    save_file({**weights, **heads[name]}, path, metadata={"format": "pt"})

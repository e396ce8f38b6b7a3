"""Tiny models that stand in for the policies of recipes: architecture, special tokens, chat template and BOS of theirs.

What they write goes by the last token alone, so that it is known: letters, the delimiter, and then letters again or the
answer, after which the solution ends or goes on. Needs PyTorch and transformers.
"""

import math

import torch
import transformers
from tokenizers.processors import TemplateProcessing

from tests.conformance.tiny import CHATML, LLAMA3, SIZES, tokenizer

ANSWER = "The answer is 7."
R1 = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}<｜User｜>{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}"
)
LLAMA3_TOKENS = {
    "<|begin_of_text|>": 128000,
    "<|start_header_id|>": 128006,
    "<|end_header_id|>": 128007,
    "<|eot_id|>": 128009,
}
QWEN_TOKENS = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645}
R1_TOKENS = {
    "<｜end▁of▁sentence｜>": 151643,
    "<｜User｜>": 151644,
    "<｜Assistant｜>": 151645,
    "<｜begin▁of▁sentence｜>": 151646,
}

POLICIES = {
    # architecture, special tokens, delimiter and its id, BOS, EOS, chat template, whether a text gets a BOS
    "llemma": (transformers.LlamaConfig, {"<s>": 1, "</s>": 2}, "ки", 8094, "<s>", "</s>", None),
    "mistral": (transformers.MistralConfig, {"<s>": 1, "</s>": 2}, "ки", 12902, "<s>", "</s>", None),
    "llama3": (transformers.LlamaConfig, LLAMA3_TOKENS, "\n\n", 271, "<|begin_of_text|>", "<|eot_id|>", LLAMA3),
    "qwen": (transformers.Qwen2Config, QWEN_TOKENS, "\n\n", 271, None, "<|im_end|>", CHATML),
    "r1": (transformers.Qwen2Config, R1_TOKENS, "\n\n", 271, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", R1),
}


def make(name, folder):
    """Writes the model of a policy."""
    config_class, special, delimiter, delimiter_id, bos, eos, template = POLICIES[name]
    tokens = tokenizer(special, {delimiter: delimiter_id, ANSWER: 300}, bos=bos, template=template)
    tokens.eos_token = eos
    if bos:
        start = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, special[bos])])
        tokens.backend_tokenizer.post_processor = start
    more = {"sliding_window": None} if config_class is transformers.MistralConfig else {}
    more |= {"eos_token_id": special[eos], "bos_token_id": special.get(bos)}
    config = config_class(vocab_size=len(tokens), tie_word_embeddings=False, **SIZES, **more)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    _write_by_the_last_token(model, tokens, delimiter_id, special[eos])
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


@torch.no_grad()
def _write_by_the_last_token(model, tokens, delimiter, eos):
    """A table of what follows each kind of token, which the layers leave alone."""
    a, b = tokens.convert_tokens_to_ids(["a", "b"])
    following = {
        0: {a: 0.5, b: 0.5},  # whatever a prompt ends with
        1: {a: 0.25, b: 0.25, delimiter: 0.5},  # a letter
        2: {a: 0.35, b: 0.25, 300: 0.4},  # the delimiter
        3: {delimiter: 0.5, eos: 0.5},  # the answer
    }
    kinds = {a: 1, b: 1, delimiter: 2, 300: 3}
    for key, parameter in model.named_parameters():
        if key.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight", "embed_tokens.weight")):
            parameter.zero_()
    size = math.sqrt(SIZES["hidden_size"])
    embeddings = model.get_input_embeddings().weight
    embeddings[:, 0] = size
    for token, kind in kinds.items():
        embeddings[token] = 0.0
        embeddings[token, kind] = size
    for kind, shares in following.items():
        for token, share in shares.items():
            model.lm_head.weight[token, kind] = (40 + math.log(share)) / size

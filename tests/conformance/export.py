"""A tiny model as an OpenVINO network: ids and mask in, what the family's head makes of every token out."""

import shutil
import warnings

import openvino as ov
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

from etsearch.models.codec import FolderCodec
from etsearch.prms.families import Head
from etsearch.prms.reading import PrmReader
from tests.conformance.cases import row


class Headed(nn.Module):
    """Odd families get the whole vocabulary, as an exported language model gives it; the others their head only."""

    def __init__(self, family, folder):
        super().__init__()
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.family = row(family)
        weights = load_file(folder / "model.safetensors")
        self.layers = [(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in self.family.weights]
        self.labels = PrmReader(self.family, FolderCodec(folder)).label_ids if family == "rlhflow_deepseek" else None

    def forward(self, input_ids, attention_mask):
        if not self.layers:
            logits = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
            if self.labels:
                return logits[..., list(self.labels)]
            return logits
        out = self.model.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        for number, (weight, bias) in enumerate(self.layers):
            out = nn.functional.linear(torch.relu(out) if number else out, weight, bias)
        return out


def openvino(family, folder, out):
    example = {"input_ids": torch.full((2, 7), 5), "attention_mask": torch.ones(2, 7, dtype=torch.int64)}
    kinds = {name: ([-1, -1], ov.Type.i64) for name in example}
    inputs = [(name, shape, kind) for name, (shape, kind) in kinds.items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit, by which OpenVINO traces
        network = ov.convert_model(Headed(family, folder), example_input=example, input=inputs)
    ov.save_model(network, out / "openvino_model.xml", compress_to_fp16=False)
    assert row(family).head in Head
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (folder / name).exists():
            shutil.copy(folder / name, out)
    return out

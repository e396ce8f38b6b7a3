"""Turns a checkpoint into the folder that etsearch loads: OpenVINO IR, tokenizer and ``etsearch.json``.

    python training/export.py policy training/runs/policy.pt src/etsearch/minimath/models/policy
    python training/export.py prm training/runs/prm.pt src/etsearch/minimath/models/prm

A checkpoint holds ``{"model": state_dict, "shape": {...}}``. The weights are checked against transformers'
LlamaForCausalLM before the export, and the exported network against PyTorch after it. ``--hugging-face`` keeps
the intermediate folder, which other servers (vLLM, SGLang) can load.
"""

import argparse
import json
import os
import random
import shutil
import tempfile
from pathlib import Path

import openvino as ov
import tokenizers
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import tokenizer as tokens
from chosen import language, world
from model import Llama, Shape
from packing import with_tree_inputs

os.environ.setdefault("HF_HUB_OFFLINE", "1")
LIBRARY_TOLERANCE = 1e-4
"""Largest difference of a logit between the compact Llama and transformers, both in float32."""
NETWORK = "openvino_model.xml"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def load(checkpoint: Path) -> Llama:
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model = Llama(Shape(**state["shape"]))
    model.load_state_dict(state["model"])
    return model.eval()


def write_hugging_face(model: Llama, out: Path) -> None:
    """A LlamaForCausalLM folder with the tokenizer, checked to compute the same logits."""
    shape = model.shape
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_attention_heads,
        max_position_embeddings=shape.max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        rms_norm_eps=shape.rms_norm_eps,
        tie_word_embeddings=True,
        pad_token_id=tokens.PAD,
        bos_token_id=None,
        eos_token_id=tokens.END,
    )
    library = LlamaForCausalLM(config)
    library.load_state_dict({**model.state_dict(), "lm_head.weight": model.model.embed_tokens.weight})
    library.generation_config.update(eos_token_id=tokens.END, pad_token_id=tokens.PAD, bos_token_id=None)
    library.eval().save_pretrained(out)
    tokens.hugging_face().save_pretrained(out)
    check_library(model, out)


@torch.no_grad()
def check_library(model: Llama, folder: Path) -> None:
    library = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = sample_ids(model)
    difference = (library(ids).logits - model.logits(model(ids))).abs().max().item()
    if not difference <= LIBRARY_TOLERANCE:
        raise SystemExit(f"transformers gives other logits: they differ by {difference:.2g} > {LIBRARY_TOLERANCE}")
    print(f"transformers: largest difference of a logit {difference:.2g}")


def sample_ids(model: Llama) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(3, model.shape.vocab_size, (4, 100), generator=generator)


def export_policy(model: Llama, hf: Path, out: Path, weights: str) -> None:
    """The stateful decoder that ContinuousBatchingPipeline turns into paged attention."""
    from optimum.exporters.openvino.__main__ import main_export
    from optimum.intel.openvino.configuration import OVConfig

    with tempfile.TemporaryDirectory() as scratch:
        main_export(
            str(hf),
            scratch,
            task="text-generation-with-past",
            ov_config=OVConfig(dtype="fp32"),
            convert_tokenizer=False,
            library_name="transformers",
            local_files_only=True,
        )
        save_network(ov.Core().read_model(Path(scratch) / NETWORK), out, weights)
        for name in ("config.json", "generation_config.json"):
            shutil.copy(Path(scratch) / name, out)
    write_tokenizer(hf, out)
    format_ = {"template": language.PROMPT, "step_delimiter": "\n", "chat": False}
    write_json(out / "etsearch.json", {"format": format_, "num_parameters": count(model)})
    check_policy(model, out)


class LabelHead(nn.Module):
    """Ids ``[batch, length]`` to the logits of the good and the bad label ``[batch, length, 2]``.

    Rows are padded on the right, which causal attention never sees, so no mask is needed.
    """

    def __init__(self, model: Llama) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("labels", model.model.embed_tokens.weight[[tokens.GOOD, tokens.BAD]].detach().clone())

    def forward(self, input_ids: Tensor) -> Tensor:
        return nn.functional.linear(self.model(input_ids), self.labels)


def export_prm(model: Llama, hf: Path, out: Path, weights: str) -> None:
    head = LabelHead(model).eval()
    network = ov.convert_model(head, example_input=torch.full((2, 5), 7), input=[("input_ids", [-1, -1], ov.Type.i64)])
    network.outputs[0].get_tensor().set_names({"logits"})
    network = with_tree_inputs(network)
    save_network(network, out, weights)
    write_tokenizer(hf, out)
    shutil.copy(hf / "config.json", out)
    spec = {"template": language.PROMPT, "tag": "\n", "good": language.GOOD, "bad": language.BAD}
    write_json(out / "etsearch.json", {"prm": spec, "num_parameters": count(model)})
    check_prm(head, out)


def save_network(network: ov.Model, out: Path, weights: str) -> None:
    """Saves a float32 network; optimum's own conversion to fp16 moved probabilities by 0.1, this one by 0.004."""
    if weights == "int8":
        import nncf

        network = nncf.compress_weights(network, mode=nncf.CompressWeightsMode.INT8_SYM)
    ov.save_model(network, out / NETWORK, compress_to_fp16=weights == "fp16")


def write_tokenizer(hf: Path, out: Path) -> None:
    """The tokenizer and the detokenizer as IR.

    openvino_tokenizers decodes a WordLevel model with a space between tokens, whatever its decoder says. Decoding
    needs no more than the vocabulary, so the detokenizer is converted from a BPE without merges.
    """
    from openvino_tokenizers import convert_tokenizer

    plain = tokenizers.Tokenizer(tokenizers.models.BPE(tokens.IDS, [], unk_token=language.UNKNOWN))
    plain.decoder = tokenizers.decoders.Fuse()
    plain = PreTrainedTokenizerFast(tokenizer_object=plain, **tokens.hugging_face().special_tokens_map)
    ov.save_model(convert_tokenizer(tokens.hugging_face()), out / "openvino_tokenizer.xml")
    _, detokenizer = convert_tokenizer(plain, with_detokenizer=True, clean_up_tokenization_spaces=False)
    ov.save_model(detokenizer, out / "openvino_detokenizer.xml")
    for name in TOKENIZER_FILES:
        if (hf / name).exists():
            shutil.copy(hf / name, out)


def count(model: Llama) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def compiled(out: Path) -> ov.CompiledModel:
    return ov.Core().compile_model(out / NETWORK, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@torch.no_grad()
def check_policy(model: Llama, out: Path) -> None:
    """Says how far the exported network is from the checkpoint; the difference is that of the weights' type."""
    ids = sample_ids(model)
    request = compiled(out).create_infer_request()
    inputs = {
        "input_ids": ids.numpy(),
        "attention_mask": torch.ones_like(ids).numpy(),
        "position_ids": torch.arange(ids.shape[1]).expand(ids.shape).numpy(),
        "beam_idx": torch.arange(len(ids), dtype=torch.int32).numpy(),
    }
    found = torch.from_numpy(request.infer(inputs)["logits"])
    report("policy", found.softmax(-1), model.logits(model(ids)).softmax(-1))
    check_tokenizer(out)


@torch.no_grad()
def check_prm(head: LabelHead, out: Path) -> None:
    ids = sample_ids(head.model)
    length = ids.shape[1]
    inputs = {
        "input_ids": ids.numpy(),
        "position_ids": torch.arange(length).expand(ids.shape).numpy(),
        "attention_mask": torch.full((length, length), -torch.inf).triu(1).expand(len(ids), 1, -1, -1).numpy(),
    }
    report("prm", torch.from_numpy(compiled(out)(inputs)[0]).softmax(-1), head(ids).softmax(-1))
    check_tokenizer(out)


def report(what: str, found: Tensor, wanted: Tensor) -> None:
    difference = (found - wanted).abs().max().item()
    if not difference < 0.05:
        raise SystemExit(f"the exported {what} computes something else: a probability is off by {difference:.2g}")
    print(f"{what}: largest difference of a probability {difference:.2g}")


def check_tokenizer(out: Path) -> None:
    """The tokenizer as IR must agree with training's on problems and solutions, and lose nothing."""
    import openvino_genai

    converted = openvino_genai.Tokenizer(str(out))
    rng = random.Random(0)
    for problem in world.problems("test", 50):
        text = language.PROMPT.format(question=problem.question) + "\n".join(world.solution(problem, rng)) + "\n"
        ids = converted.encode(text, add_special_tokens=False).input_ids.data[0].tolist()
        if ids != tokens.encode(text) or converted.decode(ids) != text:
            raise SystemExit(f"the exported tokenizer differs on {text!r}: {ids}")
    print("tokenizer: exact on 50 problems with solutions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("policy", "prm"))
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path, help="the folder to write; it is emptied first")
    parser.add_argument("--weights", choices=("fp32", "fp16", "int8"), default="fp16")
    parser.add_argument("--hugging-face", type=Path, help="also keep the Hugging Face folder here")
    args = parser.parse_args()
    model = load(args.checkpoint)
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        hf = args.hugging_face or Path(scratch)
        write_hugging_face(model, hf)
        (export_policy if args.kind == "policy" else export_prm)(model, hf, args.out, args.weights)
    size = sum(f.stat().st_size for f in args.out.iterdir())
    print(f"{args.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

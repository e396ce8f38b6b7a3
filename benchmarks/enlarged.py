"""The miniature policy made as costly as a larger model, with the same answers: what is added is zeros.

    python benchmarks/enlarged.py runs/enlarged        # a Hugging Face folder for vLLM, SGLang and transformers

A server adds more to a step than the miniature takes, and a planner of models would be put beside sockets. Here heads,
layers, and width of the residual stream and of the feed-forward are added of which nothing reaches what was there (the
idea is Net2Net's; Chen et al., 2016, arXiv:1511.05641). The engine does not know, and reads and multiplies them all. A
norm is over more numbers now, so its weight and its epsilon change.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import safetensors.numpy

from etsearch.minimath import hugging_face


def enlarge(folder, hidden, layers, feed_forward):
    """Writes over the weights and the ``config.json`` of a folder; returns how many parameters it has then."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    size, groups, old_hidden = config["head_dim"], config["num_key_value_heads"], config["hidden_size"]
    heads, old_group = hidden // size, config["num_attention_heads"] // groups
    least = {"hidden": old_hidden, "layers": config["num_hidden_layers"], "feed_forward": config["intermediate_size"]}
    for name, value in (("hidden", hidden), ("layers", layers), ("feed_forward", feed_forward)):
        if value < least[name]:
            raise SystemExit(f"the model has {name} {least[name]} already; give no less, not {value}")
    if hidden % (size * groups):
        raise SystemExit(f"hidden {hidden} cannot be divided into {groups} groups of heads of {size}")
    stream, queries, keys, inner = hidden, heads * size, groups * size, feed_forward
    # The first heads of each group are the old ones: they read the keys that they read before.
    old_queries = np.arange(queries).reshape(groups, -1)[:, : old_group * size].reshape(-1)
    shapes = {
        "self_attn.q_proj": (queries, stream),
        "self_attn.k_proj": (keys, stream),
        "self_attn.v_proj": (keys, stream),
        "self_attn.o_proj": (stream, queries),
        "mlp.gate_proj": (inner, stream),
        "mlp.up_proj": (inner, stream),
        "mlp.down_proj": (stream, inner),
    }
    old = safetensors.numpy.load_file(folder / "model.safetensors")
    vocabulary = len(old["model.embed_tokens.weight"])
    new = {"model.embed_tokens.weight": np.zeros((vocabulary, stream), np.float32)}
    new |= {
        f"model.layers.{n}.{name}.weight": np.zeros(shape, np.float32)
        for n in range(layers)
        for name, shape in shapes.items()
    }
    norms = ("input_layernorm", "post_attention_layernorm")
    new |= {f"model.layers.{n}.{name}.weight": np.zeros(stream, np.float32) for n in range(layers) for name in norms}
    new["model.norm.weight"] = np.zeros(stream, np.float32)
    for name, value in old.items():
        places = [np.arange(length) for length in value.shape]
        if ".q_proj." in name:
            places[0] = old_queries
        if ".o_proj." in name:
            places[1] = old_queries
        new[name][np.ix_(*places)] = value * (math.sqrt(old_hidden / hidden) if value.ndim == 1 else 1)
    safetensors.numpy.save_file(new, folder / "model.safetensors", metadata={"format": "pt"})
    changes = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": feed_forward,
        "num_attention_heads": heads,
        "rms_norm_eps": config["rms_norm_eps"] * old_hidden / hidden,
    }
    (folder / "config.json").write_text(json.dumps(config | changes, indent=1) + "\n", encoding="utf-8")
    return sum(value.size for value in new.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--feed-forward", type=int, default=1024)
    args = parser.parse_args()
    hugging_face.write("policy", args.folder)
    count = enlarge(args.folder, args.hidden, args.layers, args.feed_forward)
    print(f"{args.folder}: {count / 1e6:.1f} million parameters")


if __name__ == "__main__":
    main()

"""Gives an exported PRM the inputs by which trajectories are packed as trees: positions and a mask.

    python training/packing.py src/etsearch/minimath/models/prm

The network of ``training/model.py`` looks up its rotary tables from 0 on and attends causally. Here the tables are
looked up at ``position_ids`` ``[batch, length]`` and attention takes ``attention_mask`` ``[batch, 1, length, length]``,
which is added to its logits. The weights stay as they are; ``export.py`` does this to every PRM.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

NETWORK = "openvino_model.xml"


def with_tree_inputs(network: ov.Model) -> ov.Model:
    """The same network with positions and mask as inputs, in place."""
    positions = ops.parameter([-1, -1], np.int64, name="position_ids")
    mask = ops.parameter([-1, 1, -1, -1], np.float32, name="attention_mask")
    for parameter in (positions, mask):
        parameter.output(0).set_names({parameter.get_friendly_name()})
    replaced = {"ScaledDotProductAttention": 0, "Slice": 0}
    for node in network.get_ordered_ops():
        kind = node.get_type_name()
        if kind == "ScaledDotProductAttention":
            new = ops.scaled_dot_product_attention(*(node.input_value(i) for i in range(3)), mask, causal=False)
        elif kind == "Slice":  # of a rotary table [positions, head size]
            new = ops.unsqueeze(ops.gather(node.input_value(0), positions, ops.constant(0)), ops.constant([1]))
        else:
            continue
        replaced[kind] += 1
        node.output(0).replace(new.output(0))
    if not replaced["ScaledDotProductAttention"] or replaced["Slice"] != 2:
        raise SystemExit(f"this is no network of training/model.py, or it has these inputs already: {replaced}")
    network.add_parameters([positions, mask])
    network.validate_nodes_and_infer_types()
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    network = with_tree_inputs(ov.Core().read_model(folder / NETWORK))
    with tempfile.TemporaryDirectory() as scratch:
        # The constants are in half precision already; compressing again would only look for more.
        ov.save_model(network, Path(scratch) / NETWORK, compress_to_fp16=False)
        del network
        for file in Path(scratch).iterdir():
            shutil.copy(file, folder / file.name)


if __name__ == "__main__":
    main()

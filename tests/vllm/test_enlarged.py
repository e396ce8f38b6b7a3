"""The policy that the planner is measured with: as costly as a larger model, with the miniature's answers."""

import json
import runpy
from pathlib import Path

import pytest

from etsearch.minimath import hugging_face

pytestmark = [pytest.mark.vllm]
ENLARGED = Path(__file__).parents[2] / "benchmarks" / "enlarged.py"


def test_what_is_added_to_a_model_changes_no_answer(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    small, large = tmp_path / "small", tmp_path / "large"
    hugging_face.write("policy", small)
    hugging_face.write("policy", large)
    enlarge = runpy.run_path(str(ENLARGED))["enlarge"]
    count = enlarge(large, hidden=256, layers=6, feed_forward=512)
    config = json.loads((large / "config.json").read_text(encoding="utf-8"))
    assert (config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]) == (256, 8, 4)
    ids = torch.arange(4, 64)[None]
    with torch.no_grad():
        models = [transformers.AutoModelForCausalLM.from_pretrained(folder).eval() for folder in (small, large)]
        expected, found = (model(ids).logits for model in models)
    assert models[1].num_parameters() == count > 2 * models[0].num_parameters()
    assert torch.allclose(expected, found, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("sizes", "said"), [((64, 6, 512), "hidden 128 already"), ((192, 6, 512), "4 groups")])
def test_a_size_that_cannot_be_is_refused(tmp_path, sizes, said):
    folder = hugging_face.write("policy", tmp_path)
    with pytest.raises(SystemExit, match=said):
        runpy.run_path(str(ENLARGED))["enlarge"](folder, *sizes)

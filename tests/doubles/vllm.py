"""vLLM's protocol over the scripted model; fields that 0.32 does not have are refused."""

import json
from pathlib import Path

from tests.doubles import world
from tests.doubles.http import Double, RefusedError, only

FIELDS = json.loads((Path(__file__).parent / "vllm-0.32.0.json").read_text())
MODEL = "scripted"


class VllmDouble(Double):
    """Generates, or pools if ``pools``. ``cached`` are the prefixes whose tokens count as hits.

    ``chats``: whether it has a chat template; ``refuses_chat`` is why it refuses messages, if it does.
    """

    def __init__(self, folder, *, pools=False, tags_only=False, model=MODEL, chats=False):
        super().__init__()
        self.folder, self.pools, self.tags_only, self.model = folder, pools, tags_only, model
        self.chats, self.refuses_chat = chats, ""
        self.cached, self.queries, self.hits, self.preemptions, self.use = set(), 0, 0, 0, 0.25

    def get(self, path):
        match path:
            case "/health":
                return ""
            case "/version":
                return {"version": "0.32.0"}
            case "/v1/models":
                entry = {"id": self.model, "root": str(self.folder), "max_model_len": world.CONTEXT}
                return {"object": "list", "data": [entry]}
            case "/openapi.json":
                return {"paths": {"/pooling" if self.pools else "/v1/completions": {}}}
            case "/metrics":
                label = f'{{engine="0",model_name="{self.model}"}}'
                return (
                    "# TYPE vllm:kv_cache_usage_perc gauge\n"
                    f"vllm:kv_cache_usage_perc{label} {self.use}\n"
                    f"vllm:prefix_cache_queries_total{label} {float(self.queries)}\n"
                    f"vllm:prefix_cache_queries_created{label} 1.7e9\n"
                    f"vllm:prefix_cache_hits_total{label} {float(self.hits)}\n"
                    f"vllm:num_preemptions_total{label} {float(self.preemptions)}\n"
                    f"vllm:num_requests_running{label} {float(self.num_now)}\n"
                    f"vllm:num_requests_waiting{label} 0.0\n"
                    'vllm:cache_config_info{block_size="32",enable_prefix_caching="True",'
                    'kv_cache_size_tokens="4096",num_gpu_blocks="128"} 1.0\n'
                )
        raise RefusedError(404, f"no {path}")

    async def post(self, path, body):
        if path not in FIELDS or ((path == "/pooling") != self.pools and "tokenize" not in path):
            raise RefusedError(404, f"no {path}")
        only(body, FIELDS[path], path)
        if body.get("model") not in (None, self.model):
            raise RefusedError(404, f"The model `{body['model']}` does not exist.")
        return getattr(self, "post_" + path.split("/")[-1])(body)

    def post_tokenize(self, body):
        if "messages" in body:
            if not self.chats:
                raise RefusedError(
                    400, "default chat template is no longer allowed, so you must provide a chat template"
                )
            if self.refuses_chat:
                raise RefusedError(400, self.refuses_chat)
            body = {"prompt": world.chat(body["messages"])}
        ids = [ord(letter) for letter in body["prompt"]]
        return {"count": len(ids), "max_model_len": world.CONTEXT, "tokens": ids}

    def post_detokenize(self, body):
        return {"prompt": world.text_of(body["tokens"])}

    def _see(self, ids):
        if len(ids) + 1 > world.CONTEXT:
            raise RefusedError(400, f"This model's maximum context length is {world.CONTEXT} tokens.")
        self.queries += len(ids)
        known = max((n for n in range(len(ids)) if tuple(ids[:n]) in self.cached), default=0)
        self.hits += known
        self.cached |= {tuple(ids[:n]) for n in range(len(ids) + 1)}

    def post_completions(self, body):
        prompts = body["prompt"]
        prompts = prompts if isinstance(prompts[0], list) else [prompts]
        choices = []
        for ids in prompts:
            self._see(ids)
            drawn = range(body.get("n", 1))
            choices += [
                self._label(ids, body) if "logprob_token_ids" in body else self._draw(ids, i, body) for i in drawn
            ]
        return {"choices": [{**choice, "index": i} for i, choice in enumerate(choices)]}

    @staticmethod
    def _draw(ids, index, body):
        greedy = body["temperature"] == 0
        if greedy and body.get("n", 1) > 1:
            raise RefusedError(400, "n must be 1 when using greedy sampling")
        limits = {"stops": body["stop"], "max_tokens": body["max_tokens"]}
        found = world.write(world.text_of(ids), seed="greedy" if greedy else body["seed"], index=index, **limits)
        assert body["include_stop_str_in_output"]
        assert body["return_token_ids"]
        return {
            "text": found.text,
            "finish_reason": "length" if found.stop is None else "stop",
            "stop_reason": found.stop if isinstance(found.stop, str) else None,
            "token_ids": found.ids,
            "logprobs": {"token_logprobs": [-0.5] * len(found.ids)} if "logprobs" in body else None,
        }

    @staticmethod
    def _label(ids, body):
        assert body["logprob_token_ids"] == [world.GOOD, world.BAD]
        if body.get("logprobs") is None:
            raise RefusedError(400, "logprob_token_ids needs logprobs")
        logs = dict(zip(body["logprob_token_ids"], world.logs_of(world.text_of(ids)), strict=True))
        told = {f"token_id:{i}": log for i, log in logs.items()} | {"token_id:97": -0.1}
        return {"text": "a", "finish_reason": "length", "logprobs": {"top_logprobs": [told]}}

    def post_generative_scoring(self, body):
        data = []
        for index, item in enumerate(body["items"]):
            assert item, "an item is empty"
            self._see(body["query"] + item)
            share = world.share_good(world.text_of(body["query"] + item))
            data.append({"index": index, "object": "score", "score": share})
        return {"data": data[::-1]}

    def post_pooling(self, body):
        assert body["use_activation"] is False
        data = []
        for index, ids in enumerate(body["input"]):
            rows = []
            for place, token in enumerate(ids):
                is_tag = token == ord("\n") and place and world.text_of(ids[:place]).count("\n")
                good, bad = world.logs_of(world.text_of(ids[: place + 1])) if is_tag else (0.0, 0.0)
                if token == ord("\n") or not self.tags_only:
                    rows.append([good + 5, bad + 5])
            data.append({"index": index, "object": "pooling", "data": rows})
        return {"data": data[::-1]}

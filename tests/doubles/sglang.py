"""SGLang's protocol over the scripted model; fields that 0.5.23 does not have are refused."""

import json
import random
from pathlib import Path

from tests.doubles import world
from tests.doubles.http import Double, RefusedError, only

FIELDS = json.loads((Path(__file__).parent / "sglang-0.5.23.json").read_text())
MODEL = "scripted"


class SglangDouble(Double):
    """``deterministic``: whether seeds are obeyed; else continuations of a request differ whatever its seed.

    ``retracted``: whether it has thrown requests out, three of them.
    ``chats``: whether it has a chat template; ``refuses_chat`` is why it refuses messages, if it does.
    """

    def __init__(self, folder, *, deterministic=True, metrics=True, old_names=False, chats=False, retracted=True):
        super().__init__()
        self.folder, self.deterministic, self.metrics, self.old_names = folder, deterministic, metrics, old_names
        self.retracted = retracted
        self.chats, self.refuses_chat = chats, ""
        self.cached, self.random = set(), random.Random(0)

    def get(self, path):
        renamed = {"/get_server_info": "/server_info", "/get_model_info": "/model_info"}
        if self.old_names and path in renamed.values():
            raise RefusedError(404, f"no {path}")
        match renamed.get(path, path):
            case "/health":
                return ""
            case "/v1/models":
                return {"data": [{"id": MODEL, "object": "model", "root": MODEL, "max_model_len": world.CONTEXT}]}
            case "/model_info":
                return {"model_path": str(self.folder), "tokenizer_path": str(self.folder), "is_generation": True}
            case "/server_info":
                return {
                    "version": "0.5.23",
                    "disable_radix_cache": False,
                    "enable_deterministic_inference": self.deterministic,
                    "max_total_num_tokens": 8192,
                }
            case "/metrics" if self.metrics:
                return (
                    'sglang:token_usage{model_name="scripted"} 0.5\n'
                    'sglang:num_used_tokens{model_name="scripted"} 4100.0\n'
                    'sglang:max_total_num_tokens{model_name="scripted"} 8192.0\n'
                    f'sglang:num_running_reqs{{model_name="scripted"}} {float(self.num_now)}\n'
                    'sglang:num_queue_reqs{model_name="scripted"} 0.0\n'
                    'sglang:num_retracted_reqs{model_name="scripted"} 0.0\n'
                    + ('sglang:num_retracted_requests_total{model_name="scripted"} 3.0\n' if self.retracted else "")
                )
        raise RefusedError(404, f"no {path}")

    async def post(self, path, body):
        if path not in FIELDS:
            raise RefusedError(404, f"no {path}")
        only(body, FIELDS[path], path)
        return getattr(self, "post_" + path.split("/")[-1])(body)

    def post_tokenize(self, body):
        if body.get("messages"):
            if not self.chats:
                raise RefusedError(400, "the tokenizer has no chat template")
            if self.refuses_chat:
                raise RefusedError(400, self.refuses_chat)
            body = {"prompt": world.chat(body["messages"])}
        return {"tokens": [ord(letter) for letter in body["prompt"]], "count": len(body["prompt"])}

    def post_detokenize(self, body):
        return {"text": world.text_of(body["tokens"])}

    def post_generate(self, body):
        ids = body["input_ids"]
        is_batch = isinstance(ids[0], list)
        prompts = ids if is_batch else [ids]
        sampling = body["sampling_params"]
        each = sampling if isinstance(sampling, list) else [sampling] * len(prompts)
        labels = body.get("token_ids_logprob", [None] * len(prompts))
        if len({len(prompts), len(each), len(labels)}) > 1:
            raise RefusedError(400, "the lists of a batch have different lengths")
        outputs = []
        for prompt, params, label in zip(prompts, each, labels, strict=True):
            only(params, FIELDS["sampling_params"], "sampling_params")
            outputs += [self._one(prompt, params, label, body) for _ in range(params.get("n", 1))]
        return outputs if is_batch or len(outputs) > 1 else outputs[0]

    def _one(self, ids, params, label, body):
        if len(ids) >= world.CONTEXT:
            raise RefusedError(
                400, f"The input ({len(ids)} tokens) is longer than the model's context length ({world.CONTEXT})."
            )
        known = max((n for n in range(len(ids)) if tuple(ids[:n]) in self.cached), default=0)
        self.cached |= {tuple(ids[:n]) for n in range(len(ids) + 1)}
        meta = {"id": "x", "prompt_tokens": len(ids), "cached_tokens": known}
        if label:
            logs = world.logs_of(world.text_of(ids))
            meta["output_token_ids_logprobs"] = [[[log, i, None] for log, i in zip(logs, label, strict=True)]]
            meta |= {"finish_reason": {"type": "length", "length": 1}, "completion_tokens": 1}
            return {"text": "a", "output_ids": [97], "meta_info": meta}
        seed = params.get("sampling_seed") if self.deterministic else self.random.random()
        found = world.write(
            world.text_of(ids), seed=seed, index=0, stops=params["stop"], max_tokens=params["max_new_tokens"]
        )
        assert params["no_stop_trim"]
        reason = {"type": "length", "length": params["max_new_tokens"]}
        if found.stop is not None:
            reason = {"type": "stop", "matched": found.stop}
        meta |= {"finish_reason": reason, "completion_tokens": len(found.ids)}
        if body["return_logprob"]:
            meta["output_token_logprobs"] = [[-0.5, i, None] for i in found.ids]
        return {"text": found.text, "output_ids": found.ids, "meta_info": meta}

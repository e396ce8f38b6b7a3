"""Servers with an OpenAI-compatible API over the scripted model: llama.cpp's, and one of which no more is known."""

import random

from tests.doubles import world
from tests.doubles.http import Double, RefusedError, only

COMPLETIONS = ("model", "prompt", "n", "max_tokens", "temperature", "top_p", "seed", "stop", "logprobs")
CHAT = (
    *("model", "messages", "n", "max_tokens", "temperature", "top_p", "seed", "stop", "logprobs", "top_logprobs"),
    *("continue_final_message", "add_generation_prompt"),
)
LLAMA = (
    *("prompt", "n_predict", "n_cmpl", "temperature", "top_p", "samplers", "seed", "stop", "cache_prompt"),
    *("return_tokens", "n_probs"),
)
VERDICTS = ("Yes", "No")
SLOTS = 2


class PlainDouble(Double):
    """Text in and out; the stop string is cut off, and nothing tells it from the end of a solution.

    ``logprobs``: whether it gives them. ``key``: what it asks for.
    """

    def __init__(self, *, logprobs=True, key=None):
        super().__init__()
        self.logprobs, self.key = logprobs, key

    def get(self, path):
        if path == "/v1/models":
            return {"data": [{"id": "scripted"}]}
        raise RefusedError(404, f"no {path}")

    async def post(self, path, body):
        if self.key and self.calls[-1].headers.get("authorization") != f"Bearer {self.key}":
            raise RefusedError(401, "Incorrect API key provided")
        if path == "/v1/completions":
            only(body, COMPLETIONS, path)
            if isinstance(body["prompt"], list):
                return {"choices": [self._verdict(text, i) for i, text in enumerate(body["prompt"])]}
            choices = [self._choice(body["prompt"], i, body) for i in range(body["n"])]
            return {"choices": choices, "usage": {"prompt_tokens": len(body["prompt"])}}
        if path == "/v1/chat/completions":
            only(body, CHAT, path)
            return self._chat(body)
        raise RefusedError(404, f"no {path}")

    def _choice(self, prompt, index, body):
        limits = {"stops": body["stop"], "max_tokens": body["max_tokens"]}
        found = world.write(prompt, seed=body["seed"], index=index, **limits)
        text = found.text.removesuffix(found.stop) if isinstance(found.stop, str) else found.text
        logs = {"tokens": list(text), "token_logprobs": [-0.5] * len(text)} if self.logprobs else None
        reason = "length" if found.stop is None else "stop"
        return {"index": index, "text": text, "finish_reason": reason, "logprobs": logs}

    @staticmethod
    def _verdict(text, index):
        good, bad = world.logs_of(text)
        return {"index": index, "text": "+", "logprobs": {"top_logprobs": [{" +": good, "-": bad, "a": -0.1}]}}

    def _chat(self, body):
        first, last = body["messages"][0]["content"], body["messages"][-1]
        if "top_logprobs" in body:
            said = first.partition("Question:\n")[2]
            question, _, rest = said.partition("\n\nThe beginning of a solution:\n")
            steps = rest.partition("\n\nIs every step")[0].splitlines()
            good, bad = world.logs_of("\n".join([f"Q: {question}", *steps, ""]))
            top = [{"token": t, "logprob": log} for t, log in zip(VERDICTS, (good, bad), strict=True)]
            return {"choices": [{"logprobs": {"content": [{"token": "Yes", "logprob": good, "top_logprobs": top}]}}]}
        goes_on = last["role"] == "assistant"
        if goes_on != bool(body.get("continue_final_message")):
            raise RefusedError(400, "an answer that is begun must be gone on with")
        asked = [m["content"] for m in body["messages"] if m["role"] == "user"][-1]
        choices = []
        for index in range(body["n"]):
            choice = self._choice(asked + (last["content"] if goes_on else ""), index, body)
            logs = [{"token": t, "logprob": -0.5} for t in choice["text"]] if self.logprobs else None
            message = {"role": "assistant", "content": choice.pop("text")}
            choices.append({**choice, "message": message, "logprobs": logs and {"content": logs}})
        return {"choices": choices}


class LlamaDouble(Double):
    """llama.cpp's server: tokens in and out, stop strings cut out of the text."""

    def get(self, path):
        match path:
            case "/props":
                return {
                    "build_info": "b1-test",
                    "total_slots": SLOTS,
                    "default_generation_settings": {"n_ctx": world.CONTEXT},
                }
            case "/v1/models":
                return {"data": [{"id": "scripted.gguf", "meta": {"n_ctx": world.CONTEXT}}]}
            case "/metrics":
                return f"llamacpp:requests_processing {self.num_now}\nllamacpp:requests_deferred 0\n"
        raise RefusedError(404, f"no {path}")

    async def post(self, path, body):
        match path:
            case "/tokenize":
                only(body, ("content", "add_special", "parse_special"), path)
                return {"tokens": [ord(letter) for letter in body["content"]]}
            case "/detokenize":
                return {"content": world.text_of(body["tokens"])}
            case "/apply-template":
                return {"prompt": world.chat(body["messages"])}
            case "/completion":
                only(body, LLAMA, path)
                return self._completion(body)
        raise RefusedError(404, f"no {path}")

    def _completion(self, body):
        if isinstance(body["prompt"][0], list):
            return [self._label(ids, index) for index, ids in enumerate(body["prompt"])]
        if len(body["prompt"]) >= world.CONTEXT:
            raise RefusedError(
                400, f"request exceeds the available context size ({world.CONTEXT} tokens), try increasing it"
            )
        if not 1 <= body["n_cmpl"] <= SLOTS:
            raise RefusedError(400, f"n_cmpl must be between 1 and {SLOTS}")
        outputs = [self._draw(body, index) for index in range(body["n_cmpl"])]
        random.Random(1).shuffle(outputs)
        return outputs if len(outputs) > 1 else outputs[0]

    @staticmethod
    def _label(ids, index):
        logs = zip((world.GOOD, world.BAD), world.logs_of(world.text_of(ids)), strict=True)
        top = [{"id": i, "token": chr(i), "logprob": log} for i, log in logs]
        return {"index": index, "completion_probabilities": [{"top_logprobs": top}]}

    @staticmethod
    def _draw(body, index):
        limits = {"stops": body["stop"], "max_tokens": body["n_predict"]}
        found = world.write(world.text_of(body["prompt"]), seed=body["seed"], index=index, **limits)
        word = found.stop if isinstance(found.stop, str) else ""
        text = found.text.removesuffix(word) if word else found.text
        kind = "word" if word else "eos" if found.stop == world.END else "limit"
        return {
            "index": index,
            "content": text,
            "tokens": found.ids,
            "stop_type": kind,
            "stopping_word": word,
            "timings": {"cache_n": 4, "prompt_n": len(body["prompt"]) - 4},
            "completion_probabilities": [{"logprob": -0.5} for _ in text],
        }

"""Every family scored as plainly as can be: whole texts as the families' authors write them, one trajectory at a time.

It shares no code with the package: texts are tokenised as a whole, the places to read at are told by letters.
"""

import re

import torch
import transformers
from safetensors.torch import load_file

from tests.conformance.cases import GENERIC

SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."
VERDICT = "Is every step of it correct, and does it lead towards the answer? Reply with one word, Yes or No."


class Reference:
    def __init__(self, family, folder):
        self.family = family
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.weights = load_file(folder / "model.safetensors")

    @torch.inference_mode()
    def rewards(self, question, steps):
        """The reward of each step."""
        if self.family == "judge":
            return [self._at(self._judged(question, steps[: k + 1]), [-1])[0] for k in range(len(steps))]
        text, ends = getattr(self, f"_{self.family}")(question, steps)
        special = self.family in ("math_shepherd", "llemma_reward", "label")
        found = self.tokenizer(text, return_offsets_mapping=True, add_special_tokens=special)
        stops = [stop for _, stop in found["offset_mapping"]]
        places = [max(i for i, stop in enumerate(stops) if stop == end) for end in ends]
        return self._at(found["input_ids"], places)

    def _at(self, ids, places):
        out = self.model.model(torch.tensor([ids])).last_hidden_state[0]
        kind = self.family
        if kind == "skywork":
            head = out @ self.weights["v_head.summary.weight"].T + self.weights["v_head.summary.bias"]
            return torch.sigmoid(head[places, 0].double()).tolist()
        if kind == "qwen_prm":
            hidden = torch.relu(out @ self.weights["score.0.weight"].T + self.weights["score.0.bias"])
            classes = hidden @ self.weights["score.2.weight"].T + self.weights["score.2.bias"]
            return torch.softmax(classes[places].double(), -1)[:, 1].tolist()
        logits = self.model.lm_head(out)[places].double()
        if kind == "llemma_reward":
            return torch.sigmoid(logits.mean(-1)).tolist()
        good, bad = ("Yes", "No") if kind == "judge" else ("+", "-")
        labels = [self.tokenizer.convert_tokens_to_ids(label) for label in (good, bad)]
        return torch.softmax(logits[:, labels], -1)[:, 0].tolist()

    def _math_shepherd(self, question, steps):
        text, ends = question + " ", []
        for number, step in enumerate(steps, 1):
            step = step.strip()  # noqa: PLW2901 - as it is written
            numbered = step if re.match(r"Step \d+:", step) else f"Step {number}: {step}"
            text += ("" if number == 1 else "\n") + numbered + " ки"
            ends.append(len(text))
        return text, ends

    def _llemma_reward(self, question, steps):
        text, ends = question, []
        for step in steps:
            text += "\n" + step.strip() + " ки"
            ends.append(len(text))
        return text, ends

    def _label(self, question, steps):
        text, ends = GENERIC["template"].format(question=question), []
        for step in steps:
            text += step.strip() + GENERIC["tag"]
            ends.append(len(text))
        return text, ends

    def _skywork(self, question, steps):
        text, ends = self.tokenizer.bos_token + question + "\n", []
        for step in steps:
            text += step.strip().replace("\n", " ") + "\n"
            ends.append(len(text))
        return text, ends

    def _qwen_prm(self, question, steps):
        turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
        text, ends = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True), []
        for step in steps:
            text += step.strip() + "<extra_0>"
            ends.append(len(text))
        return text, ends

    def _rlhflow_deepseek(self, question, steps):
        turns, text, ends = [], "", []
        for number, step in enumerate(steps):
            said = step.strip()
            turns.append({"role": "user", "content": f"{question} {said}" if number == 0 else said})
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            ends.append(len(text))
            turns.append({"role": "assistant", "content": "+"})
        return text, ends

    _rlhflow_mistral = _rlhflow_deepseek

    def _judged(self, question, steps):
        solution = "\n".join(step.strip() for step in steps)
        said = f"Question:\n{question}\n\nThe beginning of a solution:\n{solution}\n\n{VERDICT}"
        turns = [{"role": "user", "content": said}]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return self.tokenizer.encode(text, add_special_tokens=False)

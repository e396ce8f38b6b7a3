"""The model behind the doubles: the scripted parts of minimath. A token is a letter; END ends a solution."""

import json
import math
import random
from dataclasses import dataclass

from etsearch import minimath

END = 2
CONTEXT = 4096
GOOD, BAD = ord("+"), ord("-")


@dataclass
class Written:
    """One continuation. ``stop`` is the stop string that ended it, END if the model did, None if the limit did."""

    text: str
    stop: str | int | None

    @property
    def ids(self):
        return [ord(letter) for letter in self.text] + [END] * (self.stop == END)


def chat(messages):
    """The doubles' chat template: every turn between marks of its role."""
    return "".join(f"<{m['role']}>{m['content']}</{m['role']}>" for m in messages)


def write(prompt, *, seed, index, stops, max_tokens):
    """What the policy writes after the text of a prompt; of a chat it reads the user's last turn and what is after."""
    prompt = prompt.rpartition("<user>")[2].replace("</user>", "")
    text = minimath.scripted.write_step(prompt, random.Random(f"{seed}/{index}"))
    if len(text) > max_tokens:
        return Written(text[:max_tokens], None)
    return Written(text, next((s for s in stops if text.endswith(s)), END))


def share_good(text):
    """What the reward model gives the last step of ``Q: question\\nstep\\n…step\\n``."""
    question, *steps = text.removeprefix("Q: ").splitlines()
    return minimath.scripted.reward_of(question, [step + "\n" for step in steps])


def reward_of(question, steps):
    """The same, as the scripted reward model calls it."""
    return minimath.scripted.reward_of(question, [step.strip() + "\n" for step in steps])


def logs_of(text):
    """Log probabilities of the good and the bad label after a text; another token has a third of it all."""
    share = share_good(text)
    return math.log(share * 2 / 3), math.log((1 - share) * 2 / 3)


def text_of(ids):
    return "".join(map(chr, ids))


def folder(path, *, chat=False):
    """A model's folder as far as the client reads it: how questions are put and how the PRM is read."""
    row = {"template": minimath.language.PROMPT, "tag": "\n", "good": "+", "bad": "-"}
    form = {"template": minimath.FORMAT.template, "step_delimiter": minimath.FORMAT.step_delimiter, "chat": chat}
    path.mkdir(exist_ok=True)
    (path / "etsearch.json").write_text(json.dumps({"format": form, "prm": row}))
    return path

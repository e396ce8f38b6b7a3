"""Makes the process reward model as Math-Shepherd does (Wang et al., arXiv:2312.08935): labels from rollouts.

``python training/prm.py rollouts`` samples solutions of training problems from the policy and completes each prefix
of their steps several times. A step is good if any completion reaches the right answer (hard estimation); nothing but
the final answer is looked at, so the recipe holds for worlds without a checker. It writes as it goes and continues.

``python training/prm.py train`` starts from the policy's weights and learns to tell good steps from bad ones: at the
newline that ends a step, ``+`` against ``-``.

``python training/prm.py evaluate`` gives the step-level AUC against the checker, on held-out problems.
"""

import argparse
import hashlib
import json
import math
import random
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import tokenizer
from chosen import Problem, checker, language, world
from evaluate import is_right
from model import Llama
from sampler import load, sample_all

SHARD = 50
"""Problems between two writes."""
BATCH = 64


def prompt_of(problem: Problem) -> list[int]:
    return tokenizer.encode(language.PROMPT.format(question=problem.question))


Steps = tuple[tuple[int, ...], ...]
"""The steps of a solution as the policy sampled them, token ids without the newline.

Ids, because a sampled step need not be text that is read as the same tokens again.
"""


def steps_of(ids: list[int]) -> Steps:
    """The steps of a sampled solution; one that was cut keeps what it has."""
    steps, step = [], []
    for token in [*ids, tokenizer.NEWLINE]:
        if token != tokenizer.NEWLINE:
            step.append(token)
        elif step:
            steps.append(tuple(step))
            step = []
    return tuple(steps)


def joined(steps: Steps) -> list[int]:
    """The ids of steps, each with its newline."""
    return [token for step in steps for token in (*step, tokenizer.NEWLINE)]


def label_shard(policy: Llama, problems: list[Problem], solutions: int, rollouts: int, seed: int) -> list[dict]:
    """Solutions of problems with a label, 0 or 1, for each step."""
    sampled = sample_all(policy, [prompt_of(p) for p in problems], solutions, language.MAX_TOKENS, seed)
    paths = {(i, steps) for i, some in enumerate(sampled) for ids in some if (steps := steps_of(ids))}
    open_prefixes = sorted({(i, path[:n]) for i, path in paths for n in range(1, len(path))})
    starts = [[*prompt_of(problems[i]), *joined(steps)] for i, steps in open_prefixes]
    completions = sample_all(policy, starts, rollouts, language.MAX_TOKENS, seed + 1)
    is_good = {
        prefix: any(is_right(problems[prefix[0]], tokenizer.decode(ids)) for ids in some)
        for prefix, some in zip(open_prefixes, completions, strict=True)
    }
    rows = []
    for i, path in sorted(paths):
        labels = [is_good[i, path[:n]] for n in range(1, len(path))]
        labels.append(is_right(problems[i], tokenizer.decode(list(path[-1]))))
        rows.append({"question": problems[i].question, "steps": path, "labels": [int(x) for x in labels]})
    return rows


def rollouts_folder(out: Path) -> Path:
    """Where the rollouts of this policy are: those of another one, or of another world, are never taken for them."""
    digest = hashlib.sha256((out / "policy.pt").read_bytes() + repr(tokenizer.TOKENS).encode()).hexdigest()
    return out / f"rollouts-{digest[:12]}"


def make_rollouts(args: argparse.Namespace) -> None:
    """Labels this worker's share of the problems, a file a shard; shards that are there already are left out."""
    policy, folder = load(args.out / "policy.pt"), rollouts_folder(args.out)
    folder.mkdir(exist_ok=True)
    problems = list(world.problems("train", args.problems, seed=args.seed + 1))
    for shard, start in enumerate(range(0, len(problems), SHARD)):
        path = folder / f"{shard:04d}.jsonl"
        if shard % args.workers != args.worker - 1 or path.exists():
            continue
        rows = label_shard(policy, problems[start : start + SHARD], args.solutions, args.rollouts, args.seed + start)
        path.with_suffix(".tmp").write_text("".join(json.dumps(row) + "\n" for row in rows))
        path.with_suffix(".tmp").replace(path)
        good = [label for row in rows for label in row["labels"]]
        print(json.dumps({"shard": shard, "steps": len(good), "good": sum(good) / len(good)}), flush=True)


def read_rollouts(out: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(rollouts_folder(out).glob("*.jsonl")) for line in path.open()]


def batch_of(rows: list[dict]) -> tuple[Tensor, Tensor, Tensor]:
    """Right-padded ids, the mask of the newlines that end steps, and the labels of those in order."""
    encoded = []
    for row in rows:
        prompt = tokenizer.encode(language.PROMPT.format(question=row["question"]))
        encoded.append((prompt, joined(row["steps"])))
    ids = torch.full((len(rows), max(len(p) + len(s) for p, s in encoded)), tokenizer.PAD)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for line, (prompt, steps) in enumerate(encoded):
        ids[line, : len(prompt) + len(steps)] = torch.tensor(prompt + steps)
        mask[line, len(prompt) :] = ids[line, len(prompt) :] == tokenizer.NEWLINE
    return ids, mask, torch.tensor([label for row in rows for label in row["labels"]])


def score(model: Llama, ids: Tensor, mask: Tensor) -> Tensor:
    """Log odds of a good step at each newline ``[steps]``."""
    logits = model.logits(model(ids)[mask])
    return logits[:, tokenizer.GOOD] - logits[:, tokenizer.BAD]


def train(args: argparse.Namespace) -> None:
    model = load(args.out / "policy.pt").train()
    rows = read_rollouts(args.out)
    rng = random.Random(f"prm {args.seed}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.05)
    total = args.epochs * math.ceil(len(rows) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=total, pct_start=0.05)
    step, losses = 0, []
    for _ in range(args.epochs):
        for chosen in shuffled_batches(rows, rng):
            ids, mask, labels = batch_of(chosen)
            loss = F.binary_cross_entropy_with_logits(score(model, ids, mask), labels.float())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            losses.append(loss.item())
            if step % 50 == 0:
                print(json.dumps({"step": step, "of": total, "loss": sum(losses) / len(losses)}), flush=True)
                losses = []
    torch.save({"model": model.state_dict(), "shape": model.shape.as_dict(), "rows": len(rows)}, args.out / "prm.pt")


def shuffled_batches(rows: list[dict], rng: random.Random) -> list[list[dict]]:
    """Batches of like length in random order."""
    order = sorted(rows, key=lambda r: len(r["question"]) / 5 + sum(map(len, r["steps"])) + rng.uniform(-6, 6))
    batches = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
    rng.shuffle(batches)
    return batches


@torch.inference_mode()
def evaluate(args: argparse.Namespace) -> None:
    policy, model = load(args.out / "policy.pt"), load(args.out / "prm.pt")
    problems = list(world.problems("validation", args.problems, seed=args.seed))
    sampled = sample_all(policy, [prompt_of(p) for p in problems], 4, language.MAX_TOKENS, args.seed)
    scores, truths = [], []
    for problem, some in zip(problems, sampled, strict=True):
        for steps in filter(None, map(steps_of, some)):
            ids, mask, _ = batch_of([{"question": problem.question, "steps": steps, "labels": []}])
            scores += score(model, ids, mask).tolist()
            truths += checker.right_steps(problem, [tokenizer.decode(list(step)) for step in steps])
    result = {"problems": len(problems), "steps": len(truths), "right": sum(truths) / len(truths)}
    print(json.dumps(result | {"auc": auc(scores, truths)}))


def auc(scores: list[float], truths: list[bool]) -> float:
    """Chance that a right step scores above a wrong one; ties count half."""
    ranks = torch.tensor(scores).argsort().argsort().double() + 1
    right = torch.tensor(truths)
    num_right, num_wrong = int(right.sum()), int((~right).sum())
    return float((ranks[right].sum() - num_right * (num_right + 1) / 2) / (num_right * num_wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("rollouts", "train", "evaluate"))
    parser.add_argument("--out", type=Path, default=Path("training/runs"))
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--solutions", type=int, default=4)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", type=int, default=1, help="of the rollouts: which share to take, from 1")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    {"rollouts": make_rollouts, "train": train, "evaluate": evaluate}[arguments.part](arguments)

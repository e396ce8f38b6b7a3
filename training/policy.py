"""Trains the policy of a miniature world from nothing: ``python training/policy.py``.

With several cores, one worker each is faster than one with several threads:
``OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 training/policy.py``.

Every problem is seen once. The loss is taken on the solution alone. A curriculum starts with few operations.
Muon (Jordan et al., 2024) for the matrices, AdamW for the rest; cosine decay. A checkpoint is written every
few minutes and the run continues from it.
"""

import argparse
import json
import math
import os
import random
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

import lookup
import tokenizer
from chosen import language, world
from model import Llama, Shape

BUFFER = 24
"""Batches drawn at a time and sorted by length, so that a batch wastes little on padding."""
SAVE_EVERY_S = 120


def example(rng: random.Random, level: int) -> tuple[list[int], int]:
    """Token ids of a training problem with its solution, and the number of prompt tokens."""
    while True:
        problem = world.generate(rng, level)
        if problem.split == "train":
            break
    prompt = tokenizer.encode(language.PROMPT.format(question=problem.question))
    steps = tokenizer.encode("\n".join(world.solution(problem, rng)))
    return [*prompt, *steps, tokenizer.END], len(prompt)


def level_weights(progress: float) -> list[float]:
    """The curriculum: levels come in one after the other over the first 40 %, then all count alike."""
    reach = 2 + 10 * progress
    return [min(1.0, max(0.0, reach - place)) for place in range(len(world.LEVELS))]


def batches(rng: random.Random, order: random.Random, progress: float, size: int) -> list[tuple[Tensor, Tensor]]:
    """Right-padded ids ``[batch, length]`` and the mask of the tokens to predict, each batch of one length nearly.

    ``order`` is the same in all workers, so that their batches are equally long at the same time: none waits.
    """
    levels = rng.choices(world.LEVELS, level_weights(progress), k=size * BUFFER)
    examples = sorted((example(rng, level) for level in levels), key=lambda e: len(e[0]))
    out = [pad(examples[i : i + size]) for i in range(0, len(examples), size)]
    order.shuffle(out)
    return out


def pad(examples: list[tuple[list[int], int]]) -> tuple[Tensor, Tensor]:
    length = max(len(ids) for ids, _ in examples)
    ids = torch.full((len(examples), length), tokenizer.PAD)
    mask = torch.zeros((len(examples), length), dtype=torch.bool)
    for row, (tokens, prompt) in enumerate(examples):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, prompt : len(tokens)] = True
    return ids, mask


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal by five Newton-Schulz iterations.

    ``torch.optim.Muon`` iterates in bfloat16, which a CPU without bfloat16 arithmetic emulates slowly; this one
    stays in float32 and treats all matrices of one shape as a batch.
    """

    def __init__(self, params: list[nn.Parameter], lr: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": 0.95, "weight_decay": 0.01})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for p in group["params"]:
                by_shape.setdefault(p.shape, []).append(p)
            for shape, params in by_shape.items():
                grads = torch.stack([p.grad for p in params])
                buffer = self.state[params[0]].setdefault("momentum", torch.zeros_like(grads))
                buffer.lerp_(grads, 1 - group["momentum"])
                update = orthogonal(grads.lerp(buffer, group["momentum"]))
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for p, u in zip(params, update, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(u, alpha=-scale)


def orthogonal(g: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices to a batch of matrices, nearly (quintic Newton-Schulz)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[1] > g.shape[2]
    x = g.transpose(1, 2) if tall else g
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x


def optimizers(model: Llama, muon_lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    adam = torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
    return [Muon(matrices, lr=muon_lr), adam]


def schedule(progress: float) -> float:
    """Factor on the learning rates: flat for the first 30 %, then a cosine down to 2 %."""
    if progress < 0.3:
        return min(1.0, 0.05 + progress / 0.005)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.3) / 0.7)))


def same_everywhere(value: float) -> float:
    """The first worker's value, in all workers."""
    if dist.is_initialized():
        tensor = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(tensor, 0)
        return tensor.item()
    return value


def average_gradients(model: Llama) -> None:
    """The mean over all workers in place of each worker's gradients."""
    if dist.is_initialized():
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        for grad, mean in zip(grads, flat.div_(dist.get_world_size()).split([g.numel() for g in grads]), strict=True):
            grad.copy_(mean.view_as(grad))


class Run:
    """A training run that can be left and continued: ``out/policy.pt`` holds all of it but the drawing of examples."""

    def __init__(self, out: Path, seed: int, shape: Shape, lrs: tuple[float, float]) -> None:
        torch.manual_seed(seed)
        self.checkpoint, self.shape, self.lrs = out / "policy.pt", shape, lrs
        self.model = Llama(shape)
        lookup.begin(self.model, seed)
        self.optimizers = optimizers(self.model, *lrs)
        self.elapsed = self.num_steps = self.num_tokens = 0.0
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint)
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.elapsed, self.num_steps, self.num_tokens = state["elapsed"], state["steps"], state["tokens"]

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "shape": self.shape.as_dict(),
            "elapsed": self.elapsed,
            "steps": self.num_steps,
            "tokens": self.num_tokens,
        }
        torch.save(state, self.checkpoint.with_suffix(".tmp"))
        self.checkpoint.with_suffix(".tmp").replace(self.checkpoint)

    def step(self, ids: Tensor, mask: Tensor, progress: float) -> float:
        """One update on this worker's share of a batch; returns its loss."""
        hidden = self.model(ids[:, :-1])[mask[:, 1:]]
        loss = F.cross_entropy(self.model.logits(hidden), ids[:, 1:][mask[:, 1:]])
        for optimizer, lr in zip(self.optimizers, self.lrs, strict=True):
            optimizer.param_groups[0]["lr"] = lr * schedule(progress)
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.model)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.item()


def train(run: Run, tokens: float, batch: int, seed: int) -> None:
    rank, num_workers = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    rng = random.Random(f"policy {seed} {run.num_steps} {rank}")
    order = random.Random(f"policy {seed} {run.num_steps}")
    clock, saved_at, losses = time.monotonic() - run.elapsed, run.elapsed, []
    while run.num_tokens < tokens:
        for ids, mask in batches(rng, order, run.num_tokens / tokens, max(1, batch // num_workers)):
            losses.append(run.step(ids, mask, run.num_tokens / tokens))
            run.elapsed = time.monotonic() - clock
            run.num_steps += 1
            run.num_tokens += same_everywhere(num_workers * int((ids != tokenizer.PAD).sum()))
            is_over = run.num_tokens >= tokens
            if rank == 0 and run.num_steps % 50 == 0:
                line = {"step": run.num_steps, "s": round(run.elapsed), "tokens": run.num_tokens}
                print(json.dumps(line | {"loss": sum(losses) / len(losses)}), flush=True)
                losses = []
            if rank == 0 and (is_over or run.elapsed - saved_at > SAVE_EVERY_S):
                saved_at = run.elapsed
                run.save()
            if is_over:
                break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("training/runs"))
    parser.add_argument("--tokens", type=float, default=3.74e6, help="when to stop; more makes it too good to search")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=64, help="sequences a step, all workers together")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rope-theta", type=float, default=10_000)
    parser.add_argument("--muon-lr", type=float, default=0.01)
    parser.add_argument("--adam-lr", type=float, default=2e-3)
    args = parser.parse_args()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group("gloo")
    args.out.mkdir(parents=True, exist_ok=True)
    shape = Shape(
        len(tokenizer.TOKENS),
        args.hidden,
        3 * args.hidden,
        args.layers,
        max(args.hidden // 32, 1),
        rope_theta=args.rope_theta,
    )
    train(Run(args.out, args.seed, shape, (args.muon_lr, args.adam_lr)), args.tokens, args.batch, args.seed)


if __name__ == "__main__":
    main()

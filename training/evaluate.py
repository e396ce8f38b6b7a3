"""Accuracy of the policy alone: ``python training/evaluate.py --problems 500 --samples 64``.

pass@1 is the mean over all samples; pass@k the share of problems with a right answer among the first k. Of each wrong
solution the first mistake is named.
"""

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean

import tokenizer
from chosen import Problem, checker, language, world
from etsearch import answers
from sampler import load, sample_all


def is_right(problem: Problem, solution: str) -> bool:
    return answers.extract(solution) == str(problem.answer)


def first_mistake(problem: Problem, solution: str) -> str | None:
    """What is wrong with the first step that is; None if nothing is."""
    found = checker.first_mistake(problem, [line for line in solution.split("\n") if line])
    return found or (None if is_right(problem, solution) else "no answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("training/runs/policy.pt"))
    parser.add_argument("--split", default="test", choices=world.SPLITS)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    problems = list(world.problems(args.split, args.problems))
    prompts = [tokenizer.encode(language.PROMPT.format(question=p.question)) for p in problems]
    samples = sample_all(load(args.checkpoint), prompts, args.samples, language.MAX_TOKENS, args.seed)
    right = [[is_right(p, tokenizer.decode(ids)) for ids in some] for p, some in zip(problems, samples, strict=True)]
    levels = defaultdict(list)
    for problem, verdicts in zip(problems, right, strict=True):
        levels[problem.level].append(mean(verdicts))
    result: dict[str, object] = {"problems": len(problems), "samples": args.samples}
    result["pass@1"] = round(mean(mean(v) for v in right), 4)
    result |= {f"pass@{k}": round(mean(any(v[:k]) for v in right), 4) for k in (4, 16, 64) if k <= args.samples}
    result["pass@1 by level"] = {level: round(mean(shares), 3) for level, shares in sorted(levels.items())}
    texts = [(p, tokenizer.decode(ids)) for p, some in zip(problems, samples, strict=True) for ids in some]
    mistakes = Counter(filter(None, (first_mistake(p, text) for p, text in texts)))
    result["first mistakes"] = dict(mistakes.most_common())
    print(json.dumps(result))


if __name__ == "__main__":
    main()

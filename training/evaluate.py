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
from etsearch import answers
from etsearch.minimath import language, world
from etsearch.minimath.checker import read_step, right_steps
from sampler import load, sample_all

MAX_TOKENS = 130


def is_right(problem: world.WordProblem, solution: str) -> bool:
    return answers.extract(solution) == str(problem.answer)


def first_mistake(problem: world.WordProblem, solution: str) -> str | None:
    """What is wrong with the first step that is; None if no step is."""
    steps = [line for line in solution.split("\n") if line]
    verdicts = right_steps(problem, steps)
    if all(verdicts):
        return None if is_right(problem, solution) else "no answer"
    number = verdicts.index(False)
    said = read_step(steps[number])
    if said is None:
        return "wrong answer" if answers.extract(steps[number]) else "no step of this world"
    known = {f.name for f in problem.facts if not f.operands}
    known |= {right.fact.name for step in steps[:number] if (right := read_step(step))}
    fact = {f.name: f for f in problem.facts if f.operands}.get(said.fact.name)
    if fact is None or (fact.kind, fact.amount, set(fact.operands)) != (
        said.fact.kind,
        said.fact.amount,
        set(said.fact.operands),
    ):
        return "another fact"
    if not known.issuperset(fact.operands):
        return "a quantity that is not known yet"
    computed = {"+": said.left + said.right, "-": said.left - said.right, "*": said.left * said.right}
    is_exact = said.left == said.result * said.right if said.op == "/" else computed[said.op] == said.result
    return "another value" if is_exact else "arithmetic"


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
    samples = sample_all(load(args.checkpoint), prompts, args.samples, MAX_TOKENS, args.seed)
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

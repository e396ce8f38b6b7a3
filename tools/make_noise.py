"""Makes docs/noise.md: how good a reward model must be for each strategy; its template and the records in docs/results.

python tools/make_noise.py             # or: make results
python tools/make_noise.py --pack      # takes the records over from runs/, and the AUC of their rewards from the trees
"""

import argparse
import json
import math
from pathlib import Path

from make_results import DOCS, RECORDS, from_template, pack

from etsearch.evaluation.curves import Labelled
from etsearch.evaluation.report.results import Results
from etsearch.evaluation.report.statistics import mean
from etsearch.evaluation.report.tables import points
from etsearch.evaluation.run.folder import read_run, read_tree
from etsearch.minimath.checker import right_steps
from etsearch.minimath.world import parse

NOISES = (0, 2, 4)
FIRST = "rebase"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", action="store_true")
    if parser.parse_args().pack:
        pack(name_of(noise) for noise in NOISES)
        for noise in NOISES:
            found = {"auc": steps_of(Path("runs") / name_of(noise)).auc}
            (RECORDS / name_of(noise) / "auc.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    (DOCS / "noise.md").write_text(document(), encoding="utf-8")


def document():
    """The page."""
    return from_template("noise", table=table())


def name_of(noise):
    return f"noisy-{noise}"


def steps_of(path):
    """The rewards of the steps that best-of-N drew, which no reward has chosen, and what the checker says of each."""
    rewards, right = [], []
    for record in read_run(path).records:
        if record.strategy != "best_of_n":
            continue
        tree = read_tree(path, record.key).state.tree
        problem = parse(tree.question)
        for node in range(1, len(tree)):
            if tree.original(node) == node and not math.isnan(tree.reward(node)):
                rewards.append(tree.reward(node))
                right.append(right_steps(problem, [step.text for step in tree.trajectory(node).steps])[-1])
    return Labelled(tuple(rewards), tuple(right))


def table():
    lines = []
    for noise in NOISES:
        results = Results.read([RECORDS / name_of(noise)])
        auc = json.loads((RECORDS / name_of(noise) / "auc.json").read_text(encoding="utf-8"))["auc"]
        cells = results.plain()
        first = next(cell for cell in cells if cell.strategy == FIRST)
        others = [cell for cell in cells if cell != first]
        if not lines:
            names = " | ".join(f"`{cell.strategy}`" for cell in others)
            lines = [
                f"| noise, logits | AUC of steps | `{FIRST}`, % right | {names} |",
                "|--:|--:|--:|" + "---|" * len(others),
            ]
        gains = " | ".join(points(results.gain(cell, first)) for cell in others)
        lines.append(f"| {noise} | {auc:.3f} | {100 * mean(results.right(first)).value:.1f} | {gains} |")
    (run,) = results.runs
    about = (
        f"`ets eval recipes/noisy.yaml prm=…`: {run.recipe.data}, {mean(results.right(first)).num_problems} problems, "
        f"width {first.width}, seed {', '.join(map(str, run.recipe.seeds))}; "
        f"begun {run.manifest.sessions[0].started_at[:10]}. Points against REBASE, paired, with 95 % intervals."
    )
    return f"{about}\n\n" + "\n".join(lines)


if __name__ == "__main__":
    main()

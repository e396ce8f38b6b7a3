"""treequest's tree-of-thoughts BFS and AB-MCTS-A, given the engine through ask and tell.

A state is a solution so far and a node's score its last step's reward. Trials that are asked for together are run
together, those of one node as one request. An ended solution that is to be expanded stays as it is and costs nothing.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass

import treequest

ACTIONS = ["step"]
MAX_BATCHES = 8
"""Batches of ``width`` trials of AB-MCTS-A: about twice the steps that etsearch's methods take for a problem."""


@dataclass(frozen=True)
class Solution:
    """The steps so far, the last one's reward, and whether the model has ended it."""

    path: tuple[str, ...] = ()
    reward: float = 0.0
    is_ended: bool = False

    @property
    def text(self):
        return "\n".join(self.path)


async def solve_bfs(parts, problem):
    """``keep`` nodes of the deepest level, ``width / keep`` steps from each, until the best ones have all ended.

    The algorithm gives the root one child whatever its settings, so that the first child is the empty solution.
    """
    terms = parts.terms
    samples = terms.width // terms.keep
    algorithm = treequest.TreeOfThoughtsBFSAlgo(breadth_limit=terms.keep, size_limit=samples)
    state, (start,) = algorithm.ask_batch(algorithm.init_tree(), 1, ACTIONS)
    state, num_trials = algorithm.tell(state, start.trial_id, (Solution(), 0.0)), samples
    for _ in range(terms.max_steps):
        state, trials = algorithm.ask_batch(state, num_trials, ACTIONS)
        if all(trial.parent_state.is_ended for trial in trials):
            break
        state = await run(parts.door, problem.question, algorithm, state, trials)
        num_trials = terms.width
    return best(algorithm, state)


async def solve_ab_mcts(parts, problem):
    """``width`` trials at a time until ``width`` solutions have ended, at most ``MAX_BATCHES`` times."""
    terms = parts.terms
    algorithm = treequest.ABMCTSA()
    state = algorithm.init_tree()
    for _ in range(MAX_BATCHES):
        state, trials = algorithm.ask_batch(state, terms.width, ACTIONS)
        state = await run(parts.door, problem.question, algorithm, state, trials)
        ended = [solution for solution, _ in algorithm.get_state_score_pairs(state) if solution.is_ended]
        if len(ended) >= terms.width:
            break
    return best(algorithm, state)


async def run(door, question, algorithm, state, trials):
    """The state with the results of all trials."""
    parents = Counter(trial.parent_state or Solution() for trial in trials)
    groups = await asyncio.gather(*(expand(door, question, parent, count) for parent, count in parents.items()))
    results = dict(zip(parents, map(iter, groups), strict=True))
    for trial in trials:
        state = algorithm.tell(state, trial.trial_id, next(results[trial.parent_state or Solution()]))
    return state


async def expand(door, question, parent, count):
    """``count`` children of a solution, with their scores."""
    if parent.is_ended:
        return [(parent, parent.reward)] * count
    steps = await door.write(question, parent.path, count)
    paths = [(*parent.path, step.text) for step in steps]
    rewards = await asyncio.gather(*(door.reward(question, path) for path in paths))
    children = [Solution(path, reward, step.is_last) for path, reward, step in zip(paths, rewards, steps, strict=True)]
    return [(child, child.reward) for child in children]


def best(algorithm, state):
    """The ended solution with the highest score; any solution if none has ended."""

    def ended_first(pairs):
        return sorted(pairs, key=lambda pair: (pair[0].is_ended, pair[1]), reverse=True)

    ((solution, _),) = treequest.top_k(state, algorithm, k=1, ranking_fn=ended_first)
    return solution.text

"""etsearch through its own door."""

import etsearch
from etsearch.loop.settings import Limits


def searcher(strategy):
    """A method: one search with this strategy."""

    async def solve(parts, problem):
        terms = parts.terms
        result = await etsearch.search(
            problem,
            generator=parts.generator,
            prm=parts.reward_model,
            embedder=parts.embedder,
            strategy=strategy,
            width=terms.width,
            seed=terms.seed,
            sampling=terms.sampling,
            limits=Limits(max_depth=terms.max_steps, max_step_tokens=terms.max_step_tokens),
        )
        return result.answer

    return solve

"""A generator and a reward model that count what is asked of them, whoever asks."""

from dataclasses import asdict, dataclass

BLOCK_TOKENS = 32
"""Tokens of a block of the embedded engine's prefix cache."""


@dataclass
class Usage:
    """What a method cost.

    ``prompt_tokens`` are those of every request's prefix, ``seen_prompt_tokens`` those of them in whole blocks that an
    earlier request had read or written by the time this one was sent: what a prefix cache that forgets nothing finds.
    ``engine_hit_tokens`` are the engine's own figure, None where it gives none.
    """

    requests: int = 0
    sequences: int = 0
    prompt_tokens: int = 0
    seen_prompt_tokens: int = 0
    generated_tokens: int = 0
    prm_trajectories: int = 0
    prm_tokens: int = 0
    engine_hit_tokens: int | None = None

    def reset(self):
        """All counts from nothing."""
        self.__init__()

    def plain(self):
        return asdict(self)


class CountingGenerator:
    """The generator within, with all its attributes, and a count of its requests."""

    def __init__(self, generator, usage):
        self._generator, self._usage = generator, usage
        self._seen = set()

    def __getattr__(self, name):
        return getattr(self._generator, name)

    async def generate(self, request):
        self._count(request)
        continuations = await self._generator.generate(request)
        for continuation in continuations:
            self._usage.generated_tokens += len(continuation.token_ids)
            self._seen.update(blocks(request.prefix + continuation.token_ids))
        return continuations

    def _count(self, request):
        usage = self._usage
        usage.requests += 1
        usage.sequences += request.num_continuations
        usage.prompt_tokens += len(request.prefix)
        usage.seen_prompt_tokens += BLOCK_TOKENS * sum(key in self._seen for key in blocks(request.prefix))


class CountingRewardModel:
    """The reward model within, with all its attributes, and a count of what it reads."""

    def __init__(self, reward_model, usage):
        self._reward_model, self._usage = reward_model, usage

    def __getattr__(self, name):
        return getattr(self._reward_model, name)

    async def score(self, trajectory, first):
        scores = await self._reward_model.score(trajectory, first)
        self._usage.prm_trajectories += 1
        self._usage.prm_tokens += scores.num_tokens
        return scores


def blocks(ids):
    """A key for each whole block of a sequence; blocks are the same if all before them is."""
    return [hash(ids[:end]) for end in range(BLOCK_TOKENS, len(ids) + 1, BLOCK_TOKENS)]

"""A serving engine, step by step: continuous batching over a paged prefix cache.

A step of the trace's tree owns the blocks whose last token it holds; what of a prefix is left over its last whole block
is each sequence's own. Blocks that nobody uses stay until room is needed, and the longest unused go first. A sequence
that finds no block left takes the youngest one's, which begins again later.

All that a step costs is kept as running sums, so that a step takes time in proportion to what joins and leaves, and not
to what runs.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from etsearch.boundary.numbers import MOST_TOKENS, MOST_WIDTH, check_whole
from etsearch.errors import ConfigError
from etsearch.planning.cost import Batch
from etsearch.planning.trace import SearchTrace
from etsearch.tree import ROOT


@dataclass(frozen=True, slots=True)
class EnginePolicy:
    """How an engine schedules.

    Attributes:
        block_tokens: tokens of a block, 1 to 65,536.
        max_sequences: sequences that a step computes at most, 1 to 65,536.
        step_tokens: tokens that a step computes at most, those of prefixes in chunks, 1 to 2^30.
        reserves: whether a request is taken in whole, once what it is likely to hold in the end fits; else sequence by
            sequence, once their prefix does.
        restarts: whether a sequence that loses its blocks writes its tokens anew; else they are read again.
        forks: whether the sequences of a request share what is left over of its prefix; else each computes it.
    """

    block_tokens: int = 16
    max_sequences: int = 256
    step_tokens: int = 8192
    reserves: bool = False
    restarts: bool = False
    forks: bool = False

    def __post_init__(self) -> None:
        check_whole("block_tokens", self.block_tokens, 1, MOST_WIDTH)
        check_whole("max_sequences", self.max_sequences, 1, MOST_WIDTH)
        check_whole("step_tokens", self.step_tokens, 1, MOST_TOKENS)


POLICIES: Final = {
    "vllm": EnginePolicy(max_sequences=1024),
    "sglang": EnginePolicy(block_tokens=1, max_sequences=2048),
    "embedded": EnginePolicy(block_tokens=32, step_tokens=2048, reserves=True, restarts=True, forks=True),
}
"""The engines whose scheduling is known (vLLM 0.32, SGLang 0.5, the embedded one), with their defaults on a large card.

SGLang orders what waits by how much of its prefix it finds; here it is first come first served for all.
"""


@dataclass(slots=True, eq=False)
class CachedTree:
    """What of one search's tree lies in the cache.

    Attributes:
        trace: of the search.
        owned: ``[steps]`` whole blocks that each step owns.
        cached: ``[steps]`` those of them that are there, from its beginning.
        refs: ``[steps]`` requests under way that read it.
        known: ``[steps]`` whether it was computed before, so that to compute it again is a loss.
    """

    trace: SearchTrace
    owned: list[int]
    cached: list[int]
    refs: list[int]
    known: list[bool]

    @classmethod
    def of(cls, trace: SearchTrace, block_tokens: int) -> "CachedTree":
        """Nothing of it is in the cache."""
        ends = [tokens // block_tokens for tokens in trace.prefix]
        owned = [ends[ROOT], *(ends[i] - ends[trace.parent[i]] for i in range(1, len(ends)))]
        count = len(owned)
        return cls(trace, owned, [0] * count, [0] * count, [False] * count)


@dataclass(slots=True, eq=False)
class Request:
    """Continuations of one step.

    Attributes:
        tree: of its search.
        step: whose prefix is continued.
        lengths: tokens of each continuation.
        writes: the step that each becomes; the blocks of the first of several equal ones stay.
        tag: of whoever asked.
    """

    tree: CachedTree
    step: int
    lengths: tuple[int, ...]
    writes: tuple[int, ...]
    tag: object = None
    path: tuple[int, ...] = ()
    num_active: int = 0
    num_left: int = 0


@dataclass(slots=True, eq=False)
class _Sequence:
    request: Request
    length: int
    writes: int
    prefill: int = 0
    """Tokens of its prefix that are still to be computed."""
    recomputed: int = 0
    """Those of them that were computed before."""
    position: int = 0
    """Tokens that are computed so far, cached ones among them."""
    written: int = 0
    """Tokens that it had written when it joined."""
    joined: int = -1
    """The engine's step after which it decodes; -1 while it does not."""
    blocks: int = 0
    """Blocks of its own."""
    is_running: bool = False


@dataclass(slots=True)
class EngineCounts:
    """What an engine did since it began, in tokens but for the first two.

    What was ``queried`` are the tokens of every sequence that was taken in, and again where it lost its blocks: of them
    ``hits`` were in the cache, and the rest was ``prefilled``, but for what was left when one lost its blocks.
    """

    num_steps: int = 0
    num_preemptions: int = 0
    decoded: int = 0
    prefilled: int = 0
    hits: int = 0
    queried: int = 0
    recomputed: int = 0
    evicted: int = 0
    peak_kv: int = 0


@dataclass
class SimulatedEngine:
    """An engine with a KV cache.

    Args:
        policy: how it schedules.
        cache_tokens: what its cache holds.
        likely_tokens: tokens that a continuation hardly exceeds, for a policy that reserves.

    Raises:
        ConfigError: a cache that cannot hold one block; see ``submit`` for one that cannot hold a request.
    """

    policy: EnginePolicy
    cache_tokens: int
    likely_tokens: int = 256
    counts: EngineCounts = field(default_factory=EngineCounts)

    def __post_init__(self) -> None:
        self.num_blocks = self.cache_tokens // self.policy.block_tokens
        if self.num_blocks < 1:
            raise ConfigError(
                f"a KV cache of {self.cache_tokens:,} tokens holds no block of {self.policy.block_tokens}; "
                "take a card with more memory, a smaller model, or more cards"
            )
        self._waiting: deque[_Sequence] = deque()
        self._running: dict[int, _Sequence] = {}
        self._prefilling: dict[int, _Sequence] = {}
        self._ends: list[tuple[int, int, _Sequence]] = []
        self._number = 0
        self._unused: OrderedDict[tuple[int, int], CachedTree] = OrderedDict()
        self._needs = [0] * self.policy.block_tokens
        """How many sequences need a new block at a step, by its number modulo the block's tokens."""
        self._held = self._own = self._unused_blocks = self._reserved = 0
        self._held_tokens = self._own_tokens = self._logical = self._decoding = 0
        self._chunks: list[tuple[_Sequence, int]] = []
        self._lost = 0

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to compute."""
        return not (self._waiting or self._running)

    @property
    def kv_tokens(self) -> int:
        """Tokens in the cache that are in use."""
        return self._held_tokens + self._own_tokens

    @property
    def used_blocks(self) -> int:
        """Blocks in use."""
        return self._held + self._own

    @property
    def num_waiting(self) -> int:
        """Sequences that are not taken in."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Sequences that are."""
        return len(self._running)

    def submit(self, request: Request) -> None:
        """Takes a request.

        Raises:
            ConfigError: the cache cannot hold one of its sequences even alone.
        """
        size, trace = self.policy.block_tokens, request.tree.trace
        prefix = trace.prefix[request.step]
        most = -(-(prefix + max(request.lengths)) // size)
        if most > self.num_blocks:
            raise ConfigError(
                f"a trajectory of {prefix + max(request.lengths):,} tokens does not fit the KV cache of "
                f"{self.cache_tokens:,}; take a card with more memory, a smaller model, or more cards"
            )
        request.path, request.num_left = trace.path(request.step), len(request.lengths)
        self._waiting.extend(
            _Sequence(request, length, writes) for length, writes in zip(request.lengths, request.writes, strict=True)
        )

    def begin(self) -> tuple[Batch, int]:
        """Plans the next step: what it computes, and how many of its rows were computed before."""
        self._make_room_for_decoding()
        budget = self.policy.step_tokens - self._decoding
        self._chunks, rows, pairs, context, lost = [], 0, 0.0, 0, 0
        for sequence in list(self._prefilling.values()):
            if budget <= 0:
                break
            budget -= self._plan_chunk(sequence, budget)
        while budget > 0 and self._waiting and len(self._running) < self.policy.max_sequences:
            sequence = self._waiting[0]
            if not self._take_in(sequence):
                break
            self._waiting.popleft()
            budget -= self._plan_chunk(sequence, budget)
        for sequence, size in self._chunks:
            rows += size
            pairs += size * (sequence.position + size / 2)
            context += sequence.position + size
            lost += min(size, sequence.recomputed)
        self._lost = lost
        batch = Batch(
            rows=self._decoding + rows,
            decoding=self._decoding,
            distinct=min(self.kv_tokens, self._logical),  # of a prefix that is only being computed nothing is read
            logical=self._logical,
            pairs=pairs,
            context=context,
            requests=len(self._chunks),
        )
        if not batch.rows:
            raise ConfigError(
                f"the KV cache of {self.cache_tokens:,} tokens cannot hold the next request; take one that is larger"
            )
        self.counts.peak_kv = max(self.counts.peak_kv, self.kv_tokens)
        return batch, lost

    def end(self) -> list[Request]:
        """The planned step was computed. Gives the requests all of whose continuations are there now."""
        counts = self.counts
        counts.num_steps += 1
        counts.decoded += self._decoding
        counts.recomputed += self._lost
        self._logical += self._decoding
        self._own_tokens += self._decoding
        done: list[Request] = []
        for sequence, size in self._chunks:
            counts.prefilled += size
            sequence.position += size
            sequence.prefill -= size
            sequence.recomputed = max(0, sequence.recomputed - size)
            if sequence.prefill == 0:
                self._join(sequence)
        while self._ends and self._ends[0][0] <= counts.num_steps:
            _, _, sequence = heappop(self._ends)
            if sequence.is_running and sequence.joined >= 0 and self._written(sequence) >= sequence.length:
                self._finish(sequence, done)
        return done

    def _written(self, sequence: _Sequence) -> int:
        return sequence.written + (self.counts.num_steps - sequence.joined)

    def _plan_chunk(self, sequence: _Sequence, budget: int) -> int:
        size = min(sequence.prefill, budget)
        self._chunks.append((sequence, size))
        return size

    def _join(self, sequence: _Sequence) -> None:
        """Its prefix is computed, and its next token written."""
        now, size = self.counts.num_steps, self.policy.block_tokens
        self._prefilling.pop(id(sequence))
        self.counts.decoded += 1
        sequence.written += 1
        sequence.joined = now
        prefix = sequence.request.tree.trace.prefix[sequence.request.step]
        self._own_tokens += sequence.written
        self._logical += prefix + sequence.written
        self._decoding += 1
        self._needs[(now - (prefix + sequence.written - 1)) % size] += 1
        self._number += 1
        heappush(self._ends, (now + sequence.length - sequence.written, self._number, sequence))

    def _leave(self, sequence: _Sequence) -> int:
        """Takes it out of the running sums; returns how many tokens it had written."""
        del self._running[id(sequence)]
        sequence.is_running = False
        self._own -= sequence.blocks
        sequence.blocks = 0
        if sequence.joined < 0:
            self._prefilling.pop(id(sequence))
            return sequence.written
        size = self.policy.block_tokens
        prefix = sequence.request.tree.trace.prefix[sequence.request.step]
        written = self._written(sequence)
        self._own_tokens -= written
        self._logical -= prefix + written
        self._decoding -= 1
        self._needs[(sequence.joined - (prefix + sequence.written - 1)) % size] -= 1
        sequence.joined = -1
        return written

    def _finish(self, sequence: _Sequence, done: list[Request]) -> None:
        blocks = sequence.blocks + self._grown(sequence)
        self._own -= blocks - sequence.blocks
        self._leave(sequence)
        request = sequence.request
        tree, step = request.tree, sequence.writes
        tree.known[step] = True
        if not tree.cached[step] and not tree.refs[step] and tree.owned[step]:
            tree.cached[step] = tree.owned[step]
            self._set_aside(tree, step)
        request.num_left -= 1
        self._release(request)
        if request.num_left == 0:
            done.append(request)

    def _grown(self, sequence: _Sequence) -> int:
        """Blocks that it took since it joined."""
        size = self.policy.block_tokens
        tail = sequence.request.tree.trace.prefix[sequence.request.step] % size
        return -(-(tail + self._written(sequence)) // size) - sequence.blocks

    def _make_room_for_decoding(self) -> None:
        slot = (self.counts.num_steps + 1) % self.policy.block_tokens
        while not self._find(self._needs[slot]):
            self._preempt()
        self._own += self._needs[slot]

    def _preempt(self) -> None:
        """The youngest loses its blocks, and waits in front."""
        sequence = next(reversed(self._running.values()))
        if sequence.joined >= 0:
            self._own -= self._grown(sequence)
        written = self._leave(sequence)
        sequence.written = 0 if self.policy.restarts else written
        if self.policy.restarts:
            self.counts.recomputed += written
        self._release(sequence.request)
        self._waiting.appendleft(sequence)
        self.counts.num_preemptions += 1

    def _take_in(self, sequence: _Sequence) -> bool:
        """Gives a sequence its blocks, if there are as many."""
        request, size = sequence.request, self.policy.block_tokens
        tree, prefix = request.tree, request.tree.trace.prefix[request.step]
        first = -(-(prefix % size + sequence.written + 1) // size)
        if request.num_active:
            if not self._find(first):
                return False
            hit = prefix - 1 if self.policy.forks else (prefix - 1) // size * size
            lost = 0
        else:
            blocks, known, unused = self._hits(request)
            needed = prefix // size - blocks + first
            if self.policy.reserves and not self._has_reserve(request, needed - first + unused):
                return False
            if needed > self.num_blocks - self._held - self._own - unused:
                return False
            for step in reversed(request.path):
                if (id(tree), step) in self._unused:
                    self._unused.move_to_end((id(tree), step))
            self._find(needed)
            hit = min(blocks, (prefix - 1) // size) * size
            lost = max(0, known - blocks * size)
            self._hold(request)
        self._own += first
        sequence.blocks = first
        sequence.is_running = True
        request.num_active += 1
        self._running[id(sequence)] = sequence
        self._prefilling[id(sequence)] = sequence
        sequence.position, sequence.prefill = hit, prefix - hit + sequence.written
        sequence.recomputed = lost + sequence.written
        self.counts.queried += prefix + sequence.written
        self.counts.hits += hit
        tree.known[ROOT] = True
        return True

    def _hits(self, request: Request) -> tuple[int, int, int]:
        """Of its prefix: whole blocks in the cache, tokens that were computed before, blocks that are there unused."""
        tree, blocks, unused, known = request.tree, 0, 0, 0
        is_whole = True
        for step in request.path:
            if tree.known[step]:
                known = tree.trace.prefix[step]
            if is_whole:
                blocks += tree.cached[step]
                is_whole = tree.cached[step] == tree.owned[step]
            if not tree.refs[step]:
                unused += tree.cached[step]
        lost_tail = known % self.policy.block_tokens  # never in the cache, whatever room there is
        return blocks, known - lost_tail, unused

    def _has_reserve(self, request: Request, prefix_blocks: int) -> bool:
        """Whether what it may come to fits beside what the others may: its prefix, of which so much is not in use."""
        if not self._running:
            return True
        size = self.policy.block_tokens
        own = len(request.lengths) * self._likely_blocks(request, size)
        return self._held + self._reserved + prefix_blocks + own <= self.num_blocks

    def _likely_blocks(self, request: Request, size: int) -> int:
        return -(-(request.tree.trace.prefix[request.step] % size + self.likely_tokens) // size)

    def _hold(self, request: Request) -> None:
        """Its prefix is in use: what was there unused, and what is computed now."""
        tree = request.tree
        for step in request.path:
            if not tree.refs[step]:
                if tree.cached[step]:
                    self._unused_blocks -= tree.cached[step]
                    self._unused.pop((id(tree), step))
                self._held += tree.owned[step]
                self._held_tokens += tree.trace.tokens[step]
                tree.cached[step] = tree.owned[step]
            tree.refs[step] += 1
        if self.policy.reserves:
            self._reserved += len(request.lengths) * self._likely_blocks(request, self.policy.block_tokens)

    def _release(self, request: Request) -> None:
        """One of its sequences has gone; with the last one its prefix is no longer in use."""
        request.num_active -= 1
        if request.num_active:
            return
        tree = request.tree
        for step in reversed(request.path):  # the end of a prefix is the first to go
            tree.refs[step] -= 1
            if not tree.refs[step]:
                self._held -= tree.owned[step]
                self._held_tokens -= tree.trace.tokens[step]
                if tree.cached[step]:
                    self._set_aside(tree, step)
        if self.policy.reserves:
            self._reserved -= len(request.lengths) * self._likely_blocks(request, self.policy.block_tokens)

    def _set_aside(self, tree: CachedTree, step: int) -> None:
        self._unused[id(tree), step] = tree
        self._unused_blocks += tree.cached[step]

    def _find(self, num_blocks: int) -> bool:
        """Whether so many blocks are free; unused ones are thrown out for them."""
        free = self.num_blocks - self._held - self._own - self._unused_blocks
        if num_blocks > free + self._unused_blocks:
            return False
        while free < num_blocks:
            (key, step), tree = next(iter(self._unused.items()))
            taken = min(tree.cached[step], num_blocks - free)
            tree.cached[step] -= taken
            self._unused_blocks -= taken
            self.counts.evicted += taken * self.policy.block_tokens
            free += taken
            if not tree.cached[step]:
                del self._unused[key, step]
        return True


def likely_length(traces: Iterable[SearchTrace], share: float = 0.95) -> int:
    """Tokens that a continuation hardly exceeds."""
    lengths = sorted(n for trace in traces for requests in trace.depths for draws in requests for n in draws.tokens)
    return lengths[min(len(lengths) - 1, int(share * len(lengths)))] if lengths else 1

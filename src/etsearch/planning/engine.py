"""A serving engine, step by step: continuous batching over a paged prefix cache.

A step of the trace's tree owns the blocks whose last token it holds; what of a prefix is left over its last whole block
is each sequence's own. Blocks that nobody uses stay until room is needed, and the longest unused go first. A sequence
that finds no block left takes the youngest one's, which begins again later.

All that a step costs is kept as running sums, so that a step takes time in proportion to what joins and leaves, and not
to what runs.
"""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from etsearch.errors import ConfigError
from etsearch.planning.cost import Batch
from etsearch.planning.policy import EnginePolicy
from etsearch.planning.requests import CachedStep, Request
from etsearch.planning.trace import SearchTrace


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
        self._running: dict[_Sequence, None] = {}
        self._prefilling: dict[_Sequence, None] = {}
        """Those that run and whose prefix was not computed in one step."""
        self._ends: defaultdict[int, list[_Sequence]] = defaultdict(list)
        """The sequences that end with a step, if they do not lose their blocks before."""
        self._unused: OrderedDict[CachedStep, None] = OrderedDict()
        self._needs = [0] * self.policy.block_tokens
        """How many sequences need a new block at a step, by its number modulo the block's tokens."""
        self._held = self._own = self._unused_blocks = self._reserved = 0
        self._held_tokens = self._own_tokens = self._logical = self._decoding = 0
        self._chunks: list[tuple[_Sequence, int]] = []
        self._lost = self._num_under_way = self._begun_blocks = self._begun_requests = 0

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
        most = request.prefix + max(request.lengths)
        if -(-most // self.policy.block_tokens) > self.num_blocks:
            raise ConfigError(
                f"a trajectory of {most:,} tokens does not fit the KV cache of {self.cache_tokens:,}; "
                "take a card with more memory, a smaller model, or more cards"
            )
        for length, writes in zip(request.lengths, request.writes, strict=True):
            self._waiting.append(_Sequence(request, length, writes))

    def begin(self) -> tuple[Batch, int]:
        """Plans the next step: what it computes, and how many of its rows were computed before."""
        self._make_room_for_decoding()
        budget = self.policy.step_tokens - self._decoding
        self._chunks = []
        for sequence in self._prefilling:
            if budget <= 0:
                break
            budget -= self._plan_chunk(sequence, budget)
        while budget > 0 and self._waiting:
            sequence = self._waiting[0]
            if self._is_full_for(sequence) or not self._take_in(sequence):
                break
            self._waiting.popleft()
            budget -= self._plan_chunk(sequence, budget)
        rows, pairs, context, lost = 0, 0.0, 0, 0
        for sequence, size in self._chunks:
            position, recomputed = sequence.position, sequence.recomputed
            rows += size
            pairs += size * (position + size / 2)
            context += position + size
            lost += min(recomputed, size)
        self._lost = lost
        batch = Batch(
            rows=self._decoding + rows,
            decoding=self._decoding,
            distinct=min(self.kv_tokens, self._logical),  # of a prefix that is only being computed nothing is read
            logical=self._logical,
            pairs=pairs,
            context=context,
            prefixes=len(self._chunks),
            under_way=self._num_under_way,
            begun_blocks=self._begun_blocks,
            begun_requests=self._begun_requests,
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
            if size == sequence.prefill:
                self._join(sequence)
            else:
                sequence.position += size
                sequence.prefill -= size
                sequence.recomputed = max(0, sequence.recomputed - size)
                self._prefilling[sequence] = None
        for sequence in self._ends.pop(counts.num_steps, ()):
            if sequence.joined >= 0 and self._written(sequence) >= sequence.length:
                self._finish(sequence, done)
        return done

    @property
    def _spare(self) -> int:
        """Blocks that are not in use."""
        return self.num_blocks - self._held - self._own

    def _written(self, sequence: _Sequence) -> int:
        return sequence.written + self.counts.num_steps - sequence.joined

    def _plan_chunk(self, sequence: _Sequence, budget: int) -> int:
        size = min(budget, sequence.prefill)
        self._chunks.append((sequence, size))
        return size

    def _join(self, sequence: _Sequence) -> None:
        """Its prefix is computed, and its next token written."""
        now, prefix, before = self.counts.num_steps, sequence.request.prefix, sequence.written
        self._prefilling.pop(sequence, None)
        self.counts.decoded += 1
        sequence.written, sequence.joined = before + 1, now
        self._own_tokens += before + 1
        self._logical += prefix + before + 1
        self._decoding += 1
        self._needs[(now - prefix - before) % self.policy.block_tokens] += 1
        self._ends[now + sequence.length - before - 1].append(sequence)

    def _leave(self, sequence: _Sequence) -> int:
        """Takes it out of the running sums; returns how many tokens it had written."""
        size, prefix = self.policy.block_tokens, sequence.request.prefix
        del self._running[sequence]
        if sequence.joined < 0:
            self._prefilling.pop(sequence, None)
            self._own -= -(-(prefix % size + sequence.written + 1) // size)
            return sequence.written
        written = self._written(sequence)
        self._own -= -(-(prefix % size + written) // size)
        self._own_tokens -= written
        self._logical -= prefix + written
        self._decoding -= 1
        self._needs[(sequence.joined - (prefix + sequence.written - 1)) % size] -= 1
        sequence.joined = -1
        return written

    def _finish(self, sequence: _Sequence, done: list[Request]) -> None:
        self._leave(sequence)
        request = sequence.request
        step = request.tree.steps[sequence.writes]
        step.is_known = True
        if step.owned and not step.cached and not step.refs:
            step.cached = step.owned
            self._set_aside(step)
        request.num_left -= 1
        self._release(request)
        if request.num_left == 0:
            self._num_under_way -= 1
            done.append(request)

    def _make_room_for_decoding(self) -> None:
        slot = (self.counts.num_steps + 1) % self.policy.block_tokens
        while self._needs[slot] > self._spare:
            self._preempt()
        self._own += self._needs[slot]
        self._begun_blocks, self._begun_requests = self._needs[slot], 0
        self._throw_out()

    def _preempt(self) -> None:
        """The youngest loses its blocks, and waits in front."""
        sequence = next(reversed(self._running))
        written = self._leave(sequence)
        sequence.written = 0 if self.policy.restarts else written
        if self.policy.restarts:
            self.counts.recomputed += written
        self._release(sequence.request)
        self._waiting.appendleft(sequence)
        self.counts.num_preemptions += 1

    def _is_full_for(self, sequence: _Sequence) -> bool:
        if self.policy.reserves:
            return not sequence.request.is_under_way and self._num_under_way >= self.policy.max_sequences
        return len(self._running) >= self.policy.max_sequences

    def _take_in(self, sequence: _Sequence) -> bool:
        """Gives a sequence its blocks, if there are as many."""
        request, size = sequence.request, self.policy.block_tokens
        prefix, written = request.prefix, sequence.written
        own = -(-(prefix % size + written + 1) // size)
        if request.num_active:
            if own > self._spare:
                return False
            hit = prefix - 1 if self.policy.forks else (prefix - 1) // size * size
            lost = 0
        else:
            held, unused, known = self._look_up(request)
            needed = prefix // size - held
            if needed + own > self._spare or (self.policy.reserves and not self._has_reserve(request, needed)):
                return False
            hit = min(held + unused, (prefix - 1) // size) * size
            lost = max(0, known - known % size - (held + unused) * size)  # what fills no block is never in the cache
            self._hold(request)
        self._own += own
        self._begun_blocks += own
        self._throw_out()
        request.num_active += 1
        if not request.is_under_way:
            request.is_under_way = True
            self._num_under_way += 1
            self._begun_requests += 1
        self._running[sequence] = None
        sequence.position, sequence.prefill = hit, prefix - hit + written
        sequence.recomputed = lost + written
        self.counts.queried += prefix + written
        self.counts.hits += hit
        return True

    def _look_up(self, request: Request) -> tuple[int, int, int]:
        """Of its prefix: blocks in use, blocks that are there unused, and tokens that were computed before."""
        step: CachedStep | None = request.end
        unused = known = 0
        while step is not None and not step.refs:
            unused += step.cached
            if step.is_known and not known:
                known = step.prefix
            step = step.above
        if step is None:
            return 0, unused, known
        return step.prefix // self.policy.block_tokens, unused, known or step.prefix

    def _has_reserve(self, request: Request, needed: int) -> bool:
        """Whether what it may come to fits beside what the others may, its prefix with so many blocks more."""
        if not self._running:
            return True
        return self._held + self._reserved + needed + self._likely_blocks(request) <= self.num_blocks

    def _likely_blocks(self, request: Request) -> int:
        size = self.policy.block_tokens
        return len(request.lengths) * -(-(request.prefix % size + self.likely_tokens) // size)

    def _hold(self, request: Request) -> None:
        """Its prefix is in use: what was there unused, and what is computed now."""
        step: CachedStep | None = request.end
        while step is not None:
            step.refs += 1
            if step.refs > 1:
                break  # and so is all above
            if step.cached:
                self._unused_blocks -= step.cached
                del self._unused[step]
            self._held += step.owned
            self._held_tokens += step.tokens
            step.cached = step.owned
            step.is_known = step.is_known or step.above is None
            step = step.above
        if self.policy.reserves:
            self._reserved += self._likely_blocks(request)

    def _release(self, request: Request) -> None:
        """One of its sequences has gone; with the last one its prefix is no longer in use."""
        request.num_active -= 1
        if request.num_active:
            return
        step: CachedStep | None = request.end
        while step is not None:  # the end of a prefix is the first to go
            step.refs -= 1
            if step.refs:
                break
            self._held -= step.owned
            self._held_tokens -= step.tokens
            if step.cached:
                self._set_aside(step)
            step = step.above
        if self.policy.reserves:
            self._reserved -= self._likely_blocks(request)

    def _set_aside(self, step: CachedStep) -> None:
        self._unused[step] = None
        self._unused_blocks += step.cached

    def _throw_out(self) -> None:
        """Unused blocks make room for those that are in use now, the longest unused first."""
        too_many = self._unused_blocks - self._spare
        if too_many <= 0:
            return
        self._unused_blocks -= too_many
        self.counts.evicted += too_many * self.policy.block_tokens
        unused = self._unused
        while too_many:
            step = next(iter(unused))
            if step.cached > too_many:
                step.cached -= too_many
                return
            too_many -= step.cached
            step.cached = 0
            del unused[step]


def likely_length(traces: Iterable[SearchTrace], share: float = 0.95) -> int:
    """Tokens that a continuation hardly exceeds."""
    lengths = sorted(n for trace in traces for requests in trace.depths for draws in requests for n in draws.tokens)
    return lengths[min(len(lengths) - 1, int(share * len(lengths)))] if lengths else 1

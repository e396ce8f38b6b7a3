"""Transformers' continuous batching, and what a search needs beside it.

The manager of transformers owns the model in a thread of its own: it batches, pages the KV cache and shares full blocks
of it. It does two things for a whole batch alike that a search needs for each sequence: it draws from one random
generator, and it tells probabilities after temperature and top-p. So the last processor of logits here is
:class:`Drawing`. It draws itself, by each sequence's own temperature, top-p and seed, tells the probability under the
model's own distribution, and leaves the manager one token to choose. Since it sees every token when it is drawn, it
also sees delimiters that several tokens spell, and each sequence's end.

Sequences of one prefix could be forked from one request, but transformers (5.19) dies of a fork whose prefix is in the
cache up to its last token. So the first sequence goes ahead by a token, and the others find its full blocks there.
"""

import itertools
import logging
import random
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.logits_process import LogitsProcessorList

from etsearch.errors import EngineError
from etsearch.generators.in_process import CacheUses, Output, SpanWatch
from etsearch.models.threads import Job
from etsearch.types import EngineStats, Sampling

WAIT_S: Final = 0.5
"""How often it is looked whether the manager's thread still lives."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the batch takes it.

    Attributes:
        prefix: token ids.
        count: sequences.
        max_tokens: of each.
        sampling: temperature and top-p.
        seed: with the place of a sequence it makes the sequence's own.
        ends: tokens that end a sequence, those that hold a delimiter among them.
        spans: delimiters that several tokens can spell.
    """

    prefix: tuple[int, ...]
    count: int
    max_tokens: int
    sampling: Sampling
    seed: int
    ends: frozenset[int]
    spans: tuple[str, ...]


class _Job(Job[list[Output]]):
    """A request with its sequences; ``branches`` grow once the first has a token."""

    def __init__(self, asked: Asked, number: int) -> None:
        super().__init__()
        self.asked, self.number = asked, number
        self.branches: list[_Branch] = []


class _Branch:
    """One sequence."""

    def __init__(self, job: _Job, index: int, texts: Sequence[str]) -> None:
        self.job, self.name = job, f"{job.number}.{index}"
        self.ids: list[int] = []
        self.log_probabilities: list[float] = []
        self.random = random.Random(f"{job.asked.seed} {index}")
        self._watch = SpanWatch(texts, job.asked.spans) if job.asked.spans else None
        self.is_done = self.is_stopped = False

    def take(self, token: int, log_probability: float) -> None:
        """A token was drawn. The manager ends a sequence by itself, unless a delimiter of several tokens stops it."""
        self.ids.append(token)
        self.log_probabilities.append(log_probability)
        is_last = token in self.job.asked.ends or len(self.ids) == self.job.asked.max_tokens
        self.is_stopped = not is_last and self._watch is not None and self._watch.has_ended([token])
        self.is_done = is_last or self.is_stopped

    @property
    def output(self) -> Output:
        return Output(tuple(self.ids), tuple(self.log_probabilities))


class Drawing(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]
    """Draws the next token of every sequence in a step, in the manager's thread."""

    supported_kwargs: dict[str, type] = {}  # noqa: RUF012 - the base class's form
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self, batch: "Batch") -> None:
        self._batch = batch
        self._rows: list[_Branch | None] = []

    def fill_defaults(self, int32_tensor: Any) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> Any:
        """The sequences of a step, in the order of its rows."""
        self._rows = self._batch.begin_step([request.state for request in requests_with_new_token])
        return torch.zeros(len(self._rows), dtype=torch.int32)

    def __call__(self, scores: Any, tensor_arg: Any) -> Any:
        """Logits ``[rows, vocabulary]`` in, of each row minus infinity but at the token that was drawn out.

        Rows behind those of the sequences belong to prefixes that are not computed to their end yet: nobody reads them.
        """
        del tensor_arg
        rows, logits = self._rows, scores[: len(self._rows)]
        samplings = [Sampling(0.0) if row is None else row.job.asked.sampling for row in rows]
        chosen = draw(logits, samplings, [0.0 if row is None else row.random.random() for row in rows])
        log_probabilities = logits.gather(1, chosen[:, None]).squeeze(1) - logits.logsumexp(-1)
        for row, token, value in zip(rows, chosen.tolist(), log_probabilities.tolist(), strict=True):
            if row is not None:
                row.take(token, value)
        self._batch.end_step(rows)
        scores.fill_(-torch.inf)
        logits.scatter_(1, chosen[:, None], 0.0)
        return scores


def draw(logits: Any, samplings: Sequence[Sampling], shares: Sequence[float]) -> Any:
    """A token of each row of logits ``[rows, vocabulary]``.

    Args:
        logits: of the model.
        samplings: temperature and top-p of each row; at temperature 0 the likeliest token is taken.
        shares: of each row a number in [0, 1), uniform: the token is that at which the probabilities, summed up in the
            order of their ids, come to exceed this share of their sum.
    """
    chosen = logits.argmax(-1)
    drawn = [row for row, sampling in enumerate(samplings) if sampling.temperature > 0]
    if not drawn:
        return chosen
    device, kind = logits.device, torch.float64 if logits.device.type == "cpu" else torch.float32
    rows = torch.tensor(drawn, device=device)
    own = logits if len(drawn) == len(samplings) else logits[rows]
    temperatures = torch.tensor([samplings[row].temperature for row in drawn], dtype=own.dtype, device=device)
    likely = (own / temperatures[:, None]).softmax(-1)
    top_ps = [samplings[row].top_p for row in drawn]
    if min(top_ps) < 1:
        likely = _nucleus(likely, torch.tensor(top_ps, dtype=likely.dtype, device=device))
    sums = likely.to(kind).cumsum(-1)
    wanted = torch.tensor([shares[row] for row in drawn], dtype=kind, device=device) * sums[:, -1]
    found = torch.searchsorted(sums, wanted[:, None], right=True).squeeze(1)
    last = (sums < sums[:, -1:]).sum(-1)  # rounding may not lead beyond the last token that can be
    chosen[rows] = torch.minimum(found, last)
    return chosen


def _nucleus(likely: Any, top_ps: Any) -> Any:
    """Probabilities ``[rows, vocabulary]`` of the likeliest tokens that together have ``top_p``, 0 of all others."""
    ordered, places = likely.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    kept = ordered.where(before < top_ps[:, None], torch.zeros_like(ordered))
    return torch.zeros_like(likely).scatter_(-1, places, kept)


class Batch:
    """The manager of a model, and the requests that it works on.

    Args:
        model: a causal language model of transformers.
        texts: the text of every token, alone.
        cache_tokens: tokens that the KV cache holds; None for what ``memory`` leaves it.
        block_tokens: tokens in a block of it, 4 at least.
        step_tokens: tokens of prefixes and of running sequences that a step computes at most.
        max_sequences: sequences that a step computes at most.
        memory: share of the memory that is free, once the model is loaded, for the cache and what goes with it.

    Raises:
        MemoryError, ValueError: such a cache does not fit.
    """

    def __init__(
        self,
        model: Any,
        texts: Sequence[str],
        *,
        cache_tokens: int | None,
        block_tokens: int,
        step_tokens: int,
        max_sequences: int,
        memory: float,
    ) -> None:
        logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
        self._texts, self._block_tokens = texts, block_tokens
        self._manager = model.init_continuous_batching(
            generation_config=GenerationConfig(do_sample=False, eos_token_id=-1, max_new_tokens=1),
            continuous_batching_config=ContinuousBatchingConfig(
                page_size=block_tokens,
                num_blocks=None if cache_tokens is None else -(-cache_tokens // block_tokens),
                max_batch_tokens=step_tokens,
                max_requests_per_batch=max_sequences,
                max_memory_percent=memory,
                max_blocks_per_request=0,
                use_async_batching=False,  # a step is drawn before the next one begins
                use_cuda_graph=False,
                auto_switch_to_flash=False,
            ),
        )
        self._manager.logit_processor = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([Drawing(self)]))
        self._manager.logit_processor.tensors_required = 1
        self._manager.warmup()  # makes the cache
        self._cache = self._manager.batch_processor.cache
        self._lock, self._numbers = threading.Lock(), itertools.count(1)
        self._end: EngineError | None = None
        self._jobs: dict[int, _Job] = {}
        self._branches: dict[str, _Branch] = {}
        self._num_running = self._num_preemptions = self._num_asked = self._num_found = 0
        self.uses = CacheUses()
        self._count_prefixes()
        self._has_started = threading.Event()
        self._reader = threading.Thread(target=self._read, name="etsearch-transformers", daemon=True)
        self._reader.start()
        self._has_started.wait()

    @property
    def num_tokens(self) -> int:
        """Tokens that the cache holds."""
        return int(self._cache.num_blocks) * self._block_tokens

    def submit(self, asked: Asked) -> "Future[list[Output]]":
        """The sequences of a request, once all are there. Raises EngineError if the engine is closed or has failed."""
        job = _Job(asked, next(self._numbers))
        with self._lock:
            if self._end is not None:
                raise self._end
            self._jobs[job.number] = job
        job.future.add_done_callback(lambda _: self._drop(job))
        self._add(job, 0, 1)
        return job.future

    def stats(self) -> EngineStats:
        """The figures of the last step, none of which outlast the work that they are of."""
        with self._lock:
            num_open = len(self._branches)
            num_behind = sum(job.asked.count - len(job.branches) for job in self._jobs.values())
        running = min(self._num_running, num_open)
        return EngineStats(
            cache_use=self.uses.steps[-1][1] if running and self.uses.steps else 0.0,
            cache_capacity_tokens=self.num_tokens,
            prefix_query_tokens=self._num_asked,
            prefix_hit_tokens=self._num_found,
            num_preemptions=self._num_preemptions,
            block_tokens=self._block_tokens,
            num_running=running,
            num_waiting=num_open - running + num_behind,
        )

    def stop(self) -> None:
        """Ends the thread; what is in flight fails."""
        with self._lock:
            self._end = self._end or EngineError("the engine is closed; make a new one")
        self._manager.stop(block=True, hard_stop=True)
        self._reader.join()
        self._manager.destroy()

    def begin_step(self, states: Sequence[Any]) -> list[_Branch | None]:
        """The sequences that get a token in a step; None for one whose request has gone meanwhile."""
        rows = [self._branches.get(state.request_id) for state in states]
        for row, state in zip(rows, states, strict=True):
            if row is not None and row.ids and not state.generated_tokens:
                self._num_preemptions += 1  # it lost its blocks, and what it had written is its prefix now
        return rows

    def end_step(self, rows: Sequence[_Branch | None]) -> None:
        """Every row has its token: what has ended leaves, and what follows a first sequence is let in."""
        self._num_running = len(rows)
        self.uses.add(self._use())
        for row in rows:
            if row is not None:
                self._go_on(row)

    def _go_on(self, branch: _Branch) -> None:
        job = branch.job
        if branch.is_stopped:
            self._manager.cancel_request(branch.name)
        if branch.is_done:
            with self._lock:
                self._branches.pop(branch.name, None)
        if len(job.branches) < job.asked.count:
            self._add(job, 1, job.asked.count)
        if all(b.is_done for b in job.branches):
            job.answer([b.output for b in job.branches])

    def _add(self, job: _Job, start: int, end: int) -> None:
        """Hands sequences ``start`` to ``end - 1`` of a request to the manager, if somebody still waits for them."""
        branches = [_Branch(job, index, self._texts) for index in range(start, end)]
        with self._lock:
            if job.number not in self._jobs:
                return
            job.branches += branches
            self._branches |= {branch.name: branch for branch in branches}
        for branch in branches:
            self._manager.add_request(
                list(job.asked.prefix),
                request_id=branch.name,
                max_new_tokens=job.asked.max_tokens,
                eos_token_id=sorted(job.asked.ends),
            )

    def _drop(self, job: _Job) -> None:
        """A request is answered, has failed or was cancelled: what is left of it leaves, wherever it is."""
        with self._lock:
            self._jobs.pop(job.number, None)
            left = [branch for branch in job.branches if self._branches.pop(branch.name, None) is not None]
        for branch in left:
            self._manager.cancel_request(branch.name)

    def _use(self) -> float:
        """The share of the cache that running sequences hold; blocks that are only remembered are free."""
        remembered = sum(
            len(allocator.ledger.cached_blocks) * allocator.bytes_per_block
            for allocator in self._cache.cache_allocators.values()
        )
        free = self._cache.compute_free_capacity(relative=False) + remembered
        size: int = self._cache.num_sectors * self._cache.bytes_per_sector
        return max(0.0, 1 - float(free) / size)

    def _count_prefixes(self) -> None:
        """Counts what is asked of the prefix cache and what is found there, which transformers does not."""
        search = self._cache.search_prefix_match

        def counted(request_id: str, prompt_ids: list[int]) -> int:
            found = int(search(request_id, prompt_ids))
            self._num_asked += len(prompt_ids)
            self._num_found += found
            return found

        self._cache.search_prefix_match = counted

    def _read(self) -> None:
        """Starts the manager, whose thread is no obstacle to the end of the process then, and reads what failed."""
        self._manager.start()
        self._has_started.set()
        while (result := self._manager.get_result(timeout=WAIT_S)) is not None or self._manager.is_running():
            if result is not None and result.error and (branch := self._branches.get(result.request_id)):
                branch.job.fail(self._end or EngineError(f"transformers failed while generating: {result.error}"))
        reason = self._manager.background_thread_status.fatal_error
        with self._lock:
            self._end = self._end or EngineError(f"the engine's thread has ended: {reason}; make a new one")
            left = list(self._jobs.values())
        for job in left:
            job.fail(self._end)

"""A reward model that reads trajectories, batch by batch."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from etsearch.boundary.numbers import MOST_TOKENS, check_whole
from etsearch.planning.cost import Batch
from etsearch.planning.trace import SearchTrace
from etsearch.prms.in_process import batches


@dataclass(frozen=True, slots=True)
class Reading:
    """How a reward model reads.

    Attributes:
        sharing: what trajectories share: ``none`` is read by each; with ``cache`` what lies above a step is found in
            the model's own KV cache, which is taken to hold it; ``packed`` trajectories that wait together are read as
            a tree, in rows of ``row_tokens``.
        step_tokens: tokens that are read at once at most, 1 to 2^30.
        row_tokens: of a packed row.
        length_step: to a multiple of this packed rows are padded.
    """

    sharing: Literal["none", "cache", "packed"] = "none"
    step_tokens: int = 8192
    row_tokens: int = 512
    length_step: int = 1

    def __post_init__(self) -> None:
        check_whole("step_tokens", self.step_tokens, 1, MOST_TOKENS)
        check_whole("row_tokens", self.row_tokens, 1, MOST_TOKENS)
        check_whole("length_step", self.length_step, 1, MOST_TOKENS)


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """The reward of a step; ``tag`` is of whoever asked, a search: what others ask is not shared with it."""

    trace: SearchTrace
    step: int
    tag: object


class SimulatedScorer:
    """What waits is read in its order, as much as a step holds."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self._waiting: deque[Score] = deque()
        self._batches: deque[list[tuple[int, list[Score]]]] = deque()
        self._reading: list[Score] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits."""
        return not (self._waiting or self._batches)

    def submit(self, score: Score) -> None:
        """Takes a step that is to be scored."""
        self._waiting.append(score)

    def begin(self) -> Batch:
        """Plans the next batch. There must be something that waits."""
        return self._begin_packed() if self.reading.sharing == "packed" else self._begin_whole()

    def end(self) -> list[Score]:
        """The batch was read; gives what is scored by it."""
        done, self._reading = self._reading, []
        return done

    def _begin_whole(self) -> Batch:
        rows, pairs, context = 0, 0.0, 0
        while self._waiting:
            score = self._waiting[0]
            length = score.trace.prefix[score.step]
            new = length
            if self.reading.sharing == "cache":
                new = min(length, score.trace.tokens[score.step] + 1)
            if self._reading and rows + new > self.reading.step_tokens:
                break
            self._reading.append(self._waiting.popleft())
            rows += new
            pairs += new * (length - new / 2)
            context += length
        return Batch(rows=rows, pairs=pairs, context=context, prefixes=len(self._reading))

    def _begin_packed(self) -> Batch:
        """All that waits is packed; then it is read some rows at a time, as by ``etsearch.prms``."""
        if not self._batches:
            rows = self._pack()
            most = max(1, self.reading.step_tokens // self.reading.row_tokens)
            for places in batches([length for length, _ in rows], most):
                self._batches.append([rows[place] for place in places])
        taken = self._batches.popleft()
        for _, scores in taken:
            self._reading += scores
        step = self.reading.length_step
        longest = -(-max(length for length, _ in taken) // step) * step
        return Batch(rows=longest * len(taken), pairs=float(longest * longest * len(taken)), prefixes=len(taken))

    def _pack(self) -> list[tuple[int, list[Score]]]:
        """Rows of all that waits: search by search, and of each in the order of a depth-first walk."""
        rows: list[tuple[int, list[Score]]] = []
        order: dict[int, int] = {}
        for score in self._waiting:
            order.setdefault(id(score.tag), len(order))
        waiting = sorted(self._waiting, key=lambda score: (order[id(score.tag)], score.trace.path(score.step)))
        self._waiting.clear()
        before: tuple[object, tuple[int, ...]] = (None, ())
        for score in waiting:
            trace, path = score.trace, score.trace.path(score.step)
            shared = _shared(before[1], path) if before[0] is score.tag else 0
            new = trace.prefix[score.step] - (trace.prefix[path[shared - 1]] if shared else 0)
            if not rows or rows[-1][0] + new > self.reading.row_tokens:
                rows.append((trace.prefix[score.step], [score]))
            else:
                length, scores = rows[-1]
                rows[-1] = (length + new, [*scores, score])
            before = score.tag, path
        return rows


def _shared(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """How many steps two paths have in common."""
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length

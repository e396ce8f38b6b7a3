"""A label PRM in this process, as a compiled OpenVINO network.

OpenVINO GenAI gives no logits, so the network is run as it stands: a batch of ids, padded on the right, in; logits at
every position out. One thread runs it and takes all that waits into its next batches. A network that takes positions
and a mask ``[batch, 1, length, length]`` reads what trajectories share only once (``packing``).
"""

import asyncio
import queue
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from etsearch.errors import ConfigError, MissingDependencyError, RewardError
from etsearch.model_files import checked_path, context_length, identify, unreadable
from etsearch.prms.label import LabelReader, LabelSpec, Reading
from etsearch.prms.packing import pack
from etsearch.types import Identity, Scores, Trajectory

PADDING_SHARE: Final = 0.25
"""Share of padding in a batch above which a longer sequence waits for the next one."""
ROW_TOKENS: Final = 512
"""Tokens of packed trajectories in a row; attention grows with its square."""
MAX_ROWS: Final = 4
"""Packed rows that are read at once at most."""

_TREE_MASK_RANK: Final = 4
_Logits = list[NDArray[np.float64]]


@dataclass(slots=True)
class _Job:
    reading: Reading
    future: "Future[tuple[float, ...]]" = field(default_factory=Future)

    def fail(self, error: RewardError) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class _Network:
    """The compiled network: sequences of ids in, the logits of the two labels at every token out."""

    def __init__(self, path: Path, labels: tuple[int, int], max_batch: int) -> None:
        import openvino as ov  # noqa: PLC0415

        model = ov.Core().compile_model(str(path / "openvino_model.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        ranks = {name: port.partial_shape.rank.get_length() for port in model.inputs for name in port.names}
        if "input_ids" not in ranks:
            raise ConfigError(f"{path} has no input 'input_ids' but {sorted(ranks)}: it is no language model")
        self._inputs = frozenset(ranks)
        self._can_pack = ranks.get("attention_mask") == _TREE_MASK_RANK and "position_ids" in ranks
        self._labels, self._max_batch = labels, max_batch
        self._request: Any = model.create_infer_request()

    def label_logits(self, sequences: Sequence[tuple[int, ...]]) -> Iterator[tuple[list[int], _Logits]]:
        """Batch by batch: which sequences were read, and logits ``[length, 2]`` of the good and the bad label of each.

        A network that was exported for two labels gives no others, in this order.
        """
        return self._packed(sequences) if self._can_pack else self._padded(sequences)

    def _padded(self, sequences: Sequence[tuple[int, ...]]) -> Iterator[tuple[list[int], _Logits]]:
        for batch in batches([len(ids) for ids in sequences], self._max_batch):
            shape = len(batch), max(len(sequences[i]) for i in batch)
            ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
            for row, i in enumerate(batch):
                ids[row, : len(sequences[i])], mask[row, : len(sequences[i])] = sequences[i], 1
            positions = np.broadcast_to(np.arange(shape[1]), shape).copy()
            yield batch, list(self._infer(ids, mask, positions))

    def _packed(self, sequences: Sequence[tuple[int, ...]]) -> Iterator[tuple[list[int], _Logits]]:
        packed = pack(sequences, ROW_TOKENS)
        for batch in batches([len(row.ids) for row in packed.rows], MAX_ROWS):
            rows = [packed.rows[i] for i in batch]
            shape = len(rows), max(len(row.ids) for row in rows)
            ids, positions = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
            for number, row in enumerate(rows):
                ids[number, : len(row.ids)], positions[number, : len(row.ids)] = row.ids, row.positions
            mask = np.stack([row.mask(shape[1]) for row in rows])[:, None]
            logits = self._infer(ids, mask, positions)
            read = [i for i, (row, _) in enumerate(packed.places) if row in batch]
            yield read, [logits[batch.index(packed.places[i][0]), list(packed.places[i][1])] for i in read]

    def _infer(self, ids: NDArray[np.int64], mask: NDArray[Any], positions: NDArray[np.int64]) -> NDArray[np.float64]:
        beams = np.arange(len(ids), dtype=np.int32)
        given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "beam_idx": beams}
        if "beam_idx" in self._inputs:
            self._request.reset_state()
        logits = self._request.infer({k: v for k, v in given.items() if k in self._inputs})[0]
        if logits.shape[:2] != ids.shape or logits.ndim != 3:
            raise RewardError(f"its output has shape {logits.shape}, not [{len(ids)}, {ids.shape[1]}, vocabulary or 2]")
        return np.asarray(logits if logits.shape[-1] == 2 else logits[..., list(self._labels)], dtype=np.float64)


class _Scorer:
    """The thread that runs the network."""

    def __init__(self, network: _Network) -> None:
        self._network = network
        self._inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock, self._is_closed = threading.Lock(), False
        self._thread = threading.Thread(target=self._run, name="etsearch-prm", daemon=True)
        self._thread.start()

    def submit(self, reading: Reading) -> "Future[tuple[float, ...]]":
        job = _Job(reading)
        with self._lock:
            if self._is_closed:
                raise RewardError("the reward model is closed; make a new one")
            self._inbox.put(job)
        return job.future

    def stop(self) -> None:
        """Ends the thread; what waits fails. May be called twice, from any thread, and at exit."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            waiting = [self._inbox.get()]
            while not self._inbox.empty():
                waiting.append(self._inbox.get())
            is_open = None not in waiting
            self._score([job for job in waiting if job is not None and not job.future.cancelled()])

    def _score(self, jobs: list[_Job]) -> None:
        try:
            for batch, logits in self._network.label_logits([job.reading.ids for job in jobs]):
                if self._is_closed:
                    break
                for i, rows in zip(batch, logits, strict=True):
                    _answer(jobs[i], rows[list(jobs[i].reading.positions)])
        except Exception as error:  # noqa: BLE001 - whatever the network throws belongs to the callers
            _fail_rest(jobs, RewardError(f"the reward model failed: {error}"))
        _fail_rest(jobs, RewardError("the reward model was closed"))


def _fail_rest(jobs: list[_Job], error: RewardError) -> None:
    for job in jobs:
        if not job.future.done():
            job.fail(error)


def _answer(job: _Job, logits: NDArray[np.float64]) -> None:
    """Gives the rewards of label logits ``[steps, 2]``."""
    if not np.isfinite(logits).all():
        job.fail(RewardError(f"the reward model gave logits that are no numbers: {logits.tolist()}"))
        return
    rewards = 1 / (1 + np.exp(np.clip(logits[:, 1] - logits[:, 0], -700, 700)))
    if job.future.set_running_or_notify_cancel():
        job.future.set_result(tuple(rewards.tolist()))


def batches(lengths: Sequence[int], max_batch: int) -> Iterator[list[int]]:
    """Places of sequences of similar length together, so that little of a batch is padding."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        padding = sum(lengths[place] - lengths[other] for other in batch)
        if batch and (len(batch) == max_batch or padding > PADDING_SHARE * lengths[place] * (len(batch) + 1)):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


@final
class OpenVinoRewardModel:
    """A label PRM from an OpenVINO IR folder, batched over all searches.

    The network takes ``input_ids`` (and ``attention_mask``, ``position_ids``, ``beam_idx`` if it has them) and gives
    logits over the vocabulary, or over the good and the bad label only. If its ``attention_mask`` is ``[batch, 1,
    length, length]``, which is added to the logits of attention, trajectories are packed as trees. The folder holds
    the tokenizer as IR too.

    Args:
        path: The folder.
        spec: How the PRM is read; by default what ``etsearch.json`` in the folder says.
        max_batch: Trajectories that are read at once at most, where they are not packed.
        read_question: Called with each question; gives the question as the model reads it, or raises ConfigError.

    Raises:
        ConfigError: The folder holds no such model, nothing says how it is read, or a label is not one token.
        MissingDependencyError: openvino-genai, which brings OpenVINO and the tokenizers, is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        spec: LabelSpec | None = None,
        max_batch: int = 64,
        read_question: Callable[[str], str] = str,
    ) -> None:
        if max_batch < 1:
            raise ConfigError(f"max_batch is {max_batch}; it must be at least 1")
        folder = checked_path(path)
        if not folder.is_dir():
            raise ConfigError(
                f"{folder} is no folder; a reward model needs an OpenVINO IR folder, a GGUF gives no logits"
            )
        spec = spec or LabelSpec.load(folder)
        if spec is None:
            raise ConfigError(
                f"nothing says how the PRM {folder} is read; put an etsearch.json there with "
                '{"label_prm": {"template": …, "tag": …, "good": …, "bad": …}}'
            )
        self._reader = LabelReader(spec, _tokenizer(folder), read_question)
        self._path, self._context_tokens = folder, context_length(folder)
        try:
            network = _Network(folder, self._reader.label_ids, max_batch)
        except RuntimeError as error:
            raise ConfigError(unreadable(folder, str(error))) from error
        self._scorer = _Scorer(network)
        self._stop = weakref.finalize(self, self._scorer.stop)

    @property
    def identity(self) -> Identity:
        """The model's files, and the version of OpenVINO."""
        import openvino as ov  # noqa: PLC0415

        return identify(self._path, f"openvino {ov.__version__}, f32")

    async def score(self, trajectory: Trajectory, first: int) -> Scores:
        """Rewards of the steps ``first`` to last; see :class:`~etsearch.prms.base.RewardModel`."""
        reading = self._reader.read(trajectory, first)
        if self._context_tokens is not None and len(reading.ids) > self._context_tokens:
            raise RewardError(
                f"a trajectory of {len(reading.ids)} tokens does not fit the reward model's {self._context_tokens}; "
                "limit the tokens of a trajectory"
            )
        rewards = await asyncio.wrap_future(self._scorer.submit(reading))
        return Scores(rewards, len(reading.ids))

    async def aclose(self) -> None:
        """Stops the thread; what waits raises RewardError. A second call does nothing."""
        await asyncio.to_thread(self._stop)


def _tokenizer(folder: Path) -> Callable[[str, bool], list[int]]:
    try:
        import openvino_genai  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("The embedded reward model (OpenVINO)", "local") from error
    try:
        tokenizer = openvino_genai.Tokenizer(str(folder))
    except RuntimeError as error:
        raise ConfigError(unreadable(folder, str(error))) from error

    def encode(text: str, starts: bool) -> list[int]:
        ids = tokenizer.encode(text, add_special_tokens=starts).input_ids.data
        return [int(i) for i in ids.reshape(-1)]

    return encode

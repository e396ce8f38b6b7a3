"""A label PRM in this process, as a compiled OpenVINO network.

OpenVINO GenAI gives no logits, so the network is run as it stands: a batch of ids, padded on the right, in; logits at
every position out. One thread runs it and takes all that waits into its next batches.
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
from etsearch.model_files import checked_path, context_length, unreadable
from etsearch.prms.label import LabelReader, LabelSpec, Reading
from etsearch.types import Scores, Trajectory

PADDING_SHARE: Final = 0.25
"""Share of padding in a batch above which a longer trajectory waits for the next one."""


@dataclass(slots=True)
class _Job:
    reading: Reading
    future: "Future[tuple[float, ...]]" = field(default_factory=Future)

    @property
    def length(self) -> int:
        return len(self.reading.ids)

    def fail(self, error: RewardError) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class _Network:
    """The compiled network: padded ids in, the logits of the two labels out."""

    def __init__(self, path: Path) -> None:
        import openvino as ov  # noqa: PLC0415

        model = ov.Core().compile_model(str(path / "openvino_model.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._inputs = frozenset(name for port in model.inputs for name in port.names)
        if "input_ids" not in self._inputs:
            raise ConfigError(f"{path} has no input 'input_ids' but {sorted(self._inputs)}: it is no language model")
        self._request: Any = model.create_infer_request()

    def label_logits(self, batch: Sequence[Sequence[int]], labels: tuple[int, int]) -> NDArray[np.float64]:
        """Logits ``[batch, longest, 2]`` of the good and the bad label; those at padding mean nothing.

        A network that was exported for two labels gives no others, in this order.
        """
        shape = len(batch), max(map(len, batch))
        ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, values in enumerate(batch):
            ids[row, : len(values)], mask[row, : len(values)] = values, 1
        given = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": np.broadcast_to(np.arange(shape[1]), shape).copy(),
            "beam_idx": np.arange(shape[0], dtype=np.int32),
        }
        if "beam_idx" in self._inputs:
            self._request.reset_state()
        logits = self._request.infer({k: v for k, v in given.items() if k in self._inputs})[0]
        if logits.shape[:2] != shape or logits.ndim != 3:
            raise RewardError(f"its output has shape {logits.shape}, not [{shape[0]}, {shape[1]}, vocabulary or 2]")
        return np.asarray(logits if logits.shape[-1] == 2 else logits[..., list(labels)], dtype=np.float64)


class _Scorer:
    """The thread that runs the network."""

    def __init__(self, network: _Network, labels: tuple[int, int], max_batch: int) -> None:
        self._network, self._labels, self._max_batch = network, labels, max_batch
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
            for batch in batches([job for job in waiting if job is not None], self._max_batch):
                self._score(batch)

    def _score(self, jobs: list[_Job]) -> None:
        jobs = [job for job in jobs if not job.future.cancelled()]
        if self._is_closed or not jobs:
            for job in jobs:
                job.fail(RewardError("the reward model was closed"))
            return
        try:
            logits = self._network.label_logits([job.reading.ids for job in jobs], self._labels)
            for job, rows in zip(jobs, logits, strict=True):
                _answer(job, rows[list(job.reading.positions)])
        except Exception as error:  # noqa: BLE001 - whatever the network throws belongs to the callers
            for job in jobs:
                if not job.future.done():
                    job.fail(RewardError(f"the reward model failed: {error}"))


def _answer(job: _Job, logits: NDArray[np.float64]) -> None:
    """Gives the rewards of label logits ``[steps, 2]``."""
    if not np.isfinite(logits).all():
        job.fail(RewardError(f"the reward model gave logits that are no numbers: {logits.tolist()}"))
        return
    rewards = 1 / (1 + np.exp(np.clip(logits[:, 1] - logits[:, 0], -700, 700)))
    if job.future.set_running_or_notify_cancel():
        job.future.set_result(tuple(rewards.tolist()))


def batches(jobs: Sequence[_Job], max_batch: int) -> Iterator[list[_Job]]:
    """Jobs of similar length together, so that little of a batch is padding."""
    batch: list[_Job] = []
    for job in sorted(jobs, key=lambda job: job.length):
        padding = sum(job.length - other.length for other in batch)
        if batch and (len(batch) == max_batch or padding > PADDING_SHARE * job.length * (len(batch) + 1)):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


@final
class OpenVinoRewardModel:
    """A label PRM from an OpenVINO IR folder, batched over all searches.

    The network takes ``input_ids`` (and ``attention_mask``, ``position_ids``, ``beam_idx`` if it has them) and gives
    logits over the vocabulary, or over the good and the bad label only. The folder holds the tokenizer as IR too.

    Args:
        path: The folder.
        spec: How the PRM is read; by default what ``etsearch.json`` in the folder says.
        max_batch: Trajectories that are read at once at most.
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
        self._context_tokens = context_length(folder)
        try:
            network = _Network(folder)
        except RuntimeError as error:
            raise ConfigError(unreadable(folder, str(error))) from error
        self._scorer = _Scorer(network, self._reader.label_ids, max_batch)
        self._stop = weakref.finalize(self, self._scorer.stop)

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

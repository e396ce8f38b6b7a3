"""A PRM in this process, as a compiled OpenVINO network.

OpenVINO GenAI gives no logits, so the network is run as it stands: a batch of ids, padded on the right, in; figures at
every position out. A network that takes positions and a mask ``[batch, 1, length, length]`` reads what trajectories
share only once (``packing``).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from etsearch.boundary.numbers import MOST_WIDTH, check_whole
from etsearch.errors import ConfigError, MissingDependencyError, RewardError
from etsearch.models.codec import Codec, FolderCodec, Messages
from etsearch.models.files import check_path, context_length, explain_unreadable, identify
from etsearch.models.gathering import Gathered
from etsearch.models.shapes import SHAPES
from etsearch.prms.families import Head, PrmFamily, find_family
from etsearch.prms.in_process import Figures, InProcessRewardModel, batches, pad
from etsearch.prms.packing import pack
from etsearch.prms.reading import PrmReader
from etsearch.registry import needs
from etsearch.types import Identity

ROW_TOKENS: Final = 512
"""Tokens of packed trajectories in a row; attention grows with its square."""
MAX_ROWS: Final = 4
"""Packed rows that are read at once at most."""
LENGTH_STEP: Final = 16
"""Packed rows are padded to a multiple of this: the network prepares itself for every shape that it has not kept."""

_TREE_MASK_RANK: Final = 4


@final
class OpenVinoNetwork:
    """The compiled network: ids in, figures at every token out.

    One that gives two or one figures a token was exported with the family's head, the good label before the bad one. Of
    one that gives logits over the vocabulary the head is taken here.
    """

    def __init__(self, path: Path, head: Head, labels: tuple[int, int] | None, max_batch: int) -> None:
        import openvino as ov  # noqa: PLC0415

        properties = {**SHAPES, "INFERENCE_PRECISION_HINT": "f32"}
        model = ov.Core().compile_model(str(path / "openvino_model.xml"), "CPU", properties)
        ranks = {name: port.partial_shape.rank.get_length() for port in model.inputs for name in port.names}
        if "input_ids" not in ranks:
            raise ConfigError(f"{path} has no input 'input_ids' but {sorted(ranks)}: it is no language model")
        self._inputs = frozenset(ranks)
        self._can_pack = ranks.get("attention_mask") == _TREE_MASK_RANK and "position_ids" in ranks
        self._head, self._labels, self._max_batch = head, labels, max_batch
        self._request: Any = model.create_infer_request()

    def figures(self, sequences: Sequence[tuple[int, ...]]) -> Iterator[tuple[list[int], Figures]]:
        """Batch by batch: which sequences were read, and of each its figures ``[length, d]``."""
        return self._read_packed(sequences) if self._can_pack else self._read_padded(sequences)

    def _read_padded(self, sequences: Sequence[tuple[int, ...]]) -> Iterator[tuple[list[int], Figures]]:
        for batch in batches([len(ids) for ids in sequences], self._max_batch):
            ids, mask = pad(sequences, batch)
            positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy()
            yield batch, list(self._infer(ids, mask, positions))

    def _read_packed(self, sequences: Sequence[tuple[int, ...]]) -> Iterator[tuple[list[int], Figures]]:
        packed = pack(sequences, ROW_TOKENS)
        for batch in batches([len(row.ids) for row in packed.rows], MAX_ROWS):
            rows = [packed.rows[i] for i in batch]
            shape = len(rows), _round_up(max(len(row.ids) for row in rows))
            ids, positions = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
            for number, row in enumerate(rows):
                ids[number, : len(row.ids)], positions[number, : len(row.ids)] = row.ids, row.positions
            mask = np.stack([row.mask(shape[1]) for row in rows])[:, None]
            figures = self._infer(ids, mask, positions)
            read = [i for i, (row, _) in enumerate(packed.places) if row in batch]
            yield read, [figures[batch.index(packed.places[i][0]), list(packed.places[i][1])] for i in read]

    def _infer(self, ids: NDArray[np.int64], mask: NDArray[Any], positions: NDArray[np.int64]) -> NDArray[np.float64]:
        beams = np.arange(len(ids), dtype=np.int32)
        given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "beam_idx": beams}
        if "beam_idx" in self._inputs:
            self._request.reset_state()
        out = self._request.infer({k: v for k, v in given.items() if k in self._inputs})[0]
        if out.shape[:2] != ids.shape or out.ndim != 3:
            raise RewardError(f"its output has shape {out.shape}, not [{len(ids)}, {ids.shape[1]}, figures]")
        return np.asarray(self._take(out), dtype=np.float64)

    def _take(self, out: NDArray[Any]) -> NDArray[Any]:
        """The figures of the family's head from what the network gives."""
        size = out.shape[-1]
        if self._head is Head.LABELS and size > 2 and self._labels:
            return out[..., list(self._labels)]
        if self._head is Head.MEAN_LOGIT and size > 1:
            return np.asarray(out.mean(axis=-1, keepdims=True, dtype=np.float64))
        return out


@final
@needs(extra="local", module="openvino")
class OpenVinoRewardModel(InProcessRewardModel):
    """A PRM of any family from an OpenVINO IR folder, batched over all searches.

    The network takes ``input_ids`` (and ``attention_mask``, ``position_ids``, ``beam_idx`` if it has them) and gives
    logits over the vocabulary, or what the family's head makes of them: the good and the bad label's logits, the two
    classes, the value. If its ``attention_mask`` is ``[batch, 1, length, length]``, which is added to the logits of
    attention, trajectories are packed as trees. The folder holds the tokenizer, as IR or as ``tokenizer.json``.

    Args:
        path: The folder.
        family: How the PRM is read: a row, a name, or a YAML file; by default what ``etsearch.json`` in the folder
            says.
        max_batch: Trajectories that are read at once at most, 1 to 65,536, where they are not packed.
        read_question: Called with each question; gives the question as the model reads it, or raises ConfigError.

    Raises:
        ConfigError: The folder holds no such model, nothing says how it is read, or a label is not one token.
        MissingDependencyError: openvino-genai, which brings OpenVINO and the tokenizers, is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        family: PrmFamily | str | None = None,
        max_batch: int = 64,
        read_question: Callable[[str], str] = str,
    ) -> None:
        check_whole("max_batch", max_batch, 1, MOST_WIDTH)
        folder = check_path(path)
        if not folder.is_dir():
            raise ConfigError(
                f"{folder} is no folder; a reward model needs an OpenVINO IR folder, a GGUF gives no logits"
            )
        row = family if isinstance(family, PrmFamily) else find_family(family, folder.name, folder)
        reader = PrmReader(row, _codec(folder), read_question)
        try:
            network = OpenVinoNetwork(folder, row.head, reader.label_ids, max_batch)
        except RuntimeError as error:
            raise ConfigError(explain_unreadable(folder, str(error))) from error
        self._path = folder
        super().__init__(reader, network, context_length(folder))

    @property
    def identity(self) -> Identity:
        """The model's files, and the version of OpenVINO."""
        import openvino as ov  # noqa: PLC0415

        return identify(self._path, f"openvino {ov.__version__}, f32")


def _round_up(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP


def _codec(folder: Path) -> Codec:
    return OpenVinoCodec(folder) if (folder / "openvino_tokenizer.xml").is_file() else FolderCodec(folder)


@final
class OpenVinoCodec(Codec):
    """A tokenizer as IR."""

    def __init__(self, folder: Path) -> None:
        try:
            import openvino_genai  # noqa: PLC0415
        except ImportError as error:
            raise MissingDependencyError("The embedded reward model (OpenVINO)", "local") from error
        try:
            self._tokenizer = openvino_genai.Tokenizer(str(folder))
        except RuntimeError as error:
            raise ConfigError(explain_unreadable(folder, str(error))) from error

        self._plain, self._special = Gathered(self._encode), Gathered(partial(self._encode, special=True))

    def encode_now(self, text: str, *, special: bool = False) -> list[int]:
        return self._encode([text], special=special)[0]

    async def encode(self, text: str, *, special: bool = False) -> list[int]:
        return await (self._special if special else self._plain)(text)

    def _encode(self, texts: list[str], *, special: bool = False) -> list[list[int]]:
        encoded = self._tokenizer.encode(texts, add_special_tokens=special)
        rows = zip(encoded.input_ids.data, encoded.attention_mask.data, strict=True)
        return [ids[mask > 0].tolist() for ids, mask in rows]

    def decode_now(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def render_now(self, messages: Messages, *, opens_answer: bool) -> str | None:
        if not self._tokenizer.chat_template:
            return None
        turns = [{"role": role, "content": content} for role, content in messages]
        return str(self._tokenizer.apply_chat_template(turns, add_generation_prompt=opens_answer))

    @property
    def starts_with(self) -> str | None:
        return str(self._tokenizer.get_bos_token()) or None

"""A PRM in this process, by transformers and PyTorch: for the heads that no server offers, and to check a server by.

The heads beside the language model (Skywork's value head, the classes of Qwen2.5-Math-PRM) are read from the checkpoint
by the names that the family's row gives; no code that comes with a model is run.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, final, get_args

from etsearch.boundary.numbers import MOST_WIDTH, check_whole, shown
from etsearch.errors import ConfigError, MissingDependencyError
from etsearch.models.codec import FolderCodec
from etsearch.models.files import context_length, identify
from etsearch.models.pytorch import Precision, check_device, model_folder, reading
from etsearch.prms.families import Head, PrmFamily, find_family
from etsearch.prms.in_process import Figures, InProcessRewardModel, batches, pad
from etsearch.prms.reading import PrmReader
from etsearch.registry import needs
from etsearch.types import Identity


@final
class TransformersNetwork:
    """A language model with its family's head."""

    def __init__(
        self,
        folder: Path,
        family: PrmFamily,
        labels: tuple[int, int] | None,
        device: Any,
        precision: Precision,
        max_batch: int,
    ) -> None:
        import torch  # noqa: PLC0415
        from transformers import AutoConfig, AutoModel, AutoModelForCausalLM  # noqa: PLC0415

        self._torch, self._head, self._labels, self._max_batch = torch, family.head, labels, max_batch
        kind = getattr(torch, precision)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if family.head in (Head.LABELS, Head.MEAN_LOGIT):
            self._model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=kind, local_files_only=True)
            self._layers: list[tuple[Any, Any]] = []
        else:
            self._model = AutoModel.from_pretrained(folder, config=config, dtype=kind, local_files_only=True)
            self._layers = [_linear(folder, name, kind, device) for name in family.weights]
        self._model.to(device).eval()
        self._device = device

    def figures(self, sequences: Sequence[tuple[int, ...]]) -> Iterator[tuple[list[int], Figures]]:
        """Batch by batch: which sequences were read, and of each its figures ``[length, d]``."""
        torch = self._torch
        for batch in batches([len(ids) for ids in sequences], self._max_batch):
            ids, mask = (torch.from_numpy(a).to(self._device) for a in pad(sequences, batch))
            with torch.inference_mode():
                out = self._take(self._model(input_ids=ids, attention_mask=mask, use_cache=False))
            yield batch, list(out.cpu().double().numpy())

    def _take(self, out: Any) -> Any:
        if self._head is Head.LABELS and self._labels:
            return out.logits[..., list(self._labels)]
        if self._head is Head.MEAN_LOGIT:
            kind = self._torch.float32 if self._device.type == "mps" else self._torch.float64  # mps has no float64
            return out.logits.mean(dim=-1, keepdim=True, dtype=kind)
        hidden = out.last_hidden_state
        for number, (weight, bias) in enumerate(self._layers):
            if number:
                hidden = self._torch.relu(hidden)
            hidden = self._torch.nn.functional.linear(hidden, weight, bias)
        return hidden


def _linear(folder: Path, name: str, kind: Any, device: Any) -> tuple[Any, Any]:
    """Weight and bias of a linear layer of a checkpoint; the bias may be missing."""
    weight = tensor(folder, f"{name}.weight")
    if weight is None:
        raise ConfigError(f"the checkpoint {folder} holds no {name}.weight, which the head of this PRM family needs")
    bias = tensor(folder, f"{name}.bias")
    return weight.to(device, kind), None if bias is None else bias.to(device, kind)


def tensor(folder: Path, name: str) -> Any:
    """A tensor of a checkpoint by its name; None if there is none."""
    from safetensors import safe_open  # noqa: PLC0415

    index = folder / "model.safetensors.index.json"
    if index.is_file():
        file = json.loads(index.read_text(encoding="utf-8"))["weight_map"].get(name)
        files = [folder / file] if file else []
    else:
        files = sorted(folder.glob("*.safetensors"))
    for path in files:
        with safe_open(path, "pt") as tensors:
            if name in tensors.keys():  # noqa: SIM118 - it is no mapping
                return tensors.get_tensor(name)
    return None


@final
@needs(extra="transformers", module="transformers")
class TransformersRewardModel(InProcessRewardModel):
    """A PRM of any family from a Hugging Face folder, batched over all searches; no KV is kept between batches.

    Args:
        path: The folder, with ``config.json``, safetensors and ``tokenizer.json``, or a model's name on the hub.
        family: How the PRM is read: a row, a name, or a YAML file; by default what ``etsearch.json`` in the folder or
            the folder's name says.
        max_batch: Trajectories that are read at once at most, 1 to 65,536.
        device: Where PyTorch computes: ``cpu``, ``cuda``, ``cuda:1``, ``mps``. A generator of transformers on the same
            GPU leaves it the memory that its own ``memory`` does not take.
        precision: What it computes in: ``float32``, ``bfloat16`` or ``float16``.
        read_question: Called with each question; gives the question as the model reads it, or raises ConfigError.

    Raises:
        ConfigError: There is no such model, device or precision, or nothing says how the model is read.
        MissingDependencyError: transformers or PyTorch is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        family: PrmFamily | str | None = None,
        max_batch: int = 16,
        device: str = "cpu",
        precision: Precision = "float32",
        read_question: Callable[[str], str] = str,
    ) -> None:
        check_whole("max_batch", max_batch, 1, MOST_WIDTH)
        if precision not in get_args(Precision):
            raise ConfigError(f"precision is {shown(precision)}; choose one of {', '.join(get_args(Precision))}")
        try:
            where = check_device(device)
            self._path, self._precision = model_folder(path), precision
            row = family if isinstance(family, PrmFamily) else find_family(family, self._path.name, self._path)
            reader = PrmReader(row, FolderCodec(self._path), read_question)
            with reading(self._path, where):
                network = TransformersNetwork(self._path, row, reader.label_ids, where, precision, max_batch)
        except ImportError as error:
            raise MissingDependencyError("The reward model 'transformers'", "transformers") from error
        super().__init__(reader, network, context_length(self._path))

    @property
    def identity(self) -> Identity:
        """The model's files, and the version of transformers."""
        import transformers  # noqa: PLC0415

        return identify(self._path, f"transformers {transformers.__version__}, {self._precision}")

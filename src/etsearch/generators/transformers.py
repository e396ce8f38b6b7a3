"""Any causal model of Hugging Face in this process: transformers' continuous batching, on a CPU or a GPU.

Convenient, not fast: attention reads the pages of all sequences of a step together (PyTorch's own kernel). For
throughput there are servers.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final, get_args

from etsearch.boundary.numbers import MOST_TOKENS, MOST_WIDTH, check_number, check_whole, shown
from etsearch.errors import ConfigError, MissingDependencyError
from etsearch.generators.base import one_question_alone, template_refuses
from etsearch.generators.formats import format_of
from etsearch.generators.in_process import InProcessGenerator, Output
from etsearch.models.codec import FolderCodec
from etsearch.models.files import context_length, identify
from etsearch.models.gathering import Wakeups
from etsearch.models.pytorch import Precision, check_device, model_folder, reading
from etsearch.registry import needs
from etsearch.types import EngineStats, GenerateRequest, Identity, Message, PromptFormat

if TYPE_CHECKING:
    from etsearch.generators._transformers_batch import Batch

CPU_CACHE_TOKENS: Final = 16_384
"""Size of the KV cache on a CPU where none is asked for."""
STEP_TOKENS: Final = 1024
"""Tokens of prefixes and of running sequences that one step computes at most."""


@final
@needs(extra="transformers", module="transformers")
class TransformersGenerator(InProcessGenerator):
    """Any causal language model of Hugging Face, in this process, by transformers' continuous batching.

    Sampling is from the model's full distribution, cut by ``top_p`` only; the same seed gives the same continuations,
    but for what the batch does to the last digits of a probability. ``Continuation.log_probability`` is under the
    model's own distribution: temperature and ``top_p`` do not enter it. Continuations of one step, and of earlier ones,
    share what is full of the blocks of their prefix; when the cache runs full, transformers forgets all that no running
    sequence holds, and computes it again.

    The model comes first on a GPU, then ``memory`` of what is left goes to its KV cache: the rest is for the reward
    model and the embedder, where they are on the same GPU.

    Args:
        path: A folder with ``config.json``, safetensors and ``tokenizer.json``, or a model's name on the hub.
        device: Where PyTorch computes: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: What it computes in: ``float32``, ``bfloat16`` or ``float16``.
        cache_tokens: Tokens that the KV cache holds, 1 to 2^30; by default 16,384 on a CPU, elsewhere what ``memory``
            has room for.
        memory: Share of the free memory that the KV cache and what goes with it may take, above 0, at most 1.
        block_tokens: Tokens in a block of the cache, 4 to 4,096: only whole blocks are shared.
        max_num_seqs: Sequences that a step computes at most, 1 to 65,536. More may be asked for; they wait.
        format: How questions are put to the model: one by name (:data:`~etsearch.generators.formats.FORMATS`), a JSON
            or YAML file, or a PromptFormat; by default what ``etsearch.json`` in the folder says, else
            :data:`~etsearch.generators.base.STEP_BY_STEP`.
        read_question: Called with each question; gives the question as the model reads it, or raises ConfigError.

    Raises:
        ConfigError: There is no such model, device or precision, or the cache does not fit.
        MissingDependencyError: transformers or PyTorch is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
        cache_tokens: int | None = None,
        memory: float = 0.6,
        block_tokens: int = 16,
        max_num_seqs: int = 256,
        format: PromptFormat | str | None = None,  # noqa: A002 - the protocol's name
        read_question: Callable[[str], str] = str,
    ) -> None:
        check_whole("max_num_seqs", max_num_seqs, 1, MOST_WIDTH)
        check_whole("block_tokens", block_tokens, 4, 4096)
        check_number("memory", memory, 0, 1, above=True)
        if cache_tokens is not None:
            check_whole("cache_tokens", cache_tokens, 1, MOST_TOKENS)
        if precision not in get_args(Precision):
            raise ConfigError(f"precision is {shown(precision)}; choose one of {', '.join(get_args(Precision))}")
        try:
            where = check_device(device)
            folder = model_folder(path)
            prompt_format = format_of(format, folder)
            if cache_tokens is None and where.type == "cpu":
                cache_tokens = CPU_CACHE_TOKENS
            self._codec, model = FolderCodec(folder), _load(folder, where, precision)
        except ImportError as error:
            raise MissingDependencyError("The generator 'transformers'", "transformers") from error
        self._precision = precision
        texts = _token_texts(self._codec, model.config.get_text_config().vocab_size)
        self._batch = _open_batch(
            model,
            texts,
            f"{folder} on {device}",
            cache_tokens=cache_tokens,
            block_tokens=block_tokens,
            step_tokens=max(STEP_TOKENS, max_num_seqs),
            max_sequences=max_num_seqs,
            memory=memory,
        )
        self._wakeups: Wakeups[list[Output]] = Wakeups()
        super().__init__(
            folder,
            prompt_format,
            read_question,
            texts=texts,
            ends=_ends(model, self._codec),
            decode=self._codec.decode_many,
            context_tokens=min(context_length(folder) or MOST_TOKENS, self._batch.num_tokens),
            stop=self._batch.stop,
        )

    @property
    def identity(self) -> Identity:
        """The model's files, the version of transformers, and what it computes in."""
        import transformers  # noqa: PLC0415

        return identify(self._path, f"transformers {transformers.__version__}, {self._precision}")

    async def _write(self, request: GenerateRequest, count: int) -> list[Output]:
        from etsearch.generators._transformers_batch import Asked  # noqa: PLC0415

        delimiters = self._delimiters(request.stop)
        asked = Asked(
            request.prefix,
            count,
            request.max_tokens,
            request.sampling,
            request.seed,
            self._ends | delimiters.holders,
            request.stop if delimiters.can_span else (),
        )
        return await self._wakeups.result(self._batch.submit(asked))

    async def encode(self, text: str) -> list[int]:
        """Token ids of a text, without any special token around it."""
        return self._codec.encode_now(text)

    async def encode_prompt(self, question: str) -> list[int]:
        """Token ids of a question in this model's format."""
        return await self._codec.encode_question(self._format, self._read_question(question))

    async def encode_conversation(self, messages: Sequence[Message], question: str) -> list[int]:
        """See :class:`~etsearch.generators.base.ReadsConversations`."""
        if not self._format.chat:
            raise one_question_alone(str(self._path), "its format is without chat", "Give it one with 'chat: true'")
        question = self._read_question(question)
        try:
            ids = await self._codec.encode_turns(self._format, messages, question)
        except ConfigError as error:
            raise template_refuses(str(self._path), str(error)) from error
        if ids is None:
            raise one_question_alone(str(self._path), "it has no chat template", "Take a model for chat")
        return ids

    def peak_cache_use(self, since: float) -> float | None:
        """See ``etsearch.generators.base.TellsPeak``."""
        return self._batch.uses.peak(since)

    async def stats(self) -> EngineStats:
        """KV cache and sequences, as of the last step."""
        return self._batch.stats()


def _load(folder: Path, device: Any, precision: Precision) -> Any:
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    with reading(folder, device):
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, precision), attn_implementation="sdpa", local_files_only=True
        )
        return model.to(device).eval()


def _open_batch(model: Any, texts: Sequence[str], what: str, **settings: Any) -> "Batch":
    try:
        from etsearch.generators._transformers_batch import Batch  # noqa: PLC0415
    except ImportError as error:
        import transformers  # noqa: PLC0415

        raise ConfigError(
            f"transformers {transformers.__version__} has no continuous batching as 5.17 has it; install that, or later"
        ) from error
    try:
        return Batch(model, texts, **settings)
    except (MemoryError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"there is no room for the KV cache of {what}: {error}. Lower cache_tokens, or max_num_seqs"
        ) from error


def _token_texts(codec: FolderCodec, vocabulary: int) -> list[str]:
    """The text of every token, alone; a token that is part of a character shows as a replacement character."""
    texts = codec.decode_many([[i] for i in range(codec.size)])
    return [*texts, *[""] * (vocabulary - len(texts))]


def _ends(model: Any, codec: FolderCodec) -> frozenset[int]:
    """The tokens that end a sequence: those of the model's generation settings, and the tokenizer's own."""
    told = model.generation_config.eos_token_id
    ids = told if isinstance(told, list) else [told]
    return frozenset(int(i) for i in (*ids, codec.end_id) if i is not None)

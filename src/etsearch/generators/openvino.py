"""The embedded generator: OpenVINO GenAI's continuous batching in this process.

One thread owns the pipeline and alternates between taking requests in and taking a step, so that the branches of
all searches share one continuous batch. Callers may live on any event loop.

What the pipeline does with delimiters decides how a request is put to it. A token in ``stop_token_ids`` stays in the
generated ids, but the token that completes one of ``stop_strings`` is cut off, whatever
``include_stop_str_in_output`` says. So ``stop_strings`` is never used: the tokens whose text holds the delimiter
are stop tokens, and where a delimiter can also be spelt by several tokens (a blank line as two newlines) the
thread itself reads the tokens as they come and stops the sequence (:class:`Watched`).
"""

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal, final, get_args

import numpy as np
import numpy.typing as npt

from etsearch.boundary.numbers import MOST_TOKENS, MOST_WIDTH, check_whole
from etsearch.boundary.texts import clean_message
from etsearch.errors import ConfigError, MissingDependencyError, QuestionError
from etsearch.generators._kv_room import BLOCK_TOKENS, Need, most_sequences
from etsearch.generators._openvino_thread import MAX_BATCHED_TOKENS, Group, PipelineThread, Watched, Work
from etsearch.generators._prefix_book import MOST_NUMBERS, NUMBER_SHIFT
from etsearch.generators.base import one_question_alone, template_refuses
from etsearch.generators.formats import format_of
from etsearch.generators.in_process import InProcessGenerator, Output
from etsearch.models.files import check_path, context_length, explain_unreadable, identify
from etsearch.models.gathering import Wakeups
from etsearch.models.shapes import SHAPES
from etsearch.registry import needs
from etsearch.types import EngineStats, GenerateRequest, Identity, Message, PromptFormat, Sampling

Precision = Literal["f32", "bf16", "f16"]

MOST_CACHE_GB: Final = 65_536
"""The largest KV cache that may be asked for."""
_TWO_TOKENS: Final = GenerateRequest((0,), 1, max_tokens=2, stop=(), seed=0, sampling=Sampling(temperature=0))
_FEWEST_TO_CHECK: Final = 8
"""Blocks of a cache in which two requests of two blocks each fit at least."""


@final
@needs(extra="local", module="openvino_genai")
class OpenVinoGenerator(InProcessGenerator):
    """A model in this process: an OpenVINO IR folder, or a GGUF file of an architecture that OpenVINO GenAI reads.

    Sampling is from the model's full distribution, cut by ``top_p`` only; the same seed gives the same continuations,
    but for what the batch does to the last digits of a probability. ``Continuation.log_probability`` is under the
    model's own distribution: temperature and ``top_p`` do not enter it.

    Args:
        path: The folder (with the tokenizer as IR) or the ``.gguf`` file.
        format: How questions are put to the model: one by name (:data:`~etsearch.generators.formats.FORMATS`), a JSON
            or YAML file, or a PromptFormat; by default what ``etsearch.json`` in the folder says, else
            :data:`~etsearch.generators.base.STEP_BY_STEP`.
        cache_gb: Size of the KV cache in GB, 1 to 65,536; memory is taken as it is used.
        num_kv_blocks: Size of the KV cache in blocks of 32 tokens, 1 to 2^25, instead of ``cache_gb``.
        precision: What the engine computes in: ``f32``, ``bf16`` or ``f16``. By default the engine's choice, which is
            bf16 on a CPU that has it, so that searches differ from one kind of CPU to another.
        max_num_seqs: Sequences that a step computes at most, 1 to 65,536. More may be asked for; they wait.
        read_question: Called with each question; gives the question as the model reads it, or raises ConfigError.

    Raises:
        ConfigError: The path does not exist or holds no model that can be read; a size below 1.
        MissingDependencyError: openvino-genai is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        format: PromptFormat | str | None = None,  # noqa: A002 - the protocol's name
        cache_gb: int = 1,
        num_kv_blocks: int | None = None,
        max_num_seqs: int = 256,
        precision: Precision | None = None,
        read_question: Callable[[str], str] = str,
    ) -> None:
        check_whole("cache_gb", cache_gb, 1, MOST_CACHE_GB)
        check_whole("max_num_seqs", max_num_seqs, 1, MOST_WIDTH)
        if num_kv_blocks is not None:
            check_whole("num_kv_blocks", num_kv_blocks, 1, MOST_TOKENS // BLOCK_TOKENS)
        if precision not in (None, *get_args(Precision)):
            raise ConfigError(f"precision is {precision!r}; choose one of {', '.join(get_args(Precision))}, or none")
        path = check_path(path)
        prompt_format = format_of(format, path)
        self._genai, self._precision = _import_genai(), precision
        scheduler = self._genai.SchedulerConfig()
        scheduler.enable_prefix_caching = True
        scheduler.dynamic_split_fuse = True
        scheduler.max_num_batched_tokens = max(MAX_BATCHED_TOKENS, max_num_seqs)
        scheduler.max_num_seqs = max_num_seqs
        if num_kv_blocks is not None:
            scheduler.num_kv_blocks = num_kv_blocks
        else:
            scheduler.cache_size = cache_gb
        properties = SHAPES if precision is None else {**SHAPES, "INFERENCE_PRECISION_HINT": precision}
        try:
            pipeline = self._genai.ContinuousBatchingPipeline(str(path), scheduler, "CPU", properties)
            self._tokenizer = pipeline.get_tokenizer()
            ends = frozenset({self._tokenizer.get_eos_token_id(), *pipeline.get_config().stop_token_ids})
            texts = _token_texts(self._tokenizer)
            settings = self._settings(_TWO_TOKENS, 0, 1)
            settings.ignore_eos = True  # what has ended holds no block any more when the blocks in use are counted
            num_blocks = num_kv_blocks or _count_blocks(pipeline, settings)
            if num_blocks >= _FEWEST_TO_CHECK:
                _check_numbers(pipeline, settings, num_blocks, self._genai.__version__)
        except RuntimeError as error:
            raise ConfigError(explain_unreadable(path, str(error))) from error
        self._num_blocks = num_blocks
        self._step_tokens = scheduler.max_num_batched_tokens  # of all sequences of a request, one each
        self._pipeline = PipelineThread(pipeline, num_blocks, self._step_tokens)
        self._wakeups: Wakeups[list[Output]] = Wakeups()
        super().__init__(
            path,
            prompt_format,
            read_question,
            texts=texts,
            ends=ends,
            decode=self._tokenizer.decode,
            context_tokens=min(context_length(path) or MOST_TOKENS, num_blocks * BLOCK_TOKENS),
            stop=self._pipeline.stop,
        )

    @property
    def identity(self) -> Identity:
        """The model's files, and the version of OpenVINO GenAI."""
        return identify(self._path, f"openvino-genai {self._genai.__version__}, {self._precision or 'own precision'}")

    async def _write(self, request: GenerateRequest, count: int) -> list[Output]:
        most = min(most_sequences(self._num_blocks, len(request.prefix), request.max_tokens), self._step_tokens)
        parts = [self._submit(request, start, min(most, count - start)) for start in range(0, count, most)]
        return list(itertools.chain.from_iterable(await asyncio.gather(*map(self._wakeups.result, parts))))

    async def encode(self, text: str) -> list[int]:
        """Token ids of a text, without any special token around it."""
        return self._ids(text, add_special_tokens=False)

    async def encode_prompt(self, question: str) -> list[int]:
        """Token ids of a question in this model's format."""
        if self._format.chat and self._tokenizer.chat_template:
            return self._chat_ids((), question)
        return self._ids(self._format.prompt(self._read_question(question)), add_special_tokens=True)

    async def encode_conversation(self, messages: Sequence[Message], question: str) -> list[int]:
        """See :class:`~etsearch.generators.base.ReadsConversations`."""
        if not self._tokenizer.chat_template:
            raise one_question_alone(str(self._path), "it has no chat template", "Take a model for chat")
        if not self._format.chat:
            raise one_question_alone(str(self._path), "its format is without chat", "Give it one with 'chat: true'")
        return self._chat_ids(messages, question)

    def _chat_ids(self, messages: Sequence[Message], question: str) -> list[int]:
        """Token ids of a conversation, by the model's chat template."""
        turns = [asdict(turn) for turn in self._format.turns(messages, self._read_question(question))]
        try:
            chat = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True)
        except RuntimeError as error:
            raise template_refuses(str(self._path), clean_message(str(error))) from error
        return self._ids(chat, add_special_tokens=False)

    def peak_cache_use(self, since: float) -> float | None:
        """See ``etsearch.generators.base.TellsPeak``."""
        return self._pipeline.uses.peak(since)

    async def stats(self) -> EngineStats:
        """KV cache and requests, as of the last step; preempted is what outgrew its room, and began anew with more."""
        return self._pipeline.stats()

    def _ids(self, text: str, *, add_special_tokens: bool) -> list[int]:
        try:
            tokens = self._tokenizer.encode(text, add_special_tokens=add_special_tokens).input_ids.data
        except RuntimeError as error:
            message = f"the tokenizer of {self._path} cannot read {text!r}: {error}"
            raise QuestionError(message, told="the model's tokenizer cannot read this") from error
        return [int(i) for i in tokens.reshape(-1)]

    def _submit(self, request: GenerateRequest, start: int, count: int) -> "Future[list[Output]]":
        """Continuations ``start`` to ``start + count - 1`` of a request, which the cache can hold together."""
        is_apart = self._delimiters(request.stop).can_span
        need = Need(len(request.prefix), count, request.max_tokens, is_apart)
        return self._pipeline.submit(lambda: self._work(request, start, count), need, request.stop)

    def _work(self, request: GenerateRequest, start: int, count: int) -> Work:
        """Called in the pipeline's thread."""
        pipeline = self._pipeline
        place = pipeline.place(request.prefix)
        if not self._delimiters(request.stop).can_span:
            return Group(pipeline, place, self._config(request, start, count))
        add = lambda index: pipeline.add(place, self._config(request, start + index, 1))  # noqa: E731
        return Watched(place, add, count, self._texts, request.stop)

    def _config(self, request: GenerateRequest, index: int, count: int) -> Any:
        """The pipeline's settings for ``count`` sequences; ``index`` tells apart requests of one seed."""
        config = self._settings(request, index, count)
        config.stop_token_ids = set(self._ends | self._delimiters(request.stop).holders)
        return config

    def _settings(self, request: GenerateRequest, index: int, count: int) -> Any:
        """The same, with no token that ends a sequence."""
        config, sampling = self._genai.GenerationConfig(), request.sampling
        config.apply_chat_template = False
        config.do_sample = sampling.temperature > 0
        if config.do_sample:
            config.temperature, config.top_p = sampling.temperature, sampling.top_p
        config.rng_seed = _seed(request.seed, index)
        config.num_return_sequences = count
        config.max_new_tokens = request.max_tokens
        config.logprobs = 1
        return config


def _token_texts(tokenizer: Any) -> list[str]:
    """The text of every token, alone; a token that is part of a character shows as a replacement character."""
    size = max(tokenizer.get_vocab().values()) + 1
    return list(tokenizer.decode([[i] for i in range(size)]))


def _seed(seed: int, index: int) -> int:
    """The pipeline's generator takes 32 bits; all of ours enter them."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {index}".encode(), digest_size=4).digest())


def _count_blocks(pipeline: Any, config: Any) -> int:
    """The size of the cache, which the pipeline does not tell: one token takes one block, and the share is known."""
    _run_alone(pipeline, np.zeros(1, dtype=np.int64), config)
    share = float(pipeline.get_metrics().max_cache_usage) / 100
    return round(1 / share)


def _check_numbers(pipeline: Any, config: Any, num_blocks: int, version: str) -> None:
    """The numbers of :mod:`~etsearch.generators._prefix_book` must tell blocks apart; the model must not see them."""
    plain = np.zeros(BLOCK_TOKENS + 1, dtype=np.int64)
    numbers = (MOST_NUMBERS - 2, MOST_NUMBERS - 1)  # which no request will have
    one, other = (np.where(np.arange(len(plain)) == 0, number << NUMBER_SHIFT, plain) for number in numbers)
    outputs = [_run_alone(pipeline, ids, config) for ids in (plain, one)]
    is_unseen = outputs[0].generated_ids == outputs[1].generated_ids and np.allclose(
        outputs[0].generated_log_probs, outputs[1].generated_log_probs, atol=1e-3
    )
    if not (is_unseen and _share(pipeline, one, other, config) > _share(pipeline, one, one, config) + 0.5 / num_blocks):
        raise ConfigError(
            f"OpenVINO GenAI {version} treats the upper half of a token's 64 bits, by which blocks of the KV cache are "
            "told apart here, otherwise than it should; install a version from 2026.1 to 2026.4"
        )


def _run_alone(pipeline: Any, ids: npt.NDArray[np.int64], config: Any) -> Any:
    """What the pipeline writes after these tokens, with nothing beside it."""
    handle = _begin(pipeline, 0, ids, config)
    while pipeline.has_non_finished_requests():
        pipeline.step()
    return handle.read_all()[0]


def _share(pipeline: Any, some: npt.NDArray[np.int64], others: npt.NDArray[np.int64], config: Any) -> float:
    """The share of the cache that two requests hold, the second begun when the first is read."""
    handles = []
    for number, ids in enumerate((some, others)):
        handles.append(_begin(pipeline, number, ids, config))
        pipeline.step()
    share = float(pipeline.get_metrics().cache_usage) / 100
    while pipeline.has_non_finished_requests():
        pipeline.step()
    del handles  # not earlier: a request whose handle is gone is dropped
    return share


def _begin(pipeline: Any, number: int, ids: npt.NDArray[np.int64], config: Any) -> Any:
    import openvino as ov  # noqa: PLC0415

    return pipeline.add_request(number, ov.Tensor(ids[None]), config)


def _import_genai() -> Any:
    try:
        import openvino_genai  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("The embedded engine (OpenVINO GenAI)", "local") from error
    return openvino_genai

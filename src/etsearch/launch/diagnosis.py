"""What the end of a server's log means."""

import re
from pathlib import Path
from typing import Final

TAIL_LINES: Final = 25
_READ_BYTES: Final = 200_000
"""Of a log's end that are looked at."""

_MEANINGS: Final = {
    "the port is taken by another process; leave 'port' out, or give another": (
        "address already in use|port [0-9]+ is (already )?in use|errno 98"
    ),
    "the GPU has too little memory for it; end what else uses it, lower 'memory' or 'context_tokens', or spread the "
    "model by 'tensor_parallel'": (
        "out of memory|OutOfMemoryError|free memory on device .* is less than desired|not enough memory"
        "|memory capacity is unbalanced"
    ),
    "the KV cache cannot hold one sequence of the whole context; lower 'context_tokens', or raise 'memory' (on a CPU: "
    "VLLM_CPU_KVCACHE_SPACE in 'environment', in GiB)": (
        "larger than the maximum number of tokens that can be stored in KV cache|no available memory for the cache"
        "|KV cache is needed, which is larger|larger than the available KV cache memory"
    ),
    "the model is gated: accept its terms on the hub, and set HF_TOKEN in the shell": (
        "gated repo|access to model .* is restricted|401 client error|you must be authenticated"
    ),
    "the model is not found: 'model' is neither a folder on this machine nor a name that the hub knows, or the hub is "
    "out of reach": (
        "repository not found|is not a local folder and is not a valid model identifier|RepositoryNotFoundError"
        "|LocalEntryNotFoundError|OfflineModeIsEnabled|cannot find the requested files in the .*cache"
        "|We couldn.t connect|Repo id must be"
    ),
    "the server's build does not fit this machine: it lacks the kernels for its GPU or CPU; install the build that is "
    "made for it": (
        "no kernel image is available|not compiled with CUDA|no such operator|undefined symbol|libcuda[.]so"
    ),
    "this version of the server does not know an option, or not its value; see 'options', or its version": (
        "unrecognized arguments|error: argument |invalid choice"
    ),
    "the interpreter has no such server installed; say which has, by 'python'": (
        "no module named .?(vllm|sglang)|while finding module specification for .(vllm|sglang)"
    ),
    "this version of the server does not know the model's architecture; use a newer one": (
        "architectures? .* (is|are) not supported|model architectures .* failed"
    ),
    "'context_tokens' is more than the model can hold; lower it": ("is greater than the derived max_model_len"),
}
"""What is wrong and what to do, and the pattern of a log that says so."""
_KNOWN: Final = tuple((re.compile(pattern, re.IGNORECASE), meaning) for meaning, pattern in _MEANINGS.items())


def tail(log: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a log; none if there is no log."""
    return _end(log).splitlines()[-lines:]


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    return next((line.strip() for line in reversed(_end(log).splitlines()) if line.strip()), "")


def explain(log: Path) -> str:
    """What a log's end means where it is known; else empty. What is said last counts."""
    text = _end(log)
    found = [(match.start(), meaning) for pattern, meaning in _KNOWN for match in [_last(pattern, text)] if match]
    return max(found, default=(0, ""))[1]


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(reversed(list(pattern.finditer(text))), None)


def _end(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _READ_BYTES))
            return file.read().decode("utf-8", "replace").replace("\r", "\n")
    except FileNotFoundError:
        return ""

"""What a server says of itself."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself; None where it does not.

    Attributes:
        engine: its name and version, such as ``vllm 0.32.0``.
        model: the model's name in requests.
        folder: where the server has the model's files.
        context_tokens: tokens of prompt and answer together.
        cache_tokens: tokens that the KV cache holds.
        has_prefix_cache: whether prefixes are kept.
        num_slots: continuations that one request may ask for.
        draws_by_seed: whether several continuations of one request must be asked for one by one, since a seed would
            make them equal.
    """

    engine: str
    model: str
    folder: str | None = None
    context_tokens: int | None = None
    cache_tokens: int | None = None
    has_prefix_cache: bool | None = None
    draws_by_seed: bool = False
    num_slots: int | None = None

    @property
    def local_folder(self) -> Path | None:
        """The model's folder, where it lies on this machine."""
        path = Path(self.folder).expanduser() if self.folder else None
        return path if path and path.is_dir() else None

"""What a server says of itself."""

from dataclasses import dataclass
from pathlib import Path

from etsearch.boundary.files import to_path
from etsearch.errors import ConfigError
from etsearch.types import Finding, Level


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

    def findings(self, longest_tokens: int) -> list[Finding]:
        """What this means for a search whose trajectories have at most so many tokens."""
        found = [self._context(longest_tokens)]
        if self.cache_tokens:
            means = "what does not fit is thrown out, and computed again"
            found.append(Finding("KV cache", f"{self.cache_tokens:,} tokens", means))
        if self.has_prefix_cache is False:
            means = "every branch computes its whole prefix again; start the server with prefix caching"
            found.append(Finding("prefix caching", "off", means, Level.BAD))
        elif self.has_prefix_cache:
            found.append(Finding("prefix caching", "on"))
        return found

    def _context(self, longest_tokens: int) -> Finding:
        if self.context_tokens is None:
            return Finding("context", "not told", "give --max-tokens yourself", Level.NOTE)
        told = f"{self.context_tokens:,} tokens"
        if self.context_tokens >= longest_tokens:
            return Finding("context", told)
        means = f"trajectories of more tokens are cut; lower --max-tokens (now {longest_tokens}) or raise it"
        return Finding("context", told, means, Level.NOTE)

    @property
    def local_folder(self) -> Path | None:
        """The model's folder, where it lies on this machine."""
        try:
            path = to_path(self.folder) if self.folder else None
            return path if path and path.is_dir() else None
        except (ConfigError, OSError):  # it is the server's word, and may be no path at all here
            return None

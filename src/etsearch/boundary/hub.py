"""Names on the Hugging Face hub, told from paths on this machine."""

import re
from typing import Final

from etsearch.boundary.files import to_path

_PART: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"(?!.*(?:--|\.\.)){_PART}/{_PART}", re.DOTALL)
_LONGEST: Final = 96
"""Characters of a name on the hub."""
_OF_FILES: Final = (".json", ".jsonl", ".gguf", ".git")
"""What ends in one of these is a file's path, there or not; a name never ends in ``.git``."""


def is_hub_name(text: str, what: str = "the path") -> bool:
    """Whether a model or a data set is meant by its name on the hub, ``OWNER/NAME``: what lies here is no such name.

    Args:
        text: as the user gave it.
        what: it is, for messages.

    Raises:
        ConfigError: it is neither a name nor a path, such as an empty text.
    """
    lies_here = to_path(text, what).exists()
    is_name = len(text) <= _LONGEST and _NAME.fullmatch(text) and not text.lower().endswith(_OF_FILES)
    return bool(is_name) and not lies_here

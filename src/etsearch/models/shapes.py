"""What OpenVINO prepares for the shapes of inputs that it meets, and how much of that it keeps."""

from typing import Final

KEPT_SHAPES: Final = 2000
"""Things prepared for a shape that a network keeps. By itself it keeps 5,000: over a gigabyte, in a service."""
SHAPES: Final = {"CPU_RUNTIME_CACHE_CAPACITY": KEPT_SHAPES}
"""The property that says so."""

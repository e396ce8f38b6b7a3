"""Figures that servers give at ``/metrics``, in the text format of Prometheus."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

_logger = logging.getLogger(__name__)
Samples = dict[str, list[tuple[Mapping[str, str], float]]]
"""Of a server, by the names of its figures: labels and value."""


def read_figures(texts: Iterable[str], names: Sequence[str]) -> list[Samples]:
    """Of each server the samples of the figures with these names.

    What a server lacks, or gives as no finite number, is left out; all of one whose text cannot be read.
    """
    return [_read(text, names) for text in texts]


def _read(text: str, names: Sequence[str]) -> Samples:
    wanted = "\n".join(line for line in text.splitlines() if line.startswith(tuple(names)))
    samples: Samples = {}
    try:
        for family in text_string_to_metric_families(wanted + "\n"):
            for sample in family.samples:
                if sample.name in names and math.isfinite(sample.value):
                    samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    except Exception as error:  # noqa: BLE001 - the parser raises whatever comes up; a search goes on without figures
        _logger.debug("figures that cannot be read: %s", error)
        return {}
    return samples


def total(servers: Iterable[Mapping[str, Sequence[tuple[Mapping[str, str], float]]]], name: str) -> int | None:
    """The sum of a figure over servers and labels; None where no server has it."""
    values = [value for server in servers for _, value in server.get(name, ())]
    return int(sum(values)) if values and math.isfinite(sum(values)) else None

"""Figures that servers give at ``/metrics``, in the text format of Prometheus."""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families


def read_figures(texts: Iterable[str], names: Sequence[str]) -> list[dict[str, list[tuple[Mapping[str, str], float]]]]:
    """Of each server the samples of the figures with these names: labels and value. What it lacks is left out."""
    found = []
    for text in texts:
        wanted = "\n".join(line for line in text.splitlines() if line.startswith(tuple(names)))
        samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(wanted + "\n"):
            for sample in family.samples:
                if sample.name in names:
                    samples.setdefault(sample.name, []).append((sample.labels, sample.value))
        found.append(samples)
    return found


def total(servers: Iterable[Mapping[str, Sequence[tuple[Mapping[str, str], float]]]], name: str) -> int | None:
    """The sum of a figure over servers and labels; None where no server has it."""
    values = [value for server in servers for _, value in server.get(name, ())]
    return int(sum(values)) if values else None

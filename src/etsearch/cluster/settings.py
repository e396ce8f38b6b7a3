"""Which cluster, and what each of its workers takes."""

from dataclasses import dataclass

from etsearch.boundary.numbers import MOST_WIDTH, check_number
from etsearch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Which cluster, and what each of its workers takes.

    Attributes:
        address: ``HOST:PORT`` of the cluster's head, ``auto`` for the one that this machine belongs to, or ``local``
            for one of this machine alone that ends with the run.
        workers: how many there are to be, 1 to 65,536; the cluster is asked for nodes that are missing. By default as
            many as its nodes have room for, those that join later among them.
        cpus: CPUs of a worker, 0 to 65,536.
        gpus: GPUs of a worker, 0 to 1,024; parts of one are for several workers on it.
    """

    address: str
    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.address.startswith("ray://"):
            raise ConfigError(
                f"the cluster's address is {self.address!r}, that of Ray's client; start the run on a machine of the "
                "cluster, with 'auto' ('ray job submit' does so)"
            )
        if not self.address.strip():
            raise ConfigError("the cluster's address is empty; give 'local', 'auto' or HOST:PORT")
        if self.workers is not None:
            check_number("workers", self.workers, 1, MOST_WIDTH)
        check_number("cpus", self.cpus, 0, 65536)
        check_number("gpus", self.gpus, 0, 1024)
        if not self.cpus and not self.gpus:
            raise ConfigError("a worker takes neither CPU nor GPU; give one of them, so that the cluster can place it")

    @property
    def needs(self) -> dict[str, float]:
        """What a worker takes, by Ray's names."""
        return {name: amount for name, amount in (("CPU", self.cpus), ("GPU", self.gpus)) if amount}

"""Evaluation on a Ray cluster: the driver owns the record, workers own the parts."""

from etsearch.cluster.crew import ray_crew
from etsearch.cluster.settings import ClusterSettings

__all__ = ["ClusterSettings", "ray_crew"]

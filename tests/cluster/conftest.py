"""A Ray cluster of three nodes on this machine, as Ray's own tests have it; all its processes end with the session."""

import os
import signal
import time

import pytest

SOON = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""Within what a node that went away is missed; a cluster's own default is some ten times that."""


@pytest.fixture(scope="session")
def cluster():
    pytest.importorskip("ray", reason="needs the extra 'ray'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": SOON}
    )
    made.add_node(num_cpus=1)
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.fixture
def three_nodes(cluster):
    """The cluster, of three nodes whatever the test before did to it."""
    for _ in range(3 - len(cluster.list_all_nodes())):
        cluster.add_node(num_cpus=1)
    for node in cluster.list_all_nodes()[3:]:
        cluster.remove_node(node)
    return cluster


def kill_node(cluster):
    """Ends a node that is not the head, as power fails; gives its id."""
    node = next(node for node in cluster.list_all_nodes() if node is not cluster.head_node)
    name = node.node_id
    for process in node.all_processes["raylet"]:
        os.kill(process.process.pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)
    return name


def wait_until(is_time, seconds=60):
    until = time.monotonic() + seconds
    while not is_time():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.02)

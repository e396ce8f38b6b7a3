"""Selection programmes drawn at random, for property tests."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CLOSE = 1e-9
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Time is not what is tested, and the machine may be busy."""
THOROUGH = settings(PATIENT, max_examples=200)


@st.composite
def fields(draw, max_leaves=8):
    """The arguments of a programme over a small tree, sometimes a forest, sometimes with leaves above leaves."""
    num_nodes = draw(st.integers(1, 20))
    lowest = draw(st.sampled_from([0, 0, 0, -1]))
    parent = [-1, *(draw(st.integers(lowest, node - 1)) for node in range(1, num_nodes))]
    tips = sorted(set(range(num_nodes)) - set(parent))
    candidates = draw(st.sampled_from([tips, range(num_nodes)]))
    leaves = draw(st.lists(st.sampled_from(candidates), min_size=1, max_size=max_leaves, unique=True))
    number = draw(st.sampled_from([st.integers(0, 9), st.floats(0.0, 1e4)]))
    weight = [draw(number) for _ in leaves]
    weight[0] += 1
    token_costs = [draw(st.integers(0, 60)) for _ in range(num_nodes)]
    token_costs[leaves[0]] += 1
    return {
        "parent": parent,
        "leaves": leaves,
        "weight": weight,
        "node_cost": draw(st.sampled_from([[1.0] * num_nodes, token_costs])),
        "cluster": [draw(st.integers(0, len(leaves) - 1)) for _ in leaves],
        "lambda_b": draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]) | st.floats(0.0, 5.0)),
        "lambda_d": draw(st.sampled_from([0.0, 1.0, 1.5, 5.0]) | st.floats(0.0, 5.0)),
    }

"""A card is timed as a table that is read again; here a CPU stands for it, at sizes that tell nothing of one."""

import json

import numpy as np
import pytest

from etsearch.errors import ConfigError
from etsearch.planning.table import read_table
from etsearch.planning.time_card import time_card

pytestmark = pytest.mark.vllm
SMALL = {"rows": (1, 4, 16), "sequences": (2, 4), "contexts": (16, 64), "rotated_bytes": 1}


def test_what_is_timed_is_a_table_that_can_be_fitted(tmp_path):
    found = time_card("cpu", models=("Qwen/Qwen2.5-Math-1.5B-Instruct",), **SMALL)
    file = tmp_path / "table.json"
    file.write_text(json.dumps(found))
    table = read_table(file)
    assert len(table.linear) == 3
    assert len(table.attention) == 2 * 2 * 2
    assert table.linear[0].weight_bytes == pytest.approx(93_585_408)  # as in the table that ships
    constants = table.constants()
    assert np.all(np.array([constants.weight_bandwidth, constants.flops, constants.logical_bandwidth]) > 0)


def test_a_device_that_is_not_there():
    with pytest.raises(ConfigError, match="cuda"):
        time_card("cuda:7", models=(), **SMALL)

"""How a simulated engine schedules, as it is started and on which card."""

import pytest

from etsearch.errors import ConfigError
from etsearch.planning.hardware import cards, find_card
from etsearch.planning.models import find_shape
from etsearch.planning.plan import Setup
from etsearch.planning.policy import POLICIES, card_defaults, find_policy


def test_what_is_given_takes_the_place_of_the_engines_own():
    found = find_policy("vllm", block_tokens=32, step_tokens=2048)
    assert (found.block_tokens, found.max_sequences, found.step_tokens) == (32, 1024, 2048)
    assert find_policy("embedded") == POLICIES["embedded"]


@pytest.mark.parametrize(
    ("engine", "given", "said"),
    [
        ("llama.cpp", {}, "there is no engine 'llama.cpp' to plan for; choose one of vllm, sglang, embedded"),
        ("vllm", {"block_tokens": 0}, "block_tokens is 0; it must be"),
        ("vllm", {"max_sequences": 1 << 20}, "max_sequences is 1048576; it must be"),
    ],
)
def test_what_cannot_be_is_refused(engine, given, said):
    with pytest.raises(ConfigError, match=said):
        find_policy(engine, **given)


def test_vllm_takes_less_at_once_on_a_small_card_and_more_tokens_on_a_vast_one():
    told = {name: card_defaults("vllm", find_card(name).memory_bytes, name) for name in cards()}
    small, vast = ({name for name, of in told.items() if of.get("step_tokens") == n} for n in (2048, 16384))
    assert small == {"a100-40gb", "a100-80gb", "l40s", "rtx-4090"}
    assert vast == {"b200", "mi300x"}
    assert {name for name in told if told[name]} == small | vast
    assert not card_defaults("sglang", 24e9, "rtx-4090")
    shape = find_shape("tkitsers/Llemma-metamath-34b")
    assert Setup(find_card("a100-80gb"), shape).policy.max_sequences == 256
    assert Setup(find_card("a100-80gb"), shape, max_sequences=512).policy.max_sequences == 512
    assert Setup(find_card("h100-sxm"), shape).policy == POLICIES["vllm"]

"""Cards that ship and cards from a file."""

import pytest

from etsearch.errors import ConfigError
from etsearch.planning.hardware import Card, cards, find_card

OWN = "memory_bytes: 24e9\nbandwidth: 936_000_000_000\nflops: 71.0e+12\nl2_bytes: 6291456\nlink_bandwidth: 0\n"


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("h100", "h100-sxm"),
        ("H100", "h100-sxm"),
        (" H100-NVL ", "h100-nvl"),
        ("4090", "rtx-4090"),
        ("A100", "a100-80gb"),
        ("a100-40", "a100-40gb"),
        ("H200", "h200"),
        ("l40s", "l40s"),
        ("B200", "b200"),
        ("mi300x", "mi300x"),
    ],
)
def test_a_card_is_found_by_its_names_in_any_case(name, card):
    assert find_card(name) is cards()[card]


def test_what_ships_agrees_with_the_data_sheets():
    figures = {name: (card.bandwidth / 1e12, card.flops / 1e12) for name, card in cards().items()}
    assert figures == {
        "h100-sxm": (3.35, 989.4),
        "h100-nvl": (3.938, 835.5),
        "h200": (4.8, 989.4),
        "a100-40gb": (1.555, 312),
        "a100-80gb": (2.039, 312),
        "l40s": (0.864, 362.05),
        "rtx-4090": (1.008, 165.15),
        "b200": (7.672, 2250),
        "mi300x": (5.3, 1307.4),
    }


@pytest.mark.parametrize("card", cards().values(), ids=list(cards()))
def test_every_card_says_where_its_figures_are_from_and_which_are_not_confirmed(card):
    assert card.is_verified != ("Not confirmed: " in card.source)
    assert card.memory_bytes / card.bandwidth > 0.01, "a card reads its memory in more than ten milliseconds"
    assert card.link_bandwidth < card.bandwidth


def test_a_card_of_ones_own_is_read_from_a_file(tmp_path):
    path = tmp_path / "my-3090.yaml"
    path.write_text(OWN)
    expected = Card("my-3090", 24_000_000_000, 936e9, 71e12, 6_291_456, 0.0, f"the card {path}")
    assert find_card(path) == find_card(str(path)) == expected
    assert isinstance(find_card(path).memory_bytes, int)
    path.write_text(OWN + "name: RTX 3090\nsource: its data sheet\nverified: true\n")
    card = find_card(path)
    assert (card.name, card.source, card.is_verified) == ("RTX 3090", "its data sheet", True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("flops: 71.0e+12\n", ""), r"lacks the key flops: a number from 1,000,000 to 1e\+21"),
        (("bandwidth: 936", "bandwidth: -936"), r": bandwidth is -936000000000; it must be from 1,000,000 to 1e\+18"),
        (("l2_bytes: 6291456", "l2_bytes: much"), r": l2_bytes is 'much'; it must be from 0 to 1e\+15"),
        (("l2_bytes: 6291456", "l2_bytes: .nan"), r": l2_bytes is nan; it must be"),
        (("memory_bytes: 24e9", "memory_bytes: true"), r": memory_bytes is True; it must be"),
        (("link", "lnik"), r"has the key 'lnik_bandwidth'; there are memory_bytes, .*link_bandwidth, name"),
        (("link_bandwidth: 0", "link_bandwidth: 0\nverified: 1"), r": verified is 1; it must be true or false"),
        (("link_bandwidth: 0", "link_bandwidth: 0\nname: 3090"), r": name is 3090; it must be text"),
        ((OWN, "[1, 2]"), r"holds no keys; write memory_bytes: "),
        ((OWN, "{"), r"is no YAML that can be read"),
    ],
)
def test_a_file_that_is_not_as_it_must_be_is_refused_by_key_and_range(tmp_path, change, said):
    path = tmp_path / "card.yaml"
    path.write_text(OWN.replace(*change))
    with pytest.raises(ConfigError, match=said) as raised:
        find_card(path)
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"the card .*none\.yaml cannot be read"):
        find_card(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("name", ["h300", "", "cpu"])
def test_an_unknown_card_is_told_which_there_are_and_how_to_give_another(name):
    with pytest.raises(
        ConfigError, match=r"is called .*; there are h100-sxm, h100-nvl, .*mi300x\. .* give a \.yaml file"
    ):
        find_card(name)


def test_a_card_is_checked_when_it_is_made():
    with pytest.raises(ConfigError, match="bandwidth of the card 'x' is 0"):
        Card("x", 10**9, 0, 1e12, 0)

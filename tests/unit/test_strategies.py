"""What each strategy selects on small frontiers worked out by hand."""

import math
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from etsearch.errors import ConfigError
from etsearch.strategies import (
    DVTS,
    ETS,
    ETSKV,
    STRATEGIES,
    AdaptiveWidth,
    BeamSearch,
    BestOfN,
    Dora,
    EntropicParticleFilter,
    ParticleFilter,
    Rebase,
)
from etsearch.strategies.base import Frontier, KeepsToWidth, Selection, SharesByReward, completes_at_most_width
from etsearch.strategies.thrift import price_of_width
from etsearch.tree import ROOT, SearchTree
from etsearch.types import Continuation, FinishReason


def grow(children: dict[int, int], tokens: int = 10) -> SearchTree:
    """A tree with ``children[parent]`` steps under each parent, in this order; every step has the same tokens."""
    tree = SearchTree("q", [0] * tokens)
    for parent, count in children.items():
        for _ in range(count):
            tree.add(parent, Continuation((1,) * tokens, "s\n", FinishReason.STEP))
    return tree


def frontier(tree, nodes, rewards, *, clusters=None, completed=(), total_width=8):
    return Frontier(
        tree=tree,
        nodes=np.array(nodes),
        rewards=np.array(rewards, dtype=float),
        clusters=None if clusters is None else np.array(clusters),
        completed=np.array(completed, dtype=np.int64),
        total_width=total_width,
    )


REWARDS = [0.1, 0.9, 0.3, 0.8, 0.2, 0.7, 0.4, 0.6]


def test_best_of_n_lets_every_branch_go_on():
    view = frontier(grow({ROOT: 8}), range(1, 9), [math.nan] * 8)
    assert BestOfN().select(view, 8).widths == (1,) * 8


@pytest.mark.parametrize(
    ("beam", "width", "expected"),
    [
        (BeamSearch(4), 8, (0, 2, 0, 2, 0, 2, 0, 2)),
        (BeamSearch(2), 8, (0, 4, 0, 4, 0, 0, 0, 0)),
        (BeamSearch(), 8, (0, 3, 0, 3, 0, 2, 0, 0)),  # ceil(sqrt(8)) = 3 survivors; 8 = 3 + 3 + 2, the better first
        (BeamSearch(1), 8, (0, 8, 0, 0, 0, 0, 0, 0)),
        (BeamSearch(4), 3, (0, 2, 0, 2, 0, 2, 0, 2)),  # five have completed: N / k each all the same
        (BeamSearch(4, shrink=True), 6, (0, 2, 0, 2, 0, 1, 0, 1)),  # two have completed: six to share among four
        (BeamSearch(4, shrink=True), 3, (0, 1, 0, 1, 0, 1, 0, 0)),  # never more survivors than width
    ],
)
def test_beam(beam, width, expected):
    view = frontier(grow({ROOT: 8}), range(1, 9), REWARDS)
    assert beam.select(view, width).widths == expected


def test_beam_expands_few_survivors_no_more_than_its_share():
    view = frontier(grow({ROOT: 8}), [3, 7], [0.2, 0.9])
    assert BeamSearch(4).select(view, 2).widths == (2, 2)
    assert BeamSearch(4, shrink=True).select(view, 5).widths == (2, 3)


def test_dvts_keeps_the_best_of_each_subtree():
    # Two subtrees of four first steps each: 1-4 and 5-8. The best of the first is node 2, of the second node 6.
    view = frontier(grow({ROOT: 8}), range(1, 9), REWARDS)
    assert DVTS(keep=2).select(view, 8).widths == (0, 4, 0, 0, 0, 4, 0, 0)


def test_dvts_subtrees_stay_apart_below():
    # Depth 2: 9-12 under node 2 (subtree 0), 13-16 under node 6 (subtree 1). All of subtree 0 beats subtree 1.
    tree = grow({ROOT: 8, 2: 4, 6: 4})
    view = frontier(tree, range(9, 17), [0.9, 0.8, 0.95, 0.7, 0.1, 0.3, 0.2, 0.1])
    assert DVTS(keep=2).select(view, 8).widths == (0, 0, 4, 0, 0, 4, 0, 0)


def test_dvts_takes_completed_trajectories_off_their_own_subtree():
    tree = grow({ROOT: 8, 2: 4, 6: 4})
    view = frontier(tree, [9, 10, 11, 14, 15, 16], [0.9, 0.8, 0.95, 0.3, 0.2, 0.1], completed=[12, 13])
    assert DVTS(keep=2, shrink=True).select(view, 6).widths == (0, 0, 3, 3, 0, 0)
    assert DVTS(keep=2).select(view, 6).widths == (0, 0, 4, 4, 0, 0)


@pytest.mark.parametrize("name", ["beam", "dvts", "rebase", "ets_kv", "ets(lambda_d=0)"])
@pytest.mark.parametrize("reward", [math.nan, 1.5, -0.1])
def test_a_reward_that_is_none_is_refused_by_its_node(name, reward):
    view = frontier(grow({ROOT: 8}), [5, 7], [0.5, reward])
    with pytest.raises(ConfigError, match=f"the reward of node 7 is {reward}"):
        STRATEGIES.create(name).select(view, 8)


def test_rebase_follows_the_rewards():
    # exp(ln 4 · R / T_R) for R = 1, 0.5, 0 at T_R = 1 / ln 4 … masses 4 : 2 : 1.
    view = frontier(grow({ROOT: 3}), [1, 2, 3], [1.0, 0.5, 0.0])
    assert Rebase(balance_temperature=1 / math.log(4)).select(view, 7).widths == (4, 2, 1)


def test_dora_gives_a_width_to_directions():
    # Three of one reward: two say the same (a share of 1/2 each in their direction), the third what nobody else says.
    view = frontier(grow({ROOT: 3}), [1, 2, 3], [0.5] * 3)
    apart = replace(view, embeddings=np.array([[1, 0], [2, 0], [0, 1]], dtype=np.float32))
    selection = Dora().select(apart, 8)
    assert selection.widths == (2, 2, 4)
    assert selection.figures["directions"] == pytest.approx(2)
    # At T_S = 1 / ln 2 the third looks half as much like the others as like itself: shares 1 / (1 + 1 + 1/2) twice and
    # 1 / (1 + 1/2 + 1/2), that is 0.4, 0.4 and 0.5 of 1.3.
    near = Dora(similarity_temperature=1 / math.log(2)).select(apart, 13)
    assert near.widths == (4, 4, 5)
    # With rewards of 1, 1 and 0 at T_R = 1 / ln 4 masses are 4 · 1/2, 4 · 1/2 and 1 · 1.
    rewarded = replace(apart, rewards=np.array([1.0, 1.0, 0.0]))
    assert Dora(balance_temperature=1 / math.log(4)).select(rewarded, 5).widths == (2, 2, 1)


@pytest.mark.parametrize("embeddings", [None, [[1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [math.nan, 0.0]]])
def test_dora_refuses_what_has_no_direction(embeddings):
    view = frontier(grow({ROOT: 2}), [1, 2], [0.5] * 2)
    placed = None if embeddings is None else np.array(embeddings, dtype=np.float32)
    with pytest.raises(ConfigError, match="embeddings"):
        Dora().select(replace(view, embeddings=placed), 8)


@pytest.mark.parametrize(("width", "price"), [(1, 0.75), (16, 1.25), (64, 1.5), (256, 1.75)])
def test_the_price_of_thrift_follows_the_width(width, price):
    assert price_of_width(width) == pytest.approx(price)


def test_particles_are_drawn_by_their_odds():
    # Rewards 0.9, 0.75 and 0.5: odds 9, 3 and 1 of 13. Of 13 systematic draws each is drawn as often; of 13,000 single
    # ones in proportion, with a standard deviation below 60 each.
    view = frontier(grow({ROOT: 3}), [1, 2, 3], [0.9, 0.75, 0.5])
    assert ParticleFilter("systematic").select(view, 13).widths == (9, 3, 1)
    widths = ParticleFilter().select(view, 13_000).widths
    assert widths == pytest.approx((9000, 3000, 1000), abs=240)
    assert sum(widths) == 13_000
    size = ParticleFilter().select(view, 1).figures["effective_size"]
    assert size == pytest.approx(13**2 / (9**2 + 3**2 + 1))
    sure = frontier(grow({ROOT: 2}), [1, 2], [1.0, 0.0])
    assert ParticleFilter().select(sure, 8).widths == (8, 0)


def test_a_frontier_that_agrees_is_given_less():
    tree = grow({ROOT: 4})
    adaptive, nodes, even = AdaptiveWidth(each=4), [1, 2, 3, 4], [0.5] * 4
    # one direction, two of equal mass, four: 4, 8 and 16 continuations, and never more than are left
    assert adaptive.select(frontier(tree, nodes, even, clusters=[0] * 4), 100).widths == (1, 1, 1, 1)
    assert adaptive.select(frontier(tree, nodes, even, clusters=[0, 0, 1, 1]), 100).widths == (2, 2, 2, 2)
    assert adaptive.select(frontier(tree, nodes, even, clusters=[0, 1, 2, 3]), 100).widths == (4, 4, 4, 4)
    assert sum(adaptive.select(frontier(tree, nodes, even, clusters=[0, 1, 2, 3]), 5).widths) == 5
    # three clusters with shares 1/2, 1/4 and 1/4: exp(1.5 ln 2) = 2.83 directions, 12 continuations
    found = adaptive.select(frontier(tree, nodes, even, clusters=[0, 0, 1, 2]), 100)
    assert found.figures == {"directions": pytest.approx(2**1.5), "width": 12.0}
    assert found.widths == (3, 3, 3, 3)
    # one reward far above the others leaves one direction, whatever they say
    sure = AdaptiveWidth(each=4, balance_temperature=0.01)
    assert sure.select(frontier(tree, nodes, [1.0, 0.5, 0.5, 0.5], clusters=[0, 1, 2, 3]), 100).widths == (4, 0, 0, 0)


def test_entropic_particles_are_undecided_at_first():
    # One of eight has odds of 999 to 1 each: an effective size of 1.01 of 8, so at depth 1 of 10 a temperature of
    # 0.9 · 8 / 1.01. At depth 5, half of the horizon, it is 1.
    tree = grow({ROOT: 8, 1: 1, 9: 1, 10: 1, 11: 1})
    rewards = [0.999] + [0.5] * 7
    strategy = EntropicParticleFilter(resampling="systematic")
    early = strategy.select(frontier(tree, range(1, 9), rewards), 100)
    size = 1006**2 / (999**2 + 7)
    assert early.figures["temperature"] == pytest.approx(0.9 * 8 / size)
    mass = 999 ** (1 / early.figures["temperature"])
    assert early.widths[0] == pytest.approx(100 * mass / (mass + 7), abs=1)
    late = strategy.select(frontier(tree, [12, *range(2, 9)], rewards), 1000)
    assert int(tree.depth[12]) == 5
    assert late.figures["temperature"] == 1
    assert late.widths[0] == pytest.approx(1000 * 999 / 1006, abs=1)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("particle_filter(resampling=residual)", "'resampling' of the strategy 'particle_filter' is 'residual'"),
        ("entropic_particle_filter(horizon=0)", "horizon is 0; it must be a whole number from 1"),
        ("entropic_particle_filter(threshold=2)", "threshold is 2.0; it must be from 0 to 1"),
        ("adaptive_width(each=0.5)", "each is 0.5; it must be from 1 to 65,536"),
        ("entropic_particle_filter(early=-1)", "early is -1.0; it must be from 0 to 1"),
    ],
)
def test_particles_that_cannot_be(name, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        STRATEGIES.create(name)


def test_ets_kv_prunes_what_costs_more_than_it_brings():
    # Equal rewards: every weight is 2 of 8. Nodes 3-5 share their parent 1, node 6 stands alone under 2.
    # V_A = root, 1, 2, 3, 4, 5, 6 = 7 nodes. Keeping 6 as well as 3-5 brings 2/8 and costs 2/7 · lambda_b:
    # at lambda_b = 1 it goes (0.25 < 0.286). Each of 3-5 brings 0.25 and costs 1/7 = 0.143: they stay.
    tree = grow({ROOT: 2, 1: 3, 2: 1})
    view = frontier(tree, [3, 4, 5, 6], [0.5] * 4)
    selection = ETSKV(lambda_b=1.0).select(view, 8)
    assert selection.widths == (3, 3, 2, 0)
    assert selection.figures["objective"] == pytest.approx(6 / 8 - 5 / 7)


def test_diversity_keeps_a_branch_that_kv_alone_would_prune():
    # As above; node 6 alone forms a second cluster: it brings 0.25 + lambda_d / 2 now.
    tree = grow({ROOT: 2, 1: 3, 2: 1})
    view = frontier(tree, [3, 4, 5, 6], [0.5] * 4, clusters=[0, 0, 0, 1])
    assert ETS(lambda_b=1.0, lambda_d=1.0).select(view, 8).widths == (2, 2, 2, 2)


def test_token_costs_count_tokens():
    # Node 2's branch costs far fewer tokens than its number of nodes suggests, so it stays at the same lambda_b.
    tree = SearchTree("q", [0] * 10)
    for parent, size in ((0, 40), (0, 1), (1, 40), (1, 40), (1, 40), (2, 1)):
        tree.add(parent, Continuation((1,) * size, "s\n", FinishReason.STEP))
    view = frontier(tree, [3, 4, 5, 6], [0.5] * 4)
    assert ETSKV(node_cost="uniform").select(view, 8).widths[3] == 0
    assert ETSKV(node_cost="tokens").select(view, 8).widths[3] > 0


def test_ets_without_clusters_says_what_is_missing():
    view = frontier(grow({ROOT: 2}), [1, 2], [0.5, 0.5])
    with pytest.raises(ConfigError, match="give the search an embedder"):
        ETS(lambda_d=1.0).select(view, 4)


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("beam(keep=0)", "keep is 0"),
        ("beam(keep=x)", "'keep' of the strategy 'beam' is 'x'"),
        ("rebase(lambda_b=1)", "has no setting 'lambda_b'; its settings: balance_temperature, rounding"),
        ("rebase(balance_temperature=-1)", "balance temperature T_R is -1.0"),
        ("rebase(rounding=floor)", "'rounding' of the strategy 'rebase' is 'floor'"),
        ("ets(lambda_b=-0.5)", "lambda_b is -0.5"),
        ("ets(solver=gurobi)", "the solver is .gurobi.; choose one of highs, cbc"),
        ("ets(time_limit_s=0)", "time_limit_s is 0"),
        ("ets(lambda_d=inf)", "lambda_d is inf"),
        ("ets(node_cost=bytes)", "node_cost"),
        ("ets_kv(lambda_d=1)", "has no setting 'lambda_d'"),
        (
            "astar",
            (
                "no strategy called 'astar'; choose one of ab_mcts, adaptive_width, beam, best_of_n, dora, "
                "dvts, entropic_particle_filter, ets, "
            ),
        ),
        ("ets(lambda_b)", "'lambda_b' in 'ets"),
        ("ets(", "is no specification"),
    ],
)
def test_bad_specifications_are_named(specification, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        STRATEGIES.create(specification)


@pytest.mark.parametrize(
    ("specification", "expected"),
    [
        ("beam", BeamSearch(None)),
        ("beam(keep=4)", BeamSearch(4)),
        ("beam(keep=none)", BeamSearch(None)),
        ("rebase(balance_temperature=1, rounding=round)", Rebase(1.0, "round")),
        ("ets-kv(lambda_b=0.75)", ETSKV(lambda_b=0.75)),
        ("ets(lambda_b=1)", ETS(lambda_b=1.0, lambda_d=1.0, balance_temperature=0.2)),
    ],
)
def test_specifications(specification, expected):
    assert STRATEGIES.create(specification) == expected


def test_a_survivor_inherits_the_share_of_its_cluster():
    # Six equal right steps and two wrong ones of a cluster of their own, all with the same reward: the programme keeps
    # one of each cluster. The paper shares the width evenly among the two; inherited shares are six to two.
    view = frontier(grow({ROOT: 8}), range(1, 9), [0.5] * 8, clusters=[0] * 6 + [1] * 2)
    plain = ETS(lambda_b=2).select(view, 8).widths
    assert sorted(plain) == [0] * 6 + [4, 4]
    inherited = ETS(lambda_b=2, inherit=True).select(view, 8).widths
    assert sum(inherited[:6]) == 6
    assert sum(inherited[6:]) == 2
    assert [w > 0 for w in inherited] == [w > 0 for w in plain]


def test_nothing_is_inherited_where_all_are_kept():
    view = frontier(grow({ROOT: 8}), range(1, 9), REWARDS, clusters=[0, 0, 1, 1, 2, 2, 3, 3])
    assert ETS(lambda_b=0, inherit=True).select(view, 8).widths == ETS(lambda_b=0).select(view, 8).widths


def test_shares_are_inherited_at_any_temperature():
    view = frontier(grow({ROOT: 4}), range(1, 5), [0.9, 0.05, 0.04, 0.04], clusters=[0, 1, 1, 1])
    widths = ETS(lambda_b=2, lambda_d=9, inherit=True, balance_temperature=0.001).select(view, 8).widths
    assert widths[0] == 8


def test_inheriting_needs_clusters():
    with pytest.raises(ConfigError, match="nothing to inherit by"):
        ETS(lambda_d=0, inherit=True)
    with pytest.raises(ConfigError, match="nothing to inherit by"):
        ETSKV(inherit=True)


@dataclass(frozen=True)
class Everyone:
    """A stranger's strategy, which says nothing beside what it must."""

    needs_rewards = False
    needs_clusters = False

    def select(self, frontier, width):
        del width
        return Selection((1,) * len(frontier.nodes))


@pytest.mark.parametrize(
    ("strategy", "keeps_to_width", "temperature"),
    [
        (ETS(balance_temperature=0.5), True, 0.5),
        (ETSKV(rounding="ceil"), False, 0.2),
        (ETS(rounding="released"), False, 0.2),
        (Rebase(0.7), True, 0.7),
        (Rebase(rounding="round"), False, 0.2),
        (BeamSearch(), False, None),
        (BeamSearch(shrink=True), True, None),
        (DVTS(), False, None),
        (DVTS(shrink=True), True, None),
        (BestOfN(), True, None),
    ],
)
def test_what_strategies_say_beside(strategy, keeps_to_width, temperature):
    assert isinstance(strategy, KeepsToWidth)
    assert completes_at_most_width(strategy) is keeps_to_width
    assert isinstance(strategy, SharesByReward) == (temperature is not None)
    assert getattr(strategy, "balance_temperature", None) == temperature


def test_a_strategy_need_not_say_more_than_it_must():
    assert not isinstance(Everyone(), KeepsToWidth | SharesByReward)
    assert not completes_at_most_width(Everyone())

"""Reward models around others: noise, curves, ensembles."""

import asyncio
import json
import math
import random

import pytest

from etsearch import minimath
from etsearch.errors import ConfigError, RewardError
from etsearch.evaluation.curves import Labelled
from etsearch.prms import REWARD_MODELS
from etsearch.prms.curve import CalibratedRewardModel, Curve
from etsearch.prms.ensemble import EnsembleRewardModel
from etsearch.prms.noisy import NoisyRewardModel
from etsearch.prms.scripted import ScriptedRewardModel
from etsearch.types import Step, Trajectory


def trajectory(*texts):
    return Trajectory("How many?", tuple(Step(text) for text in texts))


def fixed(reward, name="fixed"):
    return ScriptedRewardModel(lambda _question, _steps: reward, name=name)


def by_length(question, steps):
    return min(1.0, len(steps) / 10)


def score(model, of, first=0):
    return asyncio.run(model.score(of, first)).rewards


class TestNoise:
    def test_none_changes_nothing(self):
        assert score(NoisyRewardModel(fixed(0.7), 0.0), trajectory("a")) == pytest.approx([0.7])

    def test_is_a_function_of_seed_question_and_steps(self):
        model, of = NoisyRewardModel(ScriptedRewardModel(by_length), 1.0), trajectory("a", "b", "c")
        whole = score(model, of)
        assert whole == score(model, of)
        assert whole[1:] == score(model, of, 1)
        assert whole[:2] == score(model, trajectory("a", "b"))
        assert whole != score(NoisyRewardModel(ScriptedRewardModel(by_length), 1.0, seed=1), of)
        assert whole[2] != score(model, trajectory("a", "x", "c"))[2]

    def test_has_the_standard_deviation_that_was_asked_for(self):
        model = NoisyRewardModel(fixed(0.5), 2.0)
        logits = [math.log(r / (1 - r)) for n in range(2000) for r in score(model, trajectory(str(n)))]
        mean = sum(logits) / len(logits)
        assert abs(mean) < 0.15
        assert math.sqrt(sum((x - mean) ** 2 for x in logits) / len(logits)) == pytest.approx(2.0, rel=0.06)

    @pytest.mark.parametrize("reward", [0.0, 1.0])
    def test_rewards_at_the_ends_stay_rewards(self, reward):
        model = NoisyRewardModel(fixed(reward), 100.0)
        assert all(0 <= r <= 1 for n in range(50) for r in score(model, trajectory(str(n))))

    def test_a_negative_deviation_is_refused(self):
        with pytest.raises(ConfigError, match="sd is -1"):
            NoisyRewardModel(fixed(0.5), -1.0)

    def test_tells_what_the_model_behind_it_tells(self):
        inner = fixed(0.5)
        inner.findings = lambda longest_tokens: ["told"]
        assert NoisyRewardModel(inner, 1.0).findings(1) == ["told"]
        assert not hasattr(NoisyRewardModel(fixed(0.5), 1.0), "room")
        assert NoisyRewardModel(inner, 1.5, 3).identity.name == "fixed, noise of sd 1.5, seed 3"

    def test_by_name(self):
        problem = minimath.example(1)
        plain, noisy = (REWARD_MODELS.create(text) for text in ("scripted", "noisy(sd=2, seed=5):scripted"))
        of = Trajectory(problem.question, (Step("The answer is 3.\n"),))
        assert score(plain, of) != score(noisy, of)


class TestCurve:
    def drawn(self, count=4000):
        chance = random.Random(0)
        rewards = [chance.random() for _ in range(count)]
        return rewards, [chance.random() < r * r for r in rewards]

    def test_finds_the_probabilities(self):
        curve = Curve.fit(*self.drawn(), {})
        assert [curve(r) for r in (0.3, 0.5, 0.7, 0.9)] == pytest.approx([0.09, 0.25, 0.49, 0.81], abs=0.1)

    def test_never_falls_and_stays_within_0_and_1(self):
        curve = Curve.fit(*self.drawn(), {})
        values = [curve(n / 200) for n in range(201)]
        assert values == sorted(values)
        assert 0 <= values[0] <= values[-1] <= 1

    def test_by_hand(self):
        # Pool adjacent violators: rights 0, 1, 0, 1 at four rewards; the middle two become 1/2 each.
        rewards = [0.1, 0.2, 0.3, 0.4] * 25
        right = [False, True, False, True] * 25
        curve = Curve.fit(rewards, right, {})
        assert [curve(r) for r in (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)] == pytest.approx([0, 0, 0.5, 0.5, 1, 1])
        assert curve(0.15) == pytest.approx(0.25)

    def test_is_read_as_it_was_written(self, tmp_path):
        curve = Curve.fit(*self.drawn(), {"prm": "x"})
        curve.write(tmp_path / "curve.json")
        assert Curve.read(tmp_path / "curve.json") == curve
        model = REWARD_MODELS.create(f"calibrated(curve={tmp_path / 'curve.json'}):scripted")
        assert isinstance(model, CalibratedRewardModel)
        assert curve.sha256[:12] in model.identity.name

    def test_maps_every_reward(self):
        curve = Curve((0.0, 1.0), (0.2, 0.6), {})
        model = CalibratedRewardModel(ScriptedRewardModel(by_length), curve)
        assert score(model, trajectory("a", "b")) == pytest.approx([0.24, 0.28])

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("{}", "is not the curve of rewards of this version"),
            ("[", "cannot be read"),
            (json.dumps({"format": 1, "about": {}, "points": [[0.5]]}), "cannot be read"),
            (json.dumps({"format": 1, "about": {}, "points": []}), "numbers from 0 to 1"),
            (json.dumps({"format": 1, "about": {}, "points": [[0, 0], [2, 1]]}), "numbers from 0 to 1"),
            (json.dumps({"format": 1, "about": {}, "points": [[0, 1], [1, 0]]}), "must not fall"),
            (json.dumps({"format": 1, "about": {}, "points": [[1, 0], [0, 1]]}), "must rise"),
        ],
    )
    def test_a_file_that_is_none(self, tmp_path, content, said):
        (tmp_path / "curve.json").write_text(content)
        with pytest.raises(ConfigError, match=said):
            Curve.read(tmp_path / "curve.json")

    def test_too_few_or_all_alike(self):
        with pytest.raises(ConfigError, match="10 rewards, 5 of them"):
            Curve.fit([0.1] * 10, [True, False] * 5, {})
        with pytest.raises(ConfigError, match="both right and wrong"):
            Curve.fit([0.1] * 100, [True] * 100, {})


class TestEnsemble:
    @pytest.mark.parametrize(
        ("rule", "value"), [("mean", 0.5), ("least", 0.2), ("median", 0.5), ("product", (0.2 * 0.5 * 0.8) ** (1 / 3))]
    )
    def test_rules(self, rule, value):
        model = EnsembleRewardModel([fixed(0.8), fixed(0.2), fixed(0.5)], rule)
        assert score(model, trajectory("a", "b")) == pytest.approx([value, value])

    def test_tokens_are_the_sum(self):
        of = trajectory("a", "b")
        alone = asyncio.run(fixed(0.5).score(of, 0)).num_tokens
        assert asyncio.run(EnsembleRewardModel([fixed(0.5), fixed(0.5)]).score(of, 0)).num_tokens == 2 * alone

    def test_one_that_fails_is_not_left_out(self):
        def fails(_question, _steps):
            raise RewardError("it failed")

        with pytest.raises(RewardError, match="it failed"):
            score(EnsembleRewardModel([fixed(0.5), ScriptedRewardModel(fails)]), trajectory("a"))

    def test_room_is_the_least(self):
        members = [fixed(0.5), fixed(0.5), fixed(0.5)]
        model = EnsembleRewardModel([_WithRoom(members[0], 30), _WithRoom(members[1], None), members[2]])
        assert asyncio.run(model.room("q", 3)) == 30

    def test_by_name(self):
        model = REWARD_MODELS.create("ensemble(rule=least):scripted+noisy(sd=1):scripted")
        assert model.identity.name == "least of judge and judge, noise of sd 1, seed 0"
        with pytest.raises(ConfigError, match="an ensemble of 1"):
            REWARD_MODELS.create("ensemble:scripted")
        with pytest.raises(ConfigError, match="rule"):
            REWARD_MODELS.create("ensemble(rule=best):scripted+scripted")


class _WithRoom:
    def __init__(self, inner, tokens):
        self.identity, self.score, self.aclose = inner.identity, inner.score, inner.aclose
        self._tokens = tokens

    async def room(self, _question, _num_steps):
        return self._tokens


class TestLabelled:
    def test_figures_by_hand(self):
        labelled = Labelled((0.1, 0.4, 0.6, 0.9), (False, True, False, True))
        assert labelled.brier == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
        assert labelled.auc == pytest.approx(0.75)
        assert labelled.calibration_error == pytest.approx((0.1 + 0.6 + 0.6 + 0.1) / 4)

    def test_ties_count_half_and_one_kind_alone_has_no_auc(self):
        assert Labelled((0.5, 0.5), (True, False)).auc == pytest.approx(0.5)
        assert math.isnan(Labelled((0.5, 0.6), (True, True)).auc)

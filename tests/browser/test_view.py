"""The page of a search in a real browser (headless Chromium)."""

import asyncio
import shutil
from contextlib import contextmanager

import pytest
from tests.worlds import run

from etsearch.loop.events import Selected
from etsearch.loop.settings import Limits, SearchSettings
from etsearch.viewer import make_page, to_view

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright: make test-browser")

QUIET = ("gpu", "quic", "background-networking", "component-update", "sync")
ARGUMENTS = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]


def long_search(so_far, rng):
    """Nine steps that differ, then an answer: a tree of ten depths."""
    steps = so_far.count("\n") - 1
    return (
        f"step {steps} takes {rng.randrange(40)} </script> & more\n"
        if steps < 9
        else f"The answer is {rng.choice('77789')}."
    )


def reward_of(question, steps):
    return (sum(map(ord, steps[-1])) % 97) / 97


def searched(width, strategy="ets", **settings):
    state = None

    def keep(event):
        nonlocal state
        if isinstance(event, Selected):
            state = event.state

    result = asyncio.run(run(strategy, width, write=long_search, reward_of=reward_of, on_event=keep, **settings))
    return result, to_view(
        f"{strategy}, width {width}", state, SearchSettings(width), str(result.stop_reason), "7", True
    )


@pytest.fixture(scope="module")
def searches():
    return [searched(8), searched(256), searched(8, "best_of_n"), searched(4, limits=Limits(max_depth=3))]


@contextmanager
def chromium():
    """A headless Chromium; a test that finds none is skipped."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium; 'make test-browser' says how to install it")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def browser(searches):  # made before: playwright keeps an event loop running in this thread
    with chromium() as started:
        yield started


@pytest.fixture
def tab(browser, searches, tmp_path):
    """The page, opened from its file; it must ask for nothing and complain about nothing."""
    file = tmp_path / "view.html"
    file.write_text(make_page([view for _, view in searches]), encoding="utf-8")
    tab = browser.new_page(viewport={"width": 1400, "height": 900})
    amiss, asked = [], []
    tab.on("pageerror", lambda error: amiss.append(str(error)))
    tab.on("console", lambda message: amiss.append(message.text) if message.type == "error" else None)
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(file.as_uri())
    yield tab
    tab.close()
    assert amiss == []
    assert asked == [file.as_uri()]


def shown(tab, selector):
    return tab.locator(selector).evaluate_all(
        "all => all.filter(e => getComputedStyle(e).visibility !== 'hidden').length"
    )


def test_every_step_is_a_node_of_its_kind(tab, searches):
    result, _ = searches[0]
    pruned = sum(w == 0 for d in result.depths for w in d.widths)
    assert tab.locator(".node").count() == len(result.tree) - 1
    assert tab.locator(".node.completed").count() == len(result.trajectories)
    assert tab.locator(".node.pruned").count() == pruned
    assert tab.locator("#verdict").inner_text() == f"answer {result.answer}"


def test_the_slider_goes_through_the_depths(tab, searches):
    depths = searches[0][0].depths
    for number in (1, 4, len(depths)):
        tab.locator("#depth").fill(str(number))
        assert shown(tab, ".node") == sum(d.num_sampled for d in depths[:number])
        assert tab.locator("#depths tr").count() == number + 1
        assert tab.locator("#depth-shown").inner_text() == f"{number} of {len(depths)}"
    assert tab.locator(".kv").count() == len(depths)
    first = tab.locator("#depths tr").nth(1).locator("td").all_inner_texts()
    assert first == [
        "1",
        str(len(depths[0].nodes)),
        str(depths[0].num_kept),
        str(depths[0].num_clusters),
        "0",
        f"{depths[0].kv_tokens:,}",
    ]


def test_a_click_shows_the_trajectory(tab, searches):
    result, _ = searches[0]
    best = result.best
    tab.locator(f'.node[data-node="{best.node}"]').click()
    steps = tab.locator(".step").all_inner_texts()
    assert len(steps) == len(best.steps)
    for text, step, reward in zip(steps, best.steps, best.rewards, strict=True):
        assert text.startswith(step.strip())
        assert f"reward {reward:.3f}" in text
    assert f"answer {best.answer}, weight {best.weight:.3f}" in steps[-1]
    assert "</script> & more" in steps[0]


def test_pruned_nodes_can_be_hidden_and_clusters_coloured(tab, searches):
    pruned = tab.locator(".node.pruned").count()
    assert pruned
    tab.locator("#pruned").uncheck()
    assert tab.locator(".node.pruned").count() == 0
    tab.locator("#colour").check()
    colours = tab.locator(".node.kept circle").evaluate_all("all => new Set(all.map(c => c.getAttribute('fill'))).size")
    assert colours > 1


def test_the_vote_is_the_search_s(tab, searches):
    result, _ = searches[0]
    rows = [row.locator("td").all_inner_texts() for row in tab.locator("#votes tr").all()[1:]]
    assert [(row[0], int(row[3])) for row in rows] == [(v.answer, v.count) for v in result.votes]
    assert tab.locator("#votes tr.winner td").first.inner_text() == result.answer


def test_256_trajectories_of_ten_depths_stay_readable(tab, searches):
    tab.select_option("#search", "1")
    result, _ = searches[1]
    assert len(result.depths) == 10
    assert tab.locator(".node").count() == len(result.tree) - 1 >= 2000
    size = tab.locator("#tree").evaluate(
        "tree => [tree.clientWidth, tree.clientHeight, document.querySelector('main').clientWidth]"
    )
    assert size[0] <= size[2] + 250, "the depths fit the window, or nearly"
    rows = tab.locator(".node").evaluate_all(
        "all => { const of = {}; for (const n of all) { const b = n.getBBox(), x = Math.round(b.x + b.width / 2);"
        " (of[x] ??= []).push(b.y + b.height / 2); } return Object.values(of); }"
    )
    gaps = [b - a for row in rows for a, b in zip(sorted(row), sorted(row)[1:], strict=False)]
    assert min(gaps) >= 3.5, "no node hides another"
    tab.locator("#row").fill("12")
    tab.locator(".node.completed").first.click()
    assert tab.locator(".step").count() == 10


def test_a_cut_trajectory_is_no_completed_one(tab, searches):
    tab.select_option("#search", "3")
    assert tab.locator(".node.completed").count() == 0
    assert tab.locator(".node.cut").count() == len(searches[3][0].trajectories)


def test_a_search_without_rewards_and_clusters_is_drawn_too(tab, searches):
    tab.select_option("#search", "2")
    assert tab.locator(".node").count() == len(searches[2][0].tree) - 1
    assert tab.locator("#depths tr").nth(1).locator("td").nth(3).inner_text() == "–"

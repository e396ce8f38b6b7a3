"""The gateway's page in a real browser (headless Chromium), while searches go on."""

import threading
import time

import httpx
import pytest
from tests.browser.test_view import chromium
from tests.gateways import ANSWER, QUESTION, config_of, served

from etsearch.serving.keys import add_key

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright: make test-browser")

PROFILES = {"slow <b>model</b>": {"generator": "scripted(delay_s=0.4)", "prm": "scripted(delay_s=0.1)", "width": 24}}
ASK = {"model": next(iter(PROFILES)), "messages": [{"role": "user", "content": QUESTION}], "seed": 3}


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.wrong, page.asked = [], []
    page.on("console", lambda message: page.wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    context.close()


def ask(url, **more):
    headers = more.pop("headers", {})
    return httpx.post(f"{url}/v1/chat/completions", json={**ASK, **more}, headers=headers, timeout=60)


def num_nodes(page):
    return page.locator("#tree .node").count()


def until(page, condition, seconds=20):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        page.wait_for_timeout(30)
    return found


def test_trees_grow_while_searches_go_on(page, tmp_path):
    market = {"cache_tokens": 4000, "least_width": 4}
    with served(config_of(tmp_path, profiles=PROFILES, market=market)) as gateway:
        page.goto(gateway.url)
        threads = [threading.Thread(target=ask, args=(gateway.url,), kwargs={"seed": n}) for n in range(6)]
        for thread in threads:
            thread.start()
        until(page, lambda: page.locator("#rows tr").count() == 6)
        sizes = [until(page, lambda: num_nodes(page))]
        shown = page.locator("#rows tr.chosen").get_attribute("data-id")
        while page.locator("#rows tr.chosen").get_attribute("data-id") == shown and len(sizes) < 200:
            if (now := num_nodes(page)) != sizes[-1]:
                sizes.append(now)
            if "done" in page.locator("#rows tr.chosen").inner_text():
                break
            page.wait_for_timeout(30)
        for thread in threads:
            thread.join()
        assert len(sizes) >= 3
        assert sizes == sorted(sizes)
        until(page, lambda: "done" in page.locator("#rows tr").first.inner_text())
        page.locator("#rows tr").last.focus()
        page.keyboard.press("Enter")
        until(page, lambda: "The answer is" in page.locator("#text").inner_text())
        assert ANSWER in page.locator("#votes").inner_text()
        assert page.locator("#f-open").inner_text() == "0"
        assert page.locator("#f-mean").inner_text().endswith(" s")
        assert page.locator("#c-cache polyline").count() == 3
        assert page.locator("#c-price polyline").count() == 1
        assert "<b>model</b>" in page.locator("#rows tr").first.inner_text()
        assert page.locator("#rows b").count() == 0
        page.locator("#tree .node").last.click()
        assert page.locator("#text").inner_text()
        assert all(url.startswith((gateway.url, "data:")) for url in page.asked)
    assert not page.wrong


def test_a_key_is_asked_for_where_one_is_needed(page, tmp_path):
    keys = tmp_path / "keys.yaml"
    mine, other = (add_key(keys, {"name": name}) for name in ("mine", "other"))
    with served(config_of(tmp_path, profiles=PROFILES, keys=str(keys))) as gateway:
        for key in (mine, other):
            body = {"background": True, "headers": {"Authorization": f"Bearer {key}"}}
            assert ask(gateway.url, **body).status_code == 202
        page.goto(gateway.url)
        page.locator("#key").fill("no key")
        page.locator("#ask button").click()
        until(page, lambda: "no spaces" in page.locator("#told").inner_text())
        page.locator("#key").fill("wrong")
        page.locator("#ask button").click()
        until(page, lambda: "not known" in page.locator("#told").inner_text())
        page.locator("#key").fill(mine)
        page.locator("#ask button").click()
        until(page, lambda: page.locator("#rows tr").count() == 1)
        assert not page.locator("#ask").is_visible()
        assert page.locator("#key").input_value() == ""
        assert mine not in page.content()
    assert all("401" in text for text in page.wrong if "refused" not in text.lower())


def test_it_says_when_the_gateway_is_gone_and_goes_on_when_it_is_back(page, tmp_path):
    with served(config_of(tmp_path, profiles=PROFILES)) as gateway:
        port = int(gateway.url.rpartition(":")[2])
        page.goto(gateway.url)
        until(page, lambda: page.locator("#f-open").inner_text() == "0")
    until(page, lambda: "does not answer" in page.locator("#told").inner_text())
    with served(config_of(tmp_path, profiles=PROFILES, port=port)) as again:
        until(page, lambda: page.locator("#told").inner_text() == "")
        assert ask(again.url, background=True).status_code == 202
        until(page, lambda: page.locator("#rows tr").count() == 1)


def test_on_a_telephone_nothing_is_wider_than_the_screen(browser, tmp_path):
    with served(config_of(tmp_path, profiles=PROFILES)) as gateway:
        assert ask(gateway.url).status_code == 200
        context = browser.new_context(viewport={"width": 390, "height": 800})
        page = context.new_page()
        page.goto(gateway.url)
        until(page, lambda: num_nodes(page))
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        context.close()

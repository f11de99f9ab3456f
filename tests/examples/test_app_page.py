"""The flights app's page in a real browser, over a real model server."""

import re
import shutil

import pytest
import requests
from flights_app import Relay, running_app
from serving_models import IMAGE

from loopline.pipelines.sites.ports import free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs a browser: install Debian's package chromium")
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 850}
HOSTILE = "<img src=x onerror=\"document.title='hit'\">"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser):
    """A page that fails the test when it asks for anything from elsewhere or when its script fails."""
    opened = browser.new_page(viewport=WIDE)
    opened.set_default_timeout(20_000)
    opened.faults, opened.hosts = [], set()
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.on("console", lambda message: opened.faults.append(message.text) if "Refused" in message.text else None)
    opened.on("request", lambda request: opened.hosts.add(re.match(r"https?://[^/]+", request.url)[0]))
    yield opened
    opened.close()
    assert opened.faults == []
    assert len(opened.hosts) == 1


def visit(page, app: str, site: str = "") -> None:
    page.goto(app)
    page.locator("#probability:not(:empty)").wait_for()
    page.locator(".state.ready").first.wait_for()
    if site:
        page.get_by_role("radio", name=re.compile(f"^{site}")).check()
        settle(page)


def settle(page) -> None:
    """Wait until what was changed is answered."""
    page.wait_for_timeout(50)
    page.locator("#result:not([aria-busy])").wait_for()


def shown(page) -> dict[str, str]:
    names, values = page.locator("#source dt").all_inner_texts(), page.locator("#source dd").all_inner_texts()
    return {**dict(zip(names, values, strict=True)), "probability": page.locator("#probability").inner_text()}


def ask(app: str, flight: dict) -> dict:
    return requests.post(f"{app}/api/predict", json={"site": "edge", "flight": flight}, timeout=30).json()


def picked(page, app: str) -> dict:
    """Return the flight of the sample that the page speaks of."""
    position = page.evaluate("[...document.querySelectorAll('#flights input')].findIndex((one) => one.checked)")
    return requests.get(f"{app}/api/flights", timeout=30).json()[position]


def percent(share: float) -> str:
    return f"{share * 100 + 1e-9:.0f} %"


def test_the_page_shows_what_the_site_answered(page, app, site):
    visit(page, app)
    answer = ask(app, picked(page, app)["flight"])
    found = shown(page)
    assert found["probability"] == percent(answer["probability"])
    assert (found["Site"], found["Model"]) == ("edge", f"flights, version {site.version}")
    assert (found["Model digest"], found["Image digest"]) == (answer["model_digest"], IMAGE)
    reasons = page.locator("#reasons li .reason").all_inner_texts()
    assert reasons[:6] == [part["text"] for part in answer["contributions"][:6]]
    assert reasons[6:] == [f"{len(answer['contributions']) - 6} smaller reasons together"]
    first = answer["contributions"][0]["contribution"]
    points = page.locator("#reasons li .points").first.inner_text()
    assert points.startswith("\u2212" if first < 0 else "+")
    assert abs(first) * 100 == pytest.approx(float(re.search(r"[\d.]+", points)[0]), abs=0.51)


def test_a_changed_flight_is_asked_anew_by_keyboard_alone(page, app):
    visit(page, app, "edge")
    real = picked(page, app)["flight"]
    before = shown(page)
    page.locator("#hour").focus()
    page.keyboard.press("Home")
    settle(page)
    earlier = {**real, "departure_minute": 300 + real["departure_minute"] % 60}
    moved = earlier["departure_minute"] - real["departure_minute"]
    earlier["arrival_minute"] = (real["arrival_minute"] + moved) % 1440
    assert shown(page)["probability"] == percent(ask(app, earlier)["probability"]) != before["probability"]
    assert "The real flight arrived" in page.locator("#outcome").inner_text()
    page.get_by_role("button", name="Real flight again").press("Enter")
    settle(page)
    assert shown(page)["probability"] == before["probability"]
    page.locator("#flights input:checked").focus()
    page.keyboard.press("ArrowDown")
    settle(page)
    another = picked(page, app)
    assert another["flight"] != real
    assert another["number"] in page.locator("#about").inner_text()


def test_another_route_takes_its_own_distance(page, app):
    visit(page, app, "edge")
    real = picked(page, app)["flight"]
    page.get_by_label("From", exact=True).select_option("EWR")
    page.get_by_label("To", exact=True).select_option("HNL")
    page.get_by_label("Gusts, mph").fill("40")
    page.locator("#about", has_text="EWR to HNL").wait_for()
    settle(page)
    changed = {**real, "origin": "EWR", "dest": "HNL", "wind_gust": 40, "distance": None, "arrival_minute": None}
    assert shown(page)["probability"] == percent(ask(app, changed)["probability"])


def test_flights_are_searched(page, app):
    visit(page, app)
    page.get_by_role("searchbox").fill("Newark united FRIDAY")
    rows = page.locator("#flights label:visible").all_inner_texts()
    assert rows
    assert [row for row in rows if not re.search(r"EWR(?s:.*)UA \d+(?s:.*)Fri \d+ June", row)] == []
    assert page.locator("#found").inner_text() == f"{len(rows)} of 200 flights"
    page.get_by_role("searchbox").fill("nowhere")
    assert page.locator("#found").inner_text() == "No flight has all of these words."


@pytest.mark.parametrize("typed", ["999", "-"])
def test_a_wrong_value_takes_the_answer_away(page, app, typed):
    visit(page, app)
    field = page.get_by_label("Humidity, %")
    field.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type(typed)
    page.locator("#problem").wait_for()
    assert page.locator("#problem").inner_text().startswith("Humidity must be a number from 0 to 100 %")
    assert not page.locator("#answer").is_visible()
    field.fill("")
    page.locator("#answer").wait_for()
    assert page.locator("#problem").is_hidden()


def test_a_site_that_is_down_is_said_and_the_others_go_on(page, app):
    visit(page, app, "cloud")
    assert page.locator("#problem").inner_text() == "cloud does not answer (nothing listens there)."
    assert not page.locator("#answer").is_visible()
    page.get_by_role("radio", name=re.compile("^nearest")).check()
    page.locator("#answer").wait_for()
    assert shown(page)["Site"] == "edge"
    assert page.locator("#problem").is_hidden()


def test_an_answer_that_comes_late_is_not_shown_as_new(page, app):
    """The first answer is held back until the second is there."""
    from playwright.sync_api import expect

    visit(page, app)
    held = []
    page.route("**/api/predict", lambda route: held.append(route) if not held else route.continue_())
    rows = page.locator("#flights label")
    rows.nth(30).click()
    expect(page.locator("#answer")).to_have_css("opacity", "0.3")  # faded while it waits
    rows.nth(31).click()
    settle(page)
    about = page.locator("#about").inner_text()
    assert rows.nth(31).locator(".number").inner_text() in about
    held[0].continue_()
    page.wait_for_timeout(500)
    assert page.locator("#about").inner_text() == about
    expect(page.locator("#answer")).to_have_css("opacity", "1")


def test_a_replaced_version_is_noticed_while_the_page_is_open(page, app, site):
    visit(page, app, "edge")
    before, after = site.version, site.other
    assert shown(page)["Model"] == f"flights, version {before}"
    assert page.locator("#change").is_hidden()
    site.replace(after)
    page.locator("#change", has_text=f"edge went from version {before} to version {after}").wait_for()
    assert shown(page)["Model"] == f"flights, version {after}"
    assert shown(page)["probability"] == percent(ask(app, picked(page, app)["flight"])["probability"])
    assert "The same flight:" in page.locator("#change").inner_text()


def test_a_site_that_goes_down_is_passed_over(page, site, tmp_path):
    way = Relay(site.url)
    with running_app({"edge": way.url, "cloud": site.url}, tmp_path / "app.log") as (url, _):
        visit(page, url)
        assert shown(page)["Site"] == "edge"
        way.close()
        page.locator("#since", has_text="Since then: edge does not answer").wait_for()
        page.locator("#flights label").nth(3).click()
        settle(page)
        assert page.locator("#change").inner_text() == "cloud answers now, edge did before."
        assert shown(page)["Site"] == "cloud"


def test_markup_in_a_name_stays_text(page, site, tmp_path):
    with running_app({HOSTILE: site.url}, tmp_path / "app.log") as (url, _):
        visit(page, url)
        assert shown(page)["Site"] == HOSTILE
        assert page.locator(".site b").last.inner_text() == HOSTILE
        assert page.locator("img").count() == 0
        assert page.title() == "Will this flight be late?"


def test_the_page_outlives_its_own_server(page, site, tmp_path):
    port = free_port()
    with running_app({"edge": site.url}, tmp_path / "app.log", port) as (url, _):
        visit(page, url)
    page.locator("#flights label").nth(3).click()
    page.locator("#problem").wait_for()
    assert page.locator("#problem").inner_text().startswith("This app's own server does not answer")
    assert not page.locator("#answer").is_visible()
    with running_app({"edge": site.url}, tmp_path / "app.log", port):
        page.locator("#answer").wait_for()
        assert page.locator("#flights label").nth(3).locator(".number").inner_text() in page.inner_text("#about")


#: From https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio: the least contrast of any text that can be seen.
CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    const color = rgb(getComputedStyle(node).backgroundColor);
    return (color[3] ?? 1) > 0 ? color : ground(node.parentElement);
  };
  const ratios = [...document.querySelectorAll("body *")]
    .filter((node) => node.checkVisibility() && !node.disabled
      && [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()))
    .map((node) => {
      const [one, other] = [light(rgb(getComputedStyle(node).color)), light(ground(node))].sort((a, b) => b - a);
      return (one + 0.05) / (other + 0.05);
    });
  return [ratios.length, Math.min(...ratios)];
}"""


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_it_is_readable_at_any_width(page, app, size):
    page.set_viewport_size(size)
    visit(page, app)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    texts, least = page.evaluate(CONTRAST)
    assert texts > 100
    assert least >= 4.5
    unnamed = """() => [...document.querySelectorAll("input, select, button")]
        .filter((one) => !one.labels?.length && !one.textContent.trim()).map((one) => one.id)"""
    assert page.evaluate(unnamed) == []
    cut = "() => [...document.querySelectorAll('#answer *')].filter((one) => one.scrollWidth > one.clientWidth + 1 && "
    cut += "getComputedStyle(one).display !== 'inline').map((one) => one.className)"
    assert page.evaluate(cut) == []

"""The page in a real browser: Debian's chromium, headless (`apt-get install chromium`), over no network."""

from itertools import pairwise

import pytest

from pipelines.digest.gathering import gather
from pipelines.digest.page import mail_body, render
from tests.browser import Seen, chromium
from tests.digest_account import HOSTILE, NOW, SETTINGS, empty, thirty_nights

PAGES = {
    "thirty nights": lambda: render(gather(thirty_nights(), NOW, SETTINGS)),
    "hostile": lambda: render(gather(thirty_nights(HOSTILE), NOW, SETTINGS)),
    "one endless word": lambda: render(gather(thirty_nights("W" * 5000), NOW, SETTINGS)),
    "empty": lambda: render(gather(empty(), NOW, SETTINGS)),
    "mail": lambda: mail_body(gather(thirty_nights(HOSTILE), NOW, SETTINGS))[1],
}
AA = 4.5
"""Contrast that WCAG 2 asks of text, level AA."""

# Every element with words of its own: its contrast against what is painted below it.
CONTRASTS = """() => {
  const channel = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const parse = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const below = element => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  const own = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  return [...document.body.querySelectorAll("*:not(title)")].filter(own).map(element => {
    const [low, high] = [light(parse(getComputedStyle(element).color)), light(below(element))].sort((a, b) => a - b);
    return [(high + 0.05) / (low + 0.05), element.textContent.trim()];
  });
}"""
ACTIVE = """() => [...document.querySelectorAll("*")].filter(element =>
  ["SCRIPT", "IMG", "IFRAME", "OBJECT", "EMBED", "FORM"].includes(element.tagName) ||
  [...element.attributes].some(({name, value}) => name.startsWith("on") || /^\\s*javascript:/i.test(value))
).map(element => element.outerHTML)"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    made = {name: folder / f"{name}.html" for name in PAGES}
    for name, file in made.items():
        file.write_text(PAGES[name](), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture
def shown(browser, files):
    """Show a page, by default at 1440 pixels and in the light; gives it with what else the browser did."""
    contexts = []

    def show(name, width=1440, scheme="light", url=None):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        seen = Seen(page)
        page.goto(url or files[name].as_uri(), wait_until="load")
        return page, seen

    yield show
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_run_nothing_is_fetched_and_the_console_stays_empty(shown, files, name, scheme):
    page, seen = shown(name, scheme=scheme)
    assert seen.requests == [files[name].as_uri()]
    assert (seen.console, seen.dialogs) == ([], [])
    assert page.evaluate(ACTIVE) == []


def test_a_hostile_title_is_harmless_even_without_the_policy(shown, files, tmp_path):
    html = files["hostile"].read_text(encoding="utf-8")
    policy = '<meta http-equiv="Content-Security-Policy"'
    assert html.count(policy) == 1
    bare = tmp_path / "bare.html"
    bare.write_text(html.replace(policy, '<meta name="nothing"'), encoding="utf-8")
    page, seen = shown("hostile", url=bare.as_uri())
    assert (seen.console, seen.dialogs, seen.requests) == ([], [], [bare.as_uri()])
    assert page.evaluate(ACTIVE) == []
    assert HOSTILE in page.locator("header").inner_text()
    assert page.title().endswith(HOSTILE)


def test_the_policy_stops_a_script_that_would_get_past_the_escaping(shown, files, tmp_path):
    html = files["empty"].read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(html.replace("</main>", "<script>alert(1)</script><img src=x></main>"), encoding="utf-8")
    _, seen = shown("empty", url=broken.as_uri())
    assert seen.dialogs == []
    assert seen.refused == {(tmp_path / "x").as_uri(): "csp"}
    assert len(seen.console) == 2


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_window(shown, name, width):
    page, _ = shown(name, width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    cut = """width => [...document.querySelectorAll("body *:not(.skip)")].map(element => [
        element.getBoundingClientRect().right, element.tagName, element.textContent.slice(0, 40)
    ]).filter(([right]) => right > width)"""
    assert page.evaluate(cut, width) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["thirty nights", "empty", "mail"])
def test_every_word_can_be_told_from_its_ground(shown, name, scheme):
    page, _ = shown(name, scheme=scheme)
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 5
    assert [(round(contrast, 2), words) for contrast, words in contrasts if contrast < AA] == []


def test_light_and_dark_reach_into_the_charts(shown):
    told = {}
    for scheme in ("light", "dark"):
        page, _ = shown("thirty nights", scheme=scheme)
        colour = "[...document.querySelectorAll('.multiples .chart path')].map(path => getComputedStyle(path).stroke)"
        ink = page.evaluate("getComputedStyle(document.body).color")
        assert ink in page.evaluate(colour)
        told[scheme] = (page.evaluate("getComputedStyle(document.body).backgroundColor"), ink)
    assert told == {
        "light": ("rgb(255, 255, 255)", "rgb(17, 17, 17)"),
        "dark": ("rgb(20, 20, 20)", "rgb(237, 237, 237)"),
    }


@pytest.mark.parametrize("name", ["thirty nights", "empty", "mail"])
def test_headings_begin_with_one_first_level_and_skip_none(shown, name):
    page, _ = shown(name)
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(one => Number(one.tagName[1]))"
    )
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_screen_reader_finds_the_landmarks_the_tables_and_every_chart(shown):
    page, _ = shown("thirty nights")
    landmarks = [page.get_by_role(role).count() for role in ("banner", "navigation", "main", "contentinfo")]
    assert landmarks == [1, 1, 1, 1]
    sections = ["Problems", "Usage", "Sources", "Reports", "Widgets", "Runs"]
    assert [page.get_by_role("region", name=name, exact=True).count() for name in sections] == [1] * 6
    assert page.get_by_role("img").count() == page.locator("svg").count() == 2 + 40 + 1
    assert page.get_by_role("img", name="AI credits: 4,174 of 5,000 used on 2026-11-24").count() == 1
    tables = ["9 data sources, 2 in trouble", "2 failed", "6 new since 2026-11-23 03:10 UTC"]
    tables.append("The last 30 runs that were loaded")
    assert [page.get_by_role("table", name=name, exact=True).count() for name in tables] == [1] * 4
    assert page.get_by_role("rowheader", name="HubSpot").count() == 1
    assert page.get_by_role("columnheader").count() == 3 * 3 + 5


def test_the_keyboard_reaches_the_content_at_once_and_sees_where_it_is(shown):
    page, _ = shown("thirty nights")
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.inner_text() == "To the content"
    assert skip.bounding_box()["x"] >= 0
    assert skip.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.url.endswith("#problems")


def test_it_prints_dark_on_white_and_without_the_navigation(shown):
    page, _ = shown("thirty nights", scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(17, 17, 17)"
    assert not page.get_by_role("navigation").is_visible()
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF-")
    assert 3 <= printed.count(b"/Type /Page\n") <= 8

"""The page as a reader has it: in Chromium, wide and narrow, light and dark, by hand and by keyboard."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmodels import Hybrid, LanguageModel, TextDataModule, fit
from seqmodels.report import compare, report
from seqmodels.report.comparison import COMPARISON_PARTS
from seqmodels.report.single_run import RUN_PARTS

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
SETTINGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here; apt-get install chromium")


@pytest.fixture(scope="module")
def run(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose network has gates, recurrent maps and attention, on text with quotation marks."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    path = folder / "text.txt"
    path.write_text(text_file.read_text(encoding="utf-8").replace("the", '"the"'), encoding="utf-8")
    data = TextDataModule(str(path), length=16, batch_size=4)
    model = LanguageModel(Hybrid(8, "LSTM,attention", num_heads=2, context=64), data.tokenizer)
    run = fit(model, data, max_steps=3, validations=2, runs=str(folder))
    report(run)
    compare([run, run], to=run / "comparison.html")
    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="there is no playwright here; pip install it")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=SETTINGS)
        yield opened
        opened.close()


class Reader:
    """A page that was opened, and what went wrong with it."""

    def __init__(self, browser: Any, path: Path, width: int = 1400, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *error: object) -> None:
        self.context.close()


@pytest.mark.parametrize("name", ["report.html", "comparison.html"])
@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_alone_and_every_section_has_content(
    browser: Any, run: Path, name: str, width: int, scheme: str
) -> None:
    reader = Reader(browser, run / name, width, scheme)
    with reader as page:
        assert reader.said == []
        assert [url for url in reader.asked if not url.startswith("data:")] == [(run / name).as_uri()]
        sections = page.locator("main section")
        assert sections.count() == len(RUN_PARTS if name == "report.html" else COMPARISON_PARTS)
        for section in sections.all():
            assert section.locator("h2").inner_text()
            assert len(section.inner_text()) > 40  # what it shows, or why there is nothing
            inside = section.locator("svg, table, pre, dl, ul, .missing")
            box = inside.first.bounding_box()
            assert box["width"] > 50, section.inner_text()
            assert box["height"] > 10, section.inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper, ink = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert contrast(paper, ink) > 7
        assert (luminance(paper) > luminance(ink)) == (scheme == "light")
        words = page.evaluate("[...document.querySelectorAll('svg text')].map(text => getComputedStyle(text).fill)")
        assert words
        assert all(contrast(paper, color) > 4.5 for color in set(words))
        for quiet in ("p.lead", "nav a", "footer"):
            color = page.locator(quiet).first.evaluate("element => getComputedStyle(element).color")
            assert contrast(paper, color) > 4.5


def luminance(color: str) -> float:
    """Of a colour as browsers write it, by the formula of WCAG 2."""
    parts = [float(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_navigation_by_keyboard(browser: Any, run: Path) -> None:
    with Reader(browser, run / "report.html") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        target = page.evaluate("location.hash")
        assert target == "#samples"
        for _ in range(50):  # it glides there
            page.wait_for_timeout(100)
            if abs(page.locator(target).bounding_box()["y"]) < 200:
                break
        else:
            pytest.fail(f"the page did not move to {target}")
        drawings = page.locator("svg").all()
        assert len(drawings) >= 5
        assert all(one.get_attribute("role") == "img" and len(one.get_attribute("aria-label")) > 20 for one in drawings)
        for link in page.locator("nav a").all():
            assert page.locator(link.get_attribute("href")).count() == 1
        summary = page.locator("#configuration details summary")
        assert not page.locator("#configuration details dl").is_visible()
        summary.focus()
        page.keyboard.press("Enter")
        assert page.locator("#configuration details dl").is_visible()


def test_pointing_at_cells_and_letters_says_their_value(browser: Any, run: Path) -> None:
    with Reader(browser, run / "report.html") as page:
        cell = page.locator("#attention details[open] td[title]").first
        cell.hover()
        assert cell.get_attribute("title").endswith("1.00")  # the first token sees nothing but itself
        assert cell.evaluate("element => getComputedStyle(element).backgroundColor") == "rgb(32, 92, 150)"
        letter = page.locator("#neurons .coloured pre span.high").first
        told = "element => { const tip = getComputedStyle(element, '::after'); return [tip.content, tip.position] }"
        assert letter.evaluate(told)[0] == "none"
        letter.scroll_into_view_if_needed()
        letter.hover()
        content, position = letter.evaluate(told)
        assert content == f'"{letter.get_attribute("data-value")}"'
        assert position == "absolute"  # it moves no letter
        float(letter.get_attribute("data-value"))

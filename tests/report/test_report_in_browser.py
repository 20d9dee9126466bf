"""The page as a reader has it: in Chromium, wide and narrow, light and dark, by hand and by keyboard."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmodels import GRU, Hybrid, LanguageModel, TextDataModule, fit
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
    others = []
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        data = TextDataModule(str(path), length=16, batch_size=4, seed=seed)
        model = LanguageModel(GRU(8, 8), data.tokenizer)
        others.append(fit(model, data, max_steps=4, validations=4, diagnostics=False, runs=str(folder)))
    compare([run, *others], to=run / "comparison.html")
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
            inside = section.locator("svg:visible, table, pre, dl, ul, .missing")
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
        drawings = page.locator("svg:visible").all()
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


@pytest.mark.parametrize("name", ["report.html", "comparison.html"])
def test_pictures_fit_a_phone_with_their_legends(browser: Any, run: Path, name: str) -> None:
    with Reader(browser, run / name, 390) as page:
        for figure in page.locator("figure.both").all():
            if not figure.is_visible():
                continue
            drawing = figure.locator("svg:visible")
            assert drawing.count() == 1
            assert figure.evaluate("one => one.scrollWidth <= one.clientWidth")
            assert drawing.bounding_box()["width"] <= 390
            sizes = drawing.evaluate(
                "one => [...one.querySelectorAll('text')].map(t => t.getBoundingClientRect().height)"
            )
            assert min(sizes, default=9) > 6  # letters that can be read
            for entry in figure.locator(".legend li").all():
                box = entry.bounding_box()
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= 390
        assert page.locator("figure.both").count() >= 2


def test_values_under_the_pointer_and_lines_that_hide(browser: Any, run: Path) -> None:
    reader = Reader(browser, run / "comparison.html", 1400)
    with reader as page:
        figure = page.locator("#curves figure")
        axes = figure.evaluate("one => JSON.parse(one.dataset.axes)")[0]
        last = {line["name"]: line["y"][-1] for line in axes["lines"]}
        assert set(last) == {"Hybrid", "GRU"}
        drawing = figure.locator("svg:visible")
        drawing.scroll_into_view_if_needed()
        box = drawing.bounding_box()
        _, top, right, bottom = drawing.evaluate("one => JSON.parse(one.dataset.boxes)")[0]
        page.mouse.move(box["x"] + box["width"] * (right - 0.001), box["y"] + box["height"] * (top + bottom) / 2)
        tip = figure.locator(".tip")
        assert tip.is_visible()
        for name, value in last.items():
            assert f"{name} {value:.4g}" in tip.inner_text().replace("\n", " ")
        figure.locator(".legend button", has_text="GRU").click()
        assert figure.locator(".legend button", has_text="GRU").get_attribute("aria-pressed") == "false"
        place = next(line["key"] for line in axes["lines"] if line["name"] == "GRU")
        parts = drawing.locator(f'[data-line="{place}"]')
        assert parts.count() == 2  # line and band
        assert not any(part.is_visible() for part in parts.all())
        figure.focus()
        page.keyboard.press("ArrowLeft")
        assert "Hybrid" in tip.inner_text()
        assert "GRU" not in tip.inner_text()
        assert reader.said == []


def test_tables_sort_and_filter(browser: Any, run: Path) -> None:
    with Reader(browser, run / "comparison.html") as page:
        heading = page.locator("#results > .scroll thead th", has_text="parameters")
        sizes = "cells => cells.map(cell => cell.cells[cell.cells.length - 3].textContent)"
        rows = page.locator("#results > .scroll tbody tr")
        for order, reverse in (("ascending", False), ("descending", True)):
            heading.locator("button").click()
            assert heading.get_attribute("aria-sort") == order
            found = [float(text.replace(" k", "e3")) for text in rows.evaluate_all(sizes)]
            assert found == sorted(found, reverse=reverse)
            assert len(set(found)) == 2
    with Reader(browser, run / "report.html") as page:
        field = page.locator("#configuration > .filter")
        before = page.locator("#configuration > .facts > div:visible").count()
        field.fill("batch_size")
        assert page.locator("#configuration > .facts > div:visible").count() == 1 < before
        field.fill("")
        assert page.locator("#configuration > .facts > div:visible").count() == before


def test_without_scripts_all_is_there(browser: Any, run: Path) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 900}, java_script_enabled=False)
    page = context.new_page()
    page.goto((run / "comparison.html").as_uri())
    assert page.locator(".legend li").count() >= 2
    assert page.locator("table.data").first.is_visible()
    assert page.locator("button, input").count() == 0  # nothing that does nothing
    context.close()


def test_paper_shows_all_of_it(browser: Any, run: Path) -> None:
    with Reader(browser, run / "report.html", 690, "dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("document.documentElement.scrollWidth") <= 690
        for table in page.locator("table.data:visible").all():
            assert table.bounding_box()["width"] <= 690
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details:not([open])").count() > 0
        assert len(page.pdf(format="A4")) > 10_000

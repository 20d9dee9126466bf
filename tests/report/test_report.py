"""Pages about runs: whole, safe, with no script but their own, whatever the network and whatever is missing."""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import datasets
import pytest
import torch
from pairs import write_pairs
from refusals import assert_refused, refused

from seqmodels import LanguageModel, TextDataModule, TranslationDataModule, Translator, fit, load
from seqmodels.analysis.attention import AlignmentMap, attention_page, draw_alignment
from seqmodels.analysis.coloured_text import coloured_page, passage
from seqmodels.analysis.figures import draw_lines, new_figure
from seqmodels.analysis.html_page import POLICY
from seqmodels.analysis.memory_norms import norms
from seqmodels.analysis.projection import draw_map
from seqmodels.batch import Batch
from seqmodels.cli.main import main
from seqmodels.cli.report import report as report_command
from seqmodels.errors import InputError
from seqmodels.files import CONTROL
from seqmodels.nn import GRU, LSTM, RNN, Backbone, Hybrid, MinGRU, Transformer
from seqmodels.report import compare, recurrence, report, training
from seqmodels.report.comparison import distinct_names
from seqmodels.report.figures import inline
from seqmodels.report.page import SCRIPT, SCRIPT_POLICY, Section, build, evenly_spaced, macro, number, write_page
from seqmodels.report.recurrence import nearest, reach
from seqmodels.report.run import open_run
from seqmodels.report.single_run import RUN_PARTS
from seqmodels.report.tokens import attention_section
from seqmodels.report.training import flat_settings, read_samples, read_translations

NETWORKS: dict[str, Callable[[], Backbone]] = {
    "LSTM": lambda: LSTM(8, 12, num_layers=2),
    "RNN": lambda: RNN(8, 12),
    "MinGRU": lambda: MinGRU(8, 12),
    "Transformer": lambda: Transformer(8, num_layers=2, num_heads=2, context=32),
    "Hybrid": lambda: Hybrid(8, "GRU,attention", num_heads=2, context=32),
}
VOID = ("meta", "br", "img")


class Page(HTMLParser):
    """A page taken apart: its sections, and whether its tags are closed in the order in which they were opened."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source, self.section = path.read_text(encoding="utf-8"), ""
        self.open, self.tags, self.ids, self.links = list[str](), set[str](), list[str](), list[str]()
        self.texts: dict[str, str] = {}
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = found["id"] or ""
            self.texts[self.section] = ""
        if found.get("id"):
            self.ids.append(found["id"] or "")
        assert not [name for name in found if name.startswith("on")]
        self.links += [found[name] or "" for name in ("href", "xlink:href", "src") if name in found]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data: str) -> None:
        if self.section:
            self.texts[self.section] += data


def only_its_script(page: Page) -> bool:
    """Whether a page has its own script, allowed by its hash, and no other."""
    allowed = re.findall(r"script-src ([^;\"]+)", page.source)
    scripts = re.findall(r"<script[^>]*>(.*?)</script", page.source, re.DOTALL | re.IGNORECASE)
    hashed = base64.b64encode(hashlib.sha256("".join(scripts).encode()).digest()).decode()
    return allowed == [f"'sha256-{hashed}'"] and scripts == [SCRIPT] and page.source.lower().count("<script") == 1


def check(page: Page) -> None:
    """What holds for every page: nothing of others runs or is fetched, and every name within it is there once."""
    assert only_its_script(page)
    assert not page.tags & {"iframe", "link", "object", "embed", "form", "base"}
    assert "default-src 'none'" in page.source
    assert len(page.ids) == len(set(page.ids))
    inside = [link[1:] for link in page.links if link.startswith("#")]
    inside += re.findall(r"url\(#([^)]+)\)", page.source)
    assert set(inside) <= set(page.ids)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert set(re.findall(r"https?://[^\"' ]+", page.source)) <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink",
    }  # fmt: skip
    assert all(len(said.strip()) > 25 for said in page.texts.values()), page.texts


@pytest.fixture(scope="module")
def runs(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each kind of network on the same text, of three steps."""
    folder, made = tmp_path_factory.mktemp("runs"), {}
    for name, made_new in NETWORKS.items():
        torch.manual_seed(0)
        data = TextDataModule(str(text_file), length=16, batch_size=4)
        model = LanguageModel(made_new(), data.tokenizer)
        made[name] = fit(model, data, max_steps=3, validations=1, diagnostics=name == "LSTM", runs=str(folder))
    return made


@pytest.fixture(scope="module")
def translators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of translators: by alignment, by one vector, by Transformers, and by a language model."""
    folder, made = tmp_path_factory.mktemp("translators"), {}
    write_pairs(folder)
    for name in ("general", "none", "transformer", "joined"):
        torch.manual_seed(0)
        layout = "joined" if name == "joined" else "pair"
        data = TranslationDataModule(str(folder), "en", "fr", tokenizer="char", batch_tokens=200, layout=layout)
        tokenizers, sizes = (data.tokenizer, data.source_tokenizer), {"num_layers": 1, "num_heads": 2}
        if name == "joined":
            model = LanguageModel(Transformer(8, **sizes, context=256), data.tokenizer)
        elif name == "transformer":
            networks = Transformer(8, **sizes, causal=False), Transformer(8, **sizes, memory_size=8)
            model = Translator(*networks, *tokenizers)
        else:
            model = Translator(GRU(8, 8), GRU(8, 8), *tokenizers, name)
        made[name] = fit(model, data, max_steps=1, validations=1, diagnostics=False, runs=str(folder / "runs"))
    return made


@pytest.fixture(scope="module")
def pages(runs: dict[str, Path]) -> Callable[[str], Path]:
    """The page of each kind of network, written once."""
    return cache(lambda kind: report(runs[kind]))


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a run, to be broken; without its checkpoints, so that little is computed."""
    return shutil.copytree(runs["LSTM"], tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))


@pytest.mark.parametrize("kind", NETWORKS)
def test_page_of_each_network(runs: dict[str, Path], pages: Callable[[str], Path], kind: str) -> None:
    path = pages(kind)
    assert path == runs[kind] / "report.html"
    page = Page(path)
    check(page)
    assert path.stat().st_size < 5e6
    assert f"<h1>{kind} on " in page.source
    assert "validation" in page.texts["curves"]
    assert "step 3" in page.texts["samples"]
    assert "learning" not in page.texts["configuration"]
    assert "batch_size" in page.texts["configuration"]
    assert "torch" in page.texts["environment"]
    assert "Keys and memories" not in page.texts["gates"]
    attends = kind in ("Transformer", "Hybrid")
    assert ("head 1" in page.texts["attention"]) == attends
    assert (f"{kind} has no attention" in page.texts["attention"]) == (not attends)
    assert (f"{kind} has no gates" in page.texts["gates"]) == (kind in ("RNN", "Transformer"))


def test_keys_and_memories_of_layers() -> None:
    trace = Hybrid(8, "GatedDeltaNet,attention,Mamba2", num_heads=2).traced(torch.randn(2, 5, 8))[2]
    page = str(recurrence.memory_norms(norms(trace)))
    for words in ("Keys and memories", "key of layer 1", "memory of layer 1", "memory of layer 3", "position 5"):
        assert words in page
    assert {recurrence.in_words(name) for name in trace.gates} == {
        "decay of layer 1", "writing strength of layer 1", "decay of layer 3",
    }  # fmt: skip


def test_the_same_run_gives_the_same_page(runs: dict[str, Path], pages: Callable[[str], Path], tmp_path: Path) -> None:
    assert report(runs["Transformer"], to=tmp_path / "again.html").read_bytes() == pages("Transformer").read_bytes()


def test_weights_in_the_page_are_those_of_the_model(runs: dict[str, Path]) -> None:
    subject = open_run(runs["Transformer"])
    page = attention_section(subject).body
    model = load(runs["Transformer"])
    assert isinstance(model, LanguageModel)
    ids = torch.tensor([subject.token_ids(48)])
    with torch.inference_mode():
        _, _, trace = model.traced(Batch(ids, ids))
    weights = trace.attention["1"][0, 1]
    table = page.split("Layer 1, head 2</summary>")[1].split("</table>")[0]
    for t, row in enumerate(table.split("<tr>")[2:]):
        shown = [float(found or 0) for found in re.findall(r"<td(?: style=\"--w:([\d.]+)\")?", row)]
        torch.testing.assert_close(torch.tensor(shown), weights[t], atol=0.00501, rtol=0)


@pytest.mark.parametrize("kind", ["general", "none", "transformer", "joined"])
def test_sections_of_translators(translators: dict[str, Path], kind: str) -> None:
    subject = open_run(translators[kind])
    made = {key: build(builder, subject) for key, _, builder in RUN_PARTS if key in ("samples", "attention")}
    assert "chien" in made["samples"].body
    said = made["attention"].missing or made["attention"].body
    assert ("From source to translation" in said) == (kind in ("general", "transformer"))
    assert ("head 2" in said) == (kind in ("transformer", "joined"))
    assert ("to the source, head 1" in said) == (kind == "transformer")
    assert ("no attention" in said) == (kind == "none")


def test_page_of_a_translator(translators: dict[str, Path]) -> None:
    page = Page(report(translators["general"]))
    check(page)
    assert "chien" in page.texts["samples"]
    assert "embedded source" in page.texts["horizon"]


def test_run_without_a_checkpoint_says_so(run: Path) -> None:
    page = Page(report(run))
    check(page)
    assert "no model that can be loaded" in page.texts["attention"]
    assert "checkpoints/best.safetensors" in page.texts["attention"]
    assert "million tokens" in page.texts["curves"]


def test_text_that_has_moved_is_asked_for(text: str, tmp_path: Path) -> None:
    there = tmp_path / "there.txt"
    there.write_text(text, encoding="utf-8")
    data = TextDataModule(str(there), length=16, batch_size=4)
    model = LanguageModel(NETWORKS["Transformer"](), data.tokenizer)
    run = fit(model, data, max_steps=1, validations=1, runs=str(tmp_path / "runs"))
    moved = there.rename(tmp_path / "moved.txt")
    assert_refused(r"there\.txt.*give its path with --data", attention_section, open_run(run))
    assert "head 1" in attention_section(open_run(run, [str(moved)])).body


def test_a_run_on_data_of_python_says_once_where_to_put_them(text: str, tmp_path: Path) -> None:
    texts = text.split("\n")
    data = TextDataModule(texts, length=16, batch_size=4)
    model = LanguageModel(NETWORKS["Transformer"](), data.tokenizer)
    run = fit(model, data, max_steps=1, validations=1, runs=str(tmp_path / "runs"))
    assert open_run(run).missing["data"].count("--data") == 1
    datasets.Dataset.from_dict({"text": texts}).save_to_disk(str(tmp_path / "saved"))
    assert "data" not in open_run(run, [str(tmp_path / "saved")]).missing


@pytest.mark.parametrize("name", ["config.yaml", "env.json", "result.json", "metrics.csv", "samples.md"])
def test_files_that_are_missing_or_nonsense(run: Path, name: str) -> None:
    sections = {"config.yaml": "configuration", "env.json": "environment", "samples.md": "samples"}
    sections |= {"metrics.csv": "curves"} if name == "metrics.csv" else {}  # which take long to be drawn
    for content in (None, b"", b"\xff\xfe\x00", b"[1, {", b"a,b\nx,y\n", b"- - -"):
        (run / name).unlink(missing_ok=True)
        if content is not None:
            (run / name).write_bytes(content)
        subject = open_run(run)
        assert training.tiles(subject)
        assert all(isinstance(say(subject), str) for say in (training.origin, training.network))
        assert (training.ending_note(subject) is None) == (name != "result.json")
        made = {key: build(builder, subject) for key, _, builder in RUN_PARTS if key in sections.values()}
        missing = [key for key, section in made.items() if section.missing]
        assert missing == ([sections[name]] if name in sections else []), content
    check(Page(report(run)))


def test_odd_values_in_files(run: Path) -> None:
    (run / "result.json").write_text('{"val/nats_per_token": "x", "steps": [], "tokens": NaN, "ended": {"a": 1}}')
    (run / "env.json").write_text('{"commit": 7, "corpus": [], "resumed": [1, {"step": "<b>"}], "versions": null}')
    (run / "metrics.csv").write_text("step,train/tokens,val/nats_per_token\n1,,2\n2,nan,inf\n3,100,2.5\n")
    check(Page(report(run)))


EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><a href=https://example.org>&lt;\x00\x1b[2J\u202e"


def test_nothing_that_a_file_says_becomes_markup(run: Path) -> None:
    (run / "samples.md").write_text(f"## step {EVIL}\n\n```text\n{EVIL}\n```\n")
    settings = json.dumps(
        {"data": EVIL, "a<b>": [EVIL], EVIL.replace("\0", ""): 1, "backbone": {"class_path": EVIL, "init_args": 3}}
    )
    (run / "config.yaml").write_text(settings)
    (run / "env.json").write_text(json.dumps({"command": EVIL, "commit": EVIL, "corpus": {"origin": EVIL}, EVIL: EVIL}))
    (run / "result.json").write_text(json.dumps({"ended": EVIL, "val/nats_per_token": 2.0, f"val/{EVIL}": 1.0}))
    (run / "gradient_horizon.csv").write_text("step,kind,distance,norm\n" + "9" * 400 + ",x,1,0.5\n")
    header, row = (run / "metrics.csv").read_text().splitlines()[:2]
    (run / "metrics.csv").write_text(f'{header},"val/{EVIL.replace(chr(34), "")}"\n{row},7\n'.replace("\0", ""))
    page = Page(report(run))
    source = re.sub(r"https://example.org", "", page.source)
    assert only_its_script(page)
    assert "<img" not in source
    assert "\x1b" not in source
    assert "\u202e" not in source
    compared = Page(compare([run, run], to=run / "both.html"))
    assert only_its_script(compared)
    assert "<img" not in compared.source


def test_long_files_make_short_pages(run: Path) -> None:
    (run / "samples.md").write_text("".join(f"## step {n}\n\n```text\n{'y' * 3000}\n```\n\n" for n in range(400)))
    rows = "".join(f"{n},{n * 1000},{2 + 1 / (n + 1)},{2 + 1 / (n + 1)}\n" for n in range(40_000))
    (run / "metrics.csv").write_text(f"step,train/tokens,train/nats_per_token,val/nats_per_token\n{rows}")
    path = report(run)
    assert path.stat().st_size < 300_000
    check(Page(path))


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, why in ((tmp_path, "it has no files of a run"), (tmp_path / "no", "there is no such folder")):
        assert why in refused(capsys, "report", str(path))
    with pytest.raises(InputError, match="no such folder; make it first"):
        report_command([str(tmp_path)], to=str(tmp_path / "none" / "page.html"))


def test_the_command_names_the_page_and_counts_seconds(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["report", str(run), "--to", str(tmp_path / "page.html")])
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'page.html'}\n"
    assert re.search(r"Learning curves +\d+\.\d s", said.err)
    assert re.search(r"Attention +\d+\.\d s  \(the run has no model that can be loaded: ", said.err)
    refused(capsys, "report", str(run), "--to", str(tmp_path / "no" / "page.html"))
    refused(capsys, "report", "--tu", "x")


def test_runs_compared(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", *map(str, runs.values()), "--to", str(tmp_path / "all.html")])
    assert capsys.readouterr().out == f"{tmp_path / 'all.html'}\n"
    page = Page(tmp_path / "all.html")
    check(page)
    for name in NETWORKS:
        assert all(name in page.texts[key] for key in ("results", "curves", "samples", "settings"))
    assert "backbone.num_heads" in page.texts["settings"]
    assert "batch_size" not in page.texts["settings"]
    assert compare([runs["RNN"], runs["LSTM"]]) == runs["RNN"].parent / "comparison.html"
    for number_of in (1, 21):
        assert_refused("expected 2 to 20", compare, [runs["RNN"]] * number_of)
    for one in (runs["RNN"], str(runs["RNN"])):
        assert_refused("expected a list of run folders", compare, one)


def test_names_tell_runs_apart(runs: dict[str, Path]) -> None:
    subjects = [open_run(runs[name]) for name in ("RNN", "RNN", "LSTM", "RNN")]
    subjects[1].settings = subjects[1].settings | {"lr": 0.5, "seed": 2}
    assert distinct_names(subjects) == ["RNN, lr 0.003 (1)", "RNN, lr 0.5", "LSTM", "RNN, lr 0.003 (4)"]


def test_samples_are_read_as_they_are_written() -> None:
    page = "## step 100\n\n```text\n## no heading\na\n```\n\n"
    page += "## step 200, last validated\n\n~~~~~~text\n```python\n~~~~~~\n\n"
    assert read_samples(page) == [("step 100", "## no heading\na"), ("step 200, last validated", "```python")]
    assert read_samples("") == []
    page = "## step 3, validated\n\n- a dog\n  - **un *chien***\n  - un chien\n\n- x\n  - **y**\n  - z\n\n"
    assert read_translations(page) == [("step 3, validated", [("a dog", "un *chien*", "un chien"), ("x", "y", "z")])]


def test_some_of_many() -> None:
    assert evenly_spaced(3, 8) == [0, 1, 2]
    assert evenly_spaced(101, 3) == [0, 50, 100]
    assert all(len(set(evenly_spaced(count, 8))) == min(count, 8) for count in range(40))


def test_figures_take_the_colours_of_the_page() -> None:
    drawings = []
    for _ in range(2):
        figure = new_figure()
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="C1", label="<&>")
        axes.fill_between([0, 1], [1, 2], color="white")
        axes.plot([0, 1], [1, 0], color="#123456")
        axes.legend()
        drawings.append(inline(figure, 'said "so"', "here"))
    drawn = drawings[0]
    assert drawn == drawings[1]
    assert 'aria-label="said &#34;so&#34;"' in drawn
    assert "stroke: var(--c1)" in drawn
    assert "fill: var(--paper)" in drawn
    assert "stroke: var(--axis)" in drawn
    assert "#123456" in drawn
    assert "&lt;&amp;&gt;" in drawn
    assert "DejaVu" not in drawn
    assert not re.search(r"<style|<metadata|<!--|\d{4}-\d\d-\d\d", drawn)
    assert all(name.startswith("here-") for name in re.findall(r' id="([^"]+)"', drawn))


def test_names_in_figures_stay_as_they_are() -> None:
    """Neither a formula, nor a style, nor the name of an element."""
    strange = ['prompt font-family: x "y', "font: 3px z; #ff7f0e;", ' id="b"', r"$\foo$"]
    figure = draw_lines({name: ([0, 1], [0, place]) for place, name in enumerate(strange)})
    page = ElementTree.fromstring(inline(figure, "lines", "here"))
    written = {"".join(element.itertext()).strip() for element in page.iter("li")}
    pointed = {line["name"] for axes in json.loads(page.attrib["data-axes"]) for line in axes["lines"]}
    assert {name.strip() for name in strange} == {name.strip() for name in pointed}
    assert {name.strip() for name in strange} <= written


@pytest.mark.parametrize(
    ("norms", "said"),
    [
        ([1.0, 0.5, 0.01, 0.009], "3 tokens back"),
        ([1.0, 0.001, 0.02, 0.001], "3 tokens back"),  # from which on all are below
        ([1.0, 0.5, 0.2], "beyond 2 tokens"),
        ([float("nan"), 2.0, 0.5, 0.01], "3 tokens back"),  # a source begins at distance 1
        ([1.0] * 30 + [0.001] * 5, "30 tokens back"),  # also where a picture would leave out the distance
    ],
)
def test_the_horizon_in_words(norms: list[float], said: str) -> None:
    assert reach(torch.tensor(norms)) == said


def test_no_horizon_without_a_gradient() -> None:
    assert nearest(torch.tensor([float("nan"), 2.0])) == 2
    assert nearest(torch.tensor([float("nan")] * 3)) == 0


def test_control_characters_are_shown_on_every_page(tmp_path: Path) -> None:
    """Escaped, in text, tokens and labels of figures alike; spaces and characters that join letters stay."""
    kept = "10\u00a0%\u3000👩\u200d💻 co\u00adop\t"
    odd = "a<\x00\x1b[2J\x9b\u202e\u2028\ud800>" + kept
    matrix, words = torch.eye(3), [odd, "b", "c"]
    drawing = draw_lines({odd: ([0, 1], [0, 1])})
    section = Section(
        odd, macro("note", odd) + inline(drawing, odd, "here") + inline(draw_map(matrix[:, :2], words), "", "map")
    )
    written = write_page(
        tmp_path / "page.html", [("key", odd, lambda source: section)], None, kind="", title=odd, about=odd,
        tiles=[(odd, odd, odd)], notes=[odd],
    )  # fmt: skip
    draw_alignment(AlignmentMap(["\x1b\ud800", "b", "c"], ["\0", "b", "c"], matrix), tmp_path / "picture.png")
    for policy, page in (
        (SCRIPT_POLICY, written.read_text(encoding="utf-8")),
        (POLICY, attention_page([AlignmentMap(words, words, matrix)], odd)),
        (POLICY, coloured_page([passage(odd, odd, range(len(odd)), torch.linspace(0, 1, len(odd)))], odd)),
    ):
        assert not CONTROL.search(page)
        assert kept in page
        assert r"a&lt;\x00\x1b[2J\x9b\u202e\u2028\ud800&gt;" in page
        assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page


def test_text_is_escaped_and_limited() -> None:
    assert "&lt;a&gt;" in macro("note", "<a>")
    assert f">{'x' * 10}…<" in macro("sample", "x" * 30, 10)
    assert f">{'x' * 20_000}…<" in macro("note", "x" * 30_000)
    assert macro("note", macro("heading", "a")) == '<p class="note"><h3>a</h3></p>'


def test_numbers_and_settings_as_text() -> None:
    assert [number(value) for value in (3, 12345.0, 2.50781, float("inf"))] == ["3", "12,345", "2.508", "inf"]
    assert flat_settings({"a": 1, "b": {"class_path": "m.C", "init_args": {"d": 2}}, "e": {"f": 3}}) == {
        "a": 1, "b": "C", "b.d": 2, "e.f": 3,
    }  # fmt: skip

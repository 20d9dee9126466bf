"""The notebooks of the documentation run, and runs, reports and models show themselves in one, without ipywidgets."""

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from networks import NETWORKS
from trainers import small_model, small_module

from seqmodels import LSTM, LanguageModel, Sampling, TextDataModule, Tokenizer, TranslationDataModule, fit
from seqmodels.analysis import notebook
from seqmodels.analysis.notebook import LiveCell, Page, RunFolder, curves_svg, in_notebook
from seqmodels.files import write_text

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def executed(path: Path, folder: Path, cells: int | None = None) -> Any:
    """A notebook after its first code cells, or all, ran with a few steps in place of minutes."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    book = nbformat.read(path, as_version=4)
    code = [place for place, cell in enumerate(book.cells) if cell.cell_type == "code"]
    book.cells = book.cells if cells is None else book.cells[: code[cells - 1] + 1]
    for cell in book.cells:
        cell.source = re.sub(r"max_(minutes|steps)=[\d.]+", "max_steps=4", cell.source)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources=resources).execute()
    return book


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel imports this package; it has no ipywidgets, though the machine may."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONWARNINGS", "default")


@each
def test_as_it_is_stored(path: Path) -> None:
    book = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 20_000
    first = "".join(book["cells"][0]["source"])
    assert first.startswith("# ")
    assert f"https://colab.research.google.com/github/OWNER/seqmodels/blob/main/docs/notebooks/{path.name}" in first
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.usefixtures("kernel")
@pytest.mark.filterwarnings("default")  # those of the client
def test_the_first_cell(tmp_path: Path) -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem == "hello_to_gpt")
    book = executed(path, tmp_path, 1)
    outputs = book.cells[-1].outputs
    assert not [output for output in outputs if output.get("name") == "stderr"]
    (live,) = (output for output in outputs if output.output_type == "display_data")
    assert "<progress value='1.0000'" in live.data["text/html"]
    assert live.data["text/plain"].startswith("100% validated at ")
    shown = outputs[-1].data
    assert shown["text/plain"].startswith("RunFolder('runs/language_model/rnn-hello-s1-")
    assert "nats per token" in shown["text/html"]
    assert len(shown["text/html"]) < 20_000


@pytest.mark.slow
@pytest.mark.usefixtures("kernel")
@pytest.mark.filterwarnings("default")  # those of the client
@each
def test_all_cells(path: Path, tmp_path: Path) -> None:
    began = time.perf_counter()
    book = executed(path, tmp_path)
    assert time.perf_counter() - began < 300
    errors = [output for cell in book.cells for output in cell.get("outputs", ()) if output.get("name") == "stderr"]
    assert errors == []


# What is shown


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, text_file: Path) -> RunFolder:
    data = small_module(text_file, True)
    folder = str(tmp_path_factory.mktemp("runs"))
    return fit(small_model(data), data, max_steps=4, validations=2, runs=folder, accelerator="cpu")


def test_a_run_is_a_path_that_shows_itself(run: RunFolder) -> None:
    assert isinstance(run, RunFolder)
    assert run == Path(str(run))
    assert hash(run) == hash(Path(str(run)))
    result = json.loads((run / "result.json").read_text())
    assert repr(run).startswith(f"RunFolder({str(run)!r}): nats per token {result['val/nats_per_token']:.4g}, ")
    shown = run._repr_html_()
    assert shown is not None
    assert "<svg" in shown
    assert f"<b>{result['val/nats_per_token']:,.4g}</b> nats per token" in shown
    assert str(run) in shown
    last = (run / "samples.md").read_text().split("```")[-2].removeprefix("text\n").strip("\n")
    assert last.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")[:10] in shown


def test_a_path_in_a_run_shows_nothing(run: RunFolder) -> None:
    for path in (RunFolder(run / "result.json"), RunFolder(run.parent), RunFolder("nowhere")):
        assert path._repr_html_() is None
        assert repr(path) == f"RunFolder({path.as_posix()!r})"


def test_a_run_that_is_damaged_still_shows(tmp_path: Path) -> None:
    for name, text in {"config.yaml": "", "result.json": "{", "metrics.csv": "a\nb,c\n", "samples.md": "x"}.items():
        write_text(tmp_path / name, text)
    assert "nothing was validated yet" in repr(RunFolder(tmp_path))
    assert str(tmp_path) in str(RunFolder(tmp_path)._repr_html_())


def test_what_a_model_wrote_is_text(run: RunFolder, tmp_path: Path) -> None:
    write_text(tmp_path / "config.yaml", "")
    write_text(tmp_path / "samples.md", "## step 5\n\n```text\n<script>alert(1)</script>\x1b[31m\n```\n")
    shown = str(RunFolder(tmp_path)._repr_html_())
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[31m" in shown
    assert "<script" not in shown


def test_a_page_is_shown_in_a_frame(tmp_path: Path) -> None:
    write_text(tmp_path / "page.html", '<p title="a">&amp;</p>')
    shown = str(Page(tmp_path / "page.html")._repr_html_())
    assert 'srcdoc="&lt;p title=&quot;a&quot;&gt;&amp;amp;&lt;/p&gt;"' in shown
    assert Page(tmp_path / "none.html")._repr_html_() is None


def test_curves() -> None:
    assert curves_svg({}) == curves_svg({"training": [(1, 2.0)]}) == ""
    drawn = curves_svg({"training": [(0, 4.0), (10, 2.0), (20, float("nan"))], "validation": [(10, 3.0)]})
    (line,) = re.findall(r"points='([^']+ [^']+)'", drawn)
    (first, second) = (tuple(map(float, point.split(","))) for point in line.split())
    assert first[0] < second[0]
    assert first[1] < second[1]  # down, in a picture
    assert "training 2.000 nats" in drawn
    assert "nan" not in drawn
    assert curves_svg({"training": [(5, 1.0), (5, 1.0)]}).count("polyline") == 1


def test_a_cell_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook()
    drawn: list[dict[str, str]] = []
    handle = SimpleNamespace(update=lambda data, raw: drawn.append(data))
    display = SimpleNamespace(display=lambda data, raw, display_id: handle)
    shell = SimpleNamespace(kernel=object())
    module = SimpleNamespace(display=display, get_ipython=lambda: shell)
    monkeypatch.setitem(notebook.sys.modules, "IPython", module)
    assert in_notebook()
    cell = LiveCell()
    for tokens in range(5000):
        cell.point("training", tokens, 1.0)
    cell.point("training", 10, 1.0)  # a run that went back
    assert 300 < len(cell.points["training"]) <= 602
    cell.show("step <1>", 0.25)
    cell.stop()
    assert drawn[0]["text/plain"] == drawn[1]["text/plain"] == "25% step <1>"
    assert "step &lt;1&gt;" in drawn[0]["text/html"]
    assert "<svg" in drawn[0]["text/html"]


def test_reprs(text_file: Path) -> None:
    data = TextDataModule("python", tokenizer="char", length=32, carry=True)
    assert repr(data) == str(data) == "TextDataModule(data='python', length=32, carry=True)"
    pairs = TranslationDataModule(["a" * 100, "b"], "en", "fr")
    assert str(pairs).startswith("TranslationDataModule(data=['aaaaa")
    assert len(str(pairs)) < 150
    assert repr(LSTM(3, 4, num_layers=2)) == "LSTM(input_size=3, hidden_size=4, num_layers=2)  # 304 parameters"
    assert repr(Sampling()) == "Sampling()"
    assert repr(Sampling(0.8, top_k=3, logit_bias={4: 1.0})) == (
        "Sampling(temperature=0.8, top_k=3, logit_bias={4: 1.0})"
    )
    tokenizer = Tokenizer.char(["abc"])
    assert repr(tokenizer) == "<Tokenizer, 7 tokens>"
    tree = repr(LanguageModel(LSTM(3, 4), tokenizer))
    assert "(backbone): LSTM(input_size=3, hidden_size=4)  # 144 parameters\n" in tree
    assert "(head): Linear(" in tree


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_one_line(name: str) -> None:
    network = NETWORKS[name]()
    size = sum(parameter.numel() for parameter in network.parameters())
    assert re.fullmatch(rf"{type(network).__name__}\(.*\)  # {size:,} parameters", repr(network))

"""Any console, readers that leave, control characters, and JSON that is JSON."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trainers import small_model, small_module

from seqmodels import InputError, fit
from seqmodels.cli.main import main
from seqmodels.cli.program import guarded
from seqmodels.files import any_console, parse_json, printable, to_json

SMALL = "--length 16 --batch-size 2 --backbone RNN --backbone.hidden-size 8 --max-steps 4".split()  # noqa: SIM905


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    path = tmp_path / "marks.txt"
    path.write_text("✓ der Bär läuft, 火が燃える\n" * 200, encoding="utf-8")
    return path


@pytest.fixture
def abandoned() -> Iterator[io.TextIOWrapper]:
    """A pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    yield stream
    with contextlib.suppress(OSError):
        stream.close()


def only(runs: Path) -> Path:
    (folder,) = runs.glob("*/*")
    return folder


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16"])
def test_consoles_of_any_encoding(marks: Path, tmp_path: Path, encoding: str) -> None:
    written = io.BytesIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(written, encoding=encoding, write_through=True)):
        main(["fit", "--data", str(marks), "--runs", str(tmp_path / "runs"), "--prompt", "✓", *SMALL])
        main(["generate", str(only(tmp_path / "runs")), "--prompt", "火", "--max-tokens", "5"])
        shown = written.getvalue().decode(encoding)
    fire = "火" if encoding == "utf-16" else "\\u706b"
    assert f"\n{fire}" in shown
    assert "validation" in shown


def test_training_goes_on_where_nobody_reads(
    marks: Path, tmp_path: Path, abandoned: io.TextIOWrapper, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.redirect_stdout(abandoned):
        main(["fit", "--data", str(marks), "--runs", str(tmp_path / "runs"), *SMALL])
        abandoned.flush()  # as the interpreter does at its end
    assert json.loads((only(tmp_path / "runs") / "result.json").read_text())["ended"] == "budget"
    assert capsys.readouterr().err.count("the output cannot be written (Broken pipe)") == 1


def test_training_from_python_goes_on_where_nobody_reads(
    text_file: Path, tmp_path: Path, abandoned: io.TextIOWrapper
) -> None:
    data = small_module(text_file, True)
    with contextlib.redirect_stdout(abandoned):
        run = fit(small_model(data), data, max_steps=2, validations=1, runs=tmp_path)
        assert sys.stdout is abandoned
    assert (run / "result.json").exists()


@pytest.mark.parametrize("size", [1, 1_000_000])  # which fits into the buffer, and which does not
def test_other_commands_end_with_the_code_of_shells(size: int, abandoned: io.TextIOWrapper) -> None:
    with contextlib.redirect_stdout(abandoned), pytest.raises(SystemExit) as ended:
        guarded(lambda: print("x" * size))
    assert ended.value.code == 141


@pytest.mark.parametrize("mark", ["\x1b[2J", "\x07", "\x9b31m", "\u202e", "\u2066", "\x7f", "\x00", "\r"])
def test_control_characters_are_shown(mark: str) -> None:
    shown = printable(f"a{mark}b\tc\n")
    assert shown == f"a{mark.encode('unicode_escape').decode().replace('[2J', '')}{'[2J' * ('[2J' in mark)}b\tc\n"
    assert printable(shown) == shown


def test_on_a_terminal_control_characters_are_shown_and_in_a_file_kept() -> None:
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "w", encoding="utf-8") as stream, contextlib.redirect_stdout(stream), any_console():
        print("evil \x1b]0;title\x07 text, Grüße", flush=True)
        assert os.read(controller, 1000).decode() == "evil \\x1b]0;title\\x07 text, Grüße\r\n"
    os.close(controller)
    with contextlib.redirect_stdout(io.StringIO()) as file, any_console():
        print("\x1b[0m", end="")
    assert file.getvalue() == "\x1b[0m"


def test_errors_are_one_line_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--data", "no\x1b[31m\nsuch\u202e.txt"])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error == printable(error)


def strict(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_has_no_numbers_that_are_not_finite(
    marks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = {"a": float("nan"), "b": [float("inf"), {"c": float("-inf")}, 1.5, "NaN"]}
    assert strict(to_json(odd)) == {"a": None, "b": [None, {"c": None}, 1.5, "NaN"]}
    words = ["--lr", "1e30", "--clip", "0", "--runs", str(tmp_path / "runs")]
    main(["fit", "--data", str(marks), *SMALL, *words])
    run = only(tmp_path / "runs")
    for path in run.glob("*.json*"):
        for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            strict(line)
    capsys.readouterr()
    main(["test", str(run / "checkpoints" / "last.safetensors"), "--json"])  # nothing was good enough to be the best
    strict(capsys.readouterr().out)
    parse_json((run / "result.json").read_text(), "result.json")


def test_several_devices_in_a_notebook_are_refused(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    data = small_module(text_file, True)
    with pytest.raises(InputError, match="devices=2 was given in a notebook"):
        fit(small_model(data), data, max_steps=2, devices=2, accelerator="cpu", runs=tmp_path)
    assert not list(tmp_path.iterdir())

"""Labels of text by character."""

import ast
import itertools
import math
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from refusals import assert_refused

from seqmodels.analysis.character_labels import PROSE, SOURCE, Label, chosen, labels, labels_of
from seqmodels.errors import InputError

CODE = """def f(x):
    '''Doc "a"
    two'''
    # it's no string
    if x[0]:
        return [rb'a', f"{x['k']} (b"]  # done

    g(x,
      "")
"""


def drawn(label: Label, text: str) -> str:
    """One sign for each character: the figure, or a dot where nothing is said."""
    return "".join("." if math.isnan(value) else str(int(value)) for value in label(text))


def line(label: Label, number: int) -> str:
    """The signs of one line of `CODE`, its end among them."""
    borders = [0, *itertools.accumulate(map(len, CODE.splitlines(keepends=True)))]
    return drawn(label, CODE)[slice(*borders[number : number + 2])]


def test_a_string_begins_with_its_opening_mark_and_ends_with_its_closing_one() -> None:
    assert line(SOURCE["quotation"], 1) == "000000" + "1" * 9  # the marks are read with the third of them
    assert line(SOURCE["quotation"], 2) == "1" * 9 + "00"
    assert set(line(SOURCE["quotation"], 3)) == {"0"}
    #                                                   return [rb'a', f"{x['k']} (b"]  # done
    assert line(SOURCE["quotation"], 5) == "0" * 18 + "110000" + "1" * 12 + "0" * 11
    assert line(SOURCE["quotation"], 8) == "000000" + "100" + "0"


def test_kinds_of_strings_are_all_strings() -> None:
    parts = [SOURCE["single-quoted"], SOURCE["double-quoted"], SOURCE["triple-quoted"]]
    sums = [sum(values) for values in zip(*(part(CODE) for part in parts), strict=True)]
    assert sums == SOURCE["quotation"](CODE)
    assert line(SOURCE["triple-quoted"], 1) == line(SOURCE["quotation"], 1)
    assert sum(SOURCE["single-quoted"](CODE)) == 2  # the mark and the letter of rb'a', not what is in the f-string


def test_comments_brackets_and_blocks() -> None:
    assert line(SOURCE["comment"], 3) == "0000" + "1" * 16 + "0"
    assert line(SOURCE["comment"], 1) == "0" * 15
    both = [a + b for a, b in zip(SOURCE["comment"](CODE), SOURCE["quotation"](CODE), strict=True)]
    assert SOURCE["comment-or-string"](CODE) == both
    assert line(SOURCE["brackets"], 0) == "0000011000"
    assert line(SOURCE["brackets"], 4) == "00000000110" + "00"  # none of those in the f-string below
    assert line(SOURCE["brackets"], 5)[15:18] == "111"
    assert set(line(SOURCE["brackets"], 5)[16:-10]) == {"1"}
    assert line(SOURCE["indentation"], 0) == "0000000000"
    assert line(SOURCE["indentation"], 3) == "." * 21
    assert line(SOURCE["indentation"], 4) == "...." + "1" * 9
    assert line(SOURCE["indentation"], 5)[:10] == "........22"
    assert line(SOURCE["indentation"], 6) == "."
    assert line(SOURCE["indentation"], 8) == "1" * 10  # the statement goes on


def test_what_is_no_python_any_more_is_not_labelled() -> None:
    text = "x = 1\ny = (2,\n"
    for label in (SOURCE["quotation"], SOURCE["comment"], SOURCE["brackets"]):
        assert drawn(label, text)[:6] == "000000"
    cut = 'a = 1\nb = """never ends\n'
    assert drawn(SOURCE["quotation"], cut)[6:].endswith("." * 10)
    assert drawn(SOURCE["quotation"], "") == ""


def test_labels_end_with_the_python_in_any_text() -> None:
    for text in ("x = '\n", "a\r\nb\r\n", "if x:\n  a\n b\n", "\x0c\nclass A:\n\x0c\n    x = 'é'\n", "$?", "\0"):
        for label in SOURCE.values():
            assert len(label(text)) == len(text), text


def test_blocks_are_those_of_the_parser() -> None:
    """Of each statement of a file whose blocks are four columns wide, where the parser says that it begins."""
    text = Path(tokenize.__file__).read_text(encoding="utf-8")
    starts = [0, *itertools.accumulate(map(len, text.splitlines(keepends=True)))]
    found, depths = SOURCE["indentation"](text), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt) and not text[starts[node.lineno - 1] :][: node.col_offset].strip():
            depth = found[starts[node.lineno - 1] + node.col_offset]
            assert depth == node.col_offset / 4
            depths.add(depth)
    assert depths >= {0, 1, 2, 3}


@given(st.text(alphabet='a "“”«»([)]\n', max_size=60))
def test_prose_has_a_value_for_each_character(text: str) -> None:
    for label in PROSE.values():
        assert len(label(text)) == len(text)
    assert all(depth >= 0 for depth in PROSE["brackets"](text))


def test_prose() -> None:
    assert drawn(PROSE["quotation"], 'a "b" “c” d') == "00110011000"
    assert drawn(PROSE["quotation"], 'a "b\n\nc') == "0011100"[:7]  # forgotten marks end with the paragraph
    assert drawn(PROSE["brackets"], "(a [b]) )c") == "1112210000"
    assert drawn(PROSE["indentation"], "a\n  b c\n \nd") == "00" + "..2222" + ".." + "0"
    assert drawn(PROSE["position"], "ab\nc\n\n") == "120100"
    assert drawn(PROSE["boundary"], "ab c_d!") == "1011001"


def test_source_is_told_from_prose() -> None:
    assert labels_of([CODE]) is SOURCE
    assert labels_of(["It's a truth universally acknowledged, that a man must be in want of a wife."]) is PROSE
    assert labels_of(["It is no Python.\n", CODE * 3]) is SOURCE  # most of it


def test_a_function_of_your_own() -> None:
    texts = ["ab", "c"]
    vowels: dict[str, Any] = {
        "list": lambda text: [letter == "a" for letter in text],
        "array": lambda text: np.array([letter == "a" for letter in text]),
        "tensor": lambda text: torch.tensor([letter == "a" for letter in text]),
    }
    for name, found in labels(texts, vowels).items():
        assert found.binary, name
        assert [values.tolist() for values in found.values] == [[1.0, 0.0], [0.0]]
    others = {"number": lambda text: [1.0] * len(text), "half": lambda text: [True, math.nan][: len(text)]}
    number, half = labels(texts, others).values()
    assert (number.binary, half.binary) == (False, True)
    assert half.values[0][1].isnan()


def test_a_function_of_your_own_that_is_wrong() -> None:
    with pytest.raises(InputError, match="'short' gave 1 values for a text of 2 characters; expected one each"):
        labels(["ab"], {"short": lambda text: [True]})
    assert_refused("'words' gave a str; expected bools, or numbers", labels, ["ab"], {"words": lambda text: list(text)})


def test_an_unknown_label_gets_a_suggestion() -> None:
    assert list(chosen(["position", "comment", "position"], SOURCE)) == ["position", "comment"]
    assert_refused("'quotaton' is not known for this text; did you mean quotation", chosen, ["quotaton"], SOURCE)
    assert_refused("choose one of quotation, brackets", chosen, ["zzz"], PROSE)

"""Tables in Markdown."""

from seqmodels.files import markdown_table


def test_what_is_in_a_cell_stays_in_it() -> None:
    rows = [["token", "share"], ["|", 0.5], ["a\nb", "x|y"]]
    assert markdown_table(rows) == "| token | share |\n| --- | --- |\n| \\| | 0.5 |\n| a b | x\\|y |\n"

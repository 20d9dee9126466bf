"""Commands that must be refused."""

import pytest

from seqmodels.cli.main import main


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command, which must end with exit code 2 and an error of one line; returns that line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error

"""Calls and commands that must be refused."""

from collections.abc import Callable
from typing import Any

import pytest

from seqmodels.cli.main import main
from seqmodels.errors import InputError


def assert_refused(message: str, call: Callable[..., object], *arguments: Any, **settings: Any) -> None:
    """A call that must end with an error of one line, in which a pattern is found."""
    with pytest.raises(InputError, match=f"(?s){message}") as refused:
        call(*arguments, **settings)
    assert "\n" not in str(refused.value)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command, which must end with exit code 2 and an error of one line; returns that line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: "), error
    assert error.count("\n") == 1
    return error

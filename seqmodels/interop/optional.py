"""Optional libraries: imported when they are needed, and a sentence that says how to install them."""

from importlib import import_module
from typing import Any

from seqmodels.errors import InputError
from seqmodels.imports import DISTRIBUTION


def optional(library: str, extra: str, purpose: str) -> Any:
    """A library that comes with an extra of this package.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(library)
    except ImportError as error:
        missing = (error.name or library).partition(".")[0]
        raise InputError(
            f"{purpose} needs {missing}, which is not installed; do: pip install '{DISTRIBUTION}[{extra}]'"
        ) from error

"""The program `seqmodels`, behind a name that no other package has: `seqmodels` on PyPI is another author's."""

import sys
from importlib.metadata import PackageNotFoundError, distribution


def main() -> None:
    """Run the program, or say that the other package stands in its place."""
    try:
        from seqmodels.cli.main import main as program
    except ImportError:
        if (place := other()) is None:
            raise
        print(
            f"error: the package seqmodels in {place!r} is another author's, for genomics, and hides "
            "seqmodels-lightning, which has this program; run `pip uninstall seqmodels`, then install this one again "
            "with --force-reinstall",
            file=sys.stderr,
        )
        sys.exit(2)
    program()


def other() -> str | None:
    """Where the other package is installed; None if it is not."""
    try:
        found = distribution("seqmodels")
    except PackageNotFoundError:
        return None
    files = found.files or []
    return next((str(found.locate_file("")) for file in files if file.as_posix() == "seqmodels/__init__.py"), None)

"""How the documentation is built: `python -m sphinx -W --keep-going -b html docs docs/_build/html`."""

import builtins
import re
import shutil
from pathlib import Path
from typing import Any

from sphinx.addnodes import pending_xref

import seqmodels

project = "seqmodels"
author = "The seqmodels developers"
copyright = author
release = version = seqmodels.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "templates"]
templates_path = ["templates"]
shutil.rmtree(Path(__file__).parent / "reference", ignore_errors=True)  # autosummary writes it anew, of present modules
default_role = "literal"  # docstrings put code between single backticks, as Markdown does

myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_display_short_literal_types = True
python_maximum_signature_line_length = 88

STATE = re.compile(r"(?:~?torch\.)?Tensor \| tuple\[(?:~?torch\.)?Tensor \| tuple\[State, \.\.\.\], \.\.\.\]")


def name_states(*event: Any) -> tuple[str | None, str | None]:
    """Write State where autodoc spells the alias out."""
    *_, signature, returned = event
    return tuple(text and STATE.sub("State", text) for text in (signature, returned))


def leave_builtins(app: Any, doctree: Any) -> None:
    """Built-in types are no links: some attributes, such as `bytes` of a score, have the same name."""
    for node in list(doctree.findall(pending_xref)):
        if node.get("refdomain") == "py" and node.get("reftarget") in dir(builtins):
            node.replace_self(node.children)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("doctree-read", leave_builtins)
    app.connect("autodoc-process-signature", name_states)


html_theme = "furo"
html_title = f"seqmodels {release}"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#8f3319", "color-brand-content": "#8f3319"},
    "dark_css_variables": {"color-brand-primary": "#e39a80", "color-brand-content": "#e39a80"},
}

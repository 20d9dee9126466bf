"""How the documentation is built: `python -m sphinx -W --keep-going -b html docs docs/_build/html`."""

from importlib.metadata import version as version_of

project = "seqmodels"
author = "The seqmodels developers"
copyright = author  # noqa: A001 - the name that Sphinx asks for
release = version = version_of("seqmodels")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "literal"  # docstrings put code between single backticks, as Markdown does

myst_heading_anchors = 3

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

html_theme = "furo"
html_title = f"seqmodels {release}"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#8f3319", "color-brand-content": "#8f3319"},
    "dark_css_variables": {"color-brand-primary": "#e39a80", "color-brand-content": "#e39a80"},
}

"""How the documentation is built: `make docs`."""

from evovae import __version__

project = "evovae"
author = "The evovae developers"
copyright = "The evovae developers, BSD-3-Clause"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery/*"]
nitpicky = False  # types of other libraries have no pages that could be reached offline
default_role = "py:obj"

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say types in words, with shapes and units
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "tutorials",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "ignore_repr_types": r"matplotlib",
}

html_theme = "pydata_sphinx_theme"
html_title = "evovae"
html_static_path = ["_static"]
html_css_files = ["evovae.css"]
html_show_sourcelink = False
html_sidebars = {page: [] for page in ("index", "start", "performance", "comparison")}
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}

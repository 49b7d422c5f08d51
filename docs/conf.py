"""Sphinx configuration of the documentation: ``make docs`` builds it into ``build/docs``.

Nothing is fetched at build time. The build fails if a page would load a file from another host
(`check_offline`), or if the reference lacks a public class or function (`check_reference`).
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import tomochrome

project = "Tomochrome"
author = "The Tomochrome authors"
copyright = "The Tomochrome authors, BSD-3-Clause"
version = release = tomochrome.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
root_doc = "index"
exclude_patterns = ["pictures"]

# Markdown. Headings get the anchors that GitHub gives them, so that links work in both places.
myst_heading_anchors = 4

# The reference. Docstrings name Python objects in single backquotes and have no types of
# parameters, which are in the signatures.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
numpydoc_show_class_members = False
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_title = f"Tomochrome {release}"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "navbar_persistent": [],
    "navbar_end": ["search-button", "theme-switcher"],
    "show_nav_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {"index": []}

#: Elements that load what they name when a page is opened; a link to another site does not.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*?\bsrc\s*=\s*["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b(?![^>]*\brel\s*=\s*["']?(?:canonical|next|prev|search|index|author))"""
    r"""[^>]*?\bhref\s*=\s*["']?(?:https?:)?//[^"'\s>]+"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//[^"'\s)]+"""
    r"""|\burl\(["']?(?:https?:)?//[^"'\s)]+""",
    re.IGNORECASE,
)


def public_packages() -> list[ModuleType]:
    """Return the packages that the reference describes, with their lazy names imported."""
    names = [module.name for module in pkgutil.iter_modules(tomochrome.__path__, "tomochrome.")]
    interfaces = {"tomochrome.cli", "tomochrome._napari"}  # no Python API
    packages = [import_module(name) for name in names if name not in interfaces]
    packages += [tomochrome, import_module("ctphantom")]
    for package in packages:
        for name in getattr(package, "__all__", ()):
            setattr(package, name, getattr(package, name))  # autodoc sees no lazy names
    return packages


def check_offline(app: Sphinx, failure: Exception | None) -> None:
    """Fail if a page or a style sheet loads a file from another host.

    Raises
    ------
    ExtensionError
        With the file and what it loads.
    """
    if failure is not None or app.builder.format != "html":
        return
    for path in sorted(Path(app.outdir).rglob("*")):
        if path.suffix in {".html", ".css"}:
            loaded = _LOADED.search(path.read_text(encoding="utf-8", errors="replace"))
            if loaded is not None:
                raise ExtensionError(f"{path} loads a file from another host: {loaded[0]}")


def check_reference(app: Sphinx, failure: Exception | None) -> None:
    """Fail if the reference lacks a public class or function.

    Raises
    ------
    ExtensionError
        With the names that are missing.
    """
    if failure is not None:
        return
    documented = {name for name, *_ in app.env.domains["py"].get_objects()}
    described = {name.rsplit(".", 1)[-1] for name in documented}
    missing = [
        f"{package.__name__}.{name}"
        for package in public_packages()
        for name in getattr(package, "__all__", ())
        if name not in described
        and (inspect.isclass(getattr(package, name)) or inspect.isfunction(getattr(package, name)))
    ]
    if missing:
        raise ExtensionError(f"docs/api does not describe {', '.join(missing)}")


def setup(app: Sphinx) -> None:
    """Import what autodoc describes, and register the checks."""
    public_packages()
    app.connect("build-finished", check_offline)
    app.connect("build-finished", check_reference)

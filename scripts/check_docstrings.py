"""Check the docstrings of the public names with numpydoc; part of ``make lint`` and pre-commit.

Public are the names in ``__all__`` of `tomochrome`, of its packages and of `ctphantom`, and the
public methods of the classes among them. The codes to check and the names to exclude are in
``pyproject.toml``, ``[tool.numpydoc_validation]``. Two rules are not numpydoc's:

- The summary of a function of at most one parameter may say what goes in and what comes out; so
  may that of a class.
- The fields of a class may be described as Attributes, and what an inherited ``__init__`` takes
  where it is defined.
- A function that raises an exception has a section Raises.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numpydoc.validate import validate

import tomochrome

ROOT = Path(__file__).resolve().parents[1]
#: Codes of sections that a short docstring does not have.
SECTIONS = {"PR01", "RT01", "YD01"}


def public_names(excluded: re.Pattern[str]) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name of each public class, function and method, and the object."""
    packages = [found.name for found in pkgutil.iter_modules(tomochrome.__path__, "tomochrome.")]
    seen = set()
    for package in ("tomochrome", *packages, "ctphantom"):
        if excluded.search(package):
            continue
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if not (inspect.isclass(value) or inspect.isfunction(value)) or value in seen:
                continue
            seen.add(value)
            yield f"{package}.{name}", value
            for method, function in vars(value).items() if inspect.isclass(value) else ():
                if not method.startswith("_") and inspect.isfunction(function):
                    yield f"{package}.{name}.{method}", function


def unneeded(value: Any, text: str) -> set[str]:
    """Return the codes of the sections that a class or function can do without."""
    if inspect.isclass(value):
        inherits = "__init__" not in vars(value)
        return SECTIONS if "\n" not in text or inherits or "\nAttributes\n" in text else set()
    parameters = [name for name in inspect.signature(value).parameters if name != "self"]
    return SECTIONS if len(parameters) <= 1 else set()


def raises(function: Callable[..., Any]) -> bool:
    """Return whether a function itself raises an exception, other than to pass one on."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))


def problems(name: str, value: Any, checks: set[str]) -> Iterator[str]:
    """Yield what is wrong with the docstring of a public name."""
    text = inspect.getdoc(value) or ""
    for code, message in validate(name)["errors"]:
        if code in checks - unneeded(value, text):
            yield f"{code} {message}"
    if inspect.isfunction(value) and raises(value) and "\nRaises\n" not in text:
        yield "the function raises an exception, and no section Raises describes it"


def main() -> int:
    """Print the problems, one a line, and return the exit status."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    settings = settings["tool"]["numpydoc_validation"]
    excluded = re.compile("|".join(settings["exclude"]))
    found = [
        f"{name}: {problem}"
        for name, value in public_names(excluded)
        if not excluded.search(name)
        for problem in problems(name, value, set(settings["checks"]))
    ]
    print("\n".join(found) or "The docstrings of all public names are complete.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

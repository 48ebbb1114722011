"""What every page has in common: its templates, in which each value is escaped, and its Content-Security-Policy."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline_lib.report import tables, words

HERE = Path(__file__).parent


def environment() -> Environment:
    """Return Jinja's environment of the templates, with the filters that they use."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": tables.number, "capital": words.capital, "score": words.score, "named": words.named}
    return found


def own(name: str) -> Markup:
    """Return a file of this package as it is: it is part of the page and must not be escaped."""
    return Markup((HERE / name).read_text(encoding="utf-8"))  # noqa: S704 - a file of ours, not an input


def policy(scripts: Sequence[str]) -> str:
    """Return a Content-Security-Policy that lets only ``scripts`` run, by their hashes."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )

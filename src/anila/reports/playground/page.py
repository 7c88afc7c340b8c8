"""The page: modules of JavaScript, a style and a subject become one file of HTML that loads nothing.

The modules import each other by name. Here they are put one behind the other, each behind those that it imports. Each
becomes a function that is called once: what a module exports is what it returns, and an import takes from that. What
a net's chains walk by is put into the page as text, from which the page makes a thread of its own (a web worker).
"""

import base64
import html
import json
import re
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple

WEB = files("anila.reports.playground") / "web"
IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";', re.MULTILINE)
EXPORT = re.compile(r"^export ((?:async )?\w+\*? (\w+))", re.MULTILINE)


class Page(NamedTuple):
    """A file of HTML, and the Content-Security-Policy under which it runs."""

    text: str
    policy: str


def page(subject: dict[str, Any]) -> Page:
    """The whole page for a subject, which `subject_of` makes."""
    of_images = "side" in subject
    script, style = bundle("image_main" if of_images else "main"), read("page.css")
    worker = bundle("image_worker") if "net" in subject else ""
    rules = policy(script, style) + ("; worker-src blob:" if worker else "")
    name = subject.get("title")
    text = fill(
        read("image_page.html" if of_images else "page.html"),
        csp=html.escape(rules),
        heading=html.escape(str(name)),
        title=html.escape(f"{name} – Anila playground" if name else "Anila playground"),
        style=style,
        subject=json.dumps(subject).replace("<", "\\u003c"),
        worker=worker,
        script=script,
    )
    return Page(text, rules)


def policy(script: str, style: str) -> str:
    """The Content-Security-Policy: this script and this style, and nothing else from anywhere."""
    ours = f"script-src {digest(script)}; style-src {digest(style)}"
    return f"default-src 'none'; {ours}; base-uri 'none'; form-action 'none'"


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


def bundle(*entries: str) -> str:
    """The modules of these names with all that they import, as one script.

    >>> print(bundle("scales").splitlines()[1])
    modules.kernel = (() => {
    """
    names: dict[str, None] = {}
    for entry in entries:
        in_order(entry, names)
    return "const modules = {};\n" + "".join(map(as_function, names))


def as_function(name: str) -> str:
    """A module as a function that is called once and returns its exports."""
    text = read(f"{name}.js")
    exports = ", ".join(found[2] for found in EXPORT.finditer(text))
    body = EXPORT.sub(r"\1", IMPORT.sub(r"const \1 = modules.\2;", text))
    return f"modules.{name} = (() => {{\n{body}return {{ {exports} }};\n}})();\n"


def in_order(name: str, seen: dict[str, None]) -> None:
    """Add a module to those seen, behind those that it imports."""
    for _, needed in IMPORT.findall(read(f"{name}.js")):
        if needed not in seen:
            in_order(needed, seen)
    seen[name] = None


def read(name: str) -> str:
    return (WEB / name).read_text("utf-8")


def fill(template: str, **parts: str) -> str:
    """Put the parts where the template names them, all at once: none is looked into."""
    named = re.compile("{(" + "|".join(parts) + ")}")
    return named.sub(lambda found: parts[found[1]], template)

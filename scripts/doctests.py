"""Doctests in the reference: griffe's extension that fences them, because a bare `>>>` is read as a quotation."""

import re
from typing import Any

from griffe import Extension

DOCTEST = re.compile(r"^([ ]*)>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)


class Doctests(Extension):
    """Each block of `>>>` lines with what they print becomes a block of code."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = DOCTEST.sub(r"\1```pycon\n\g<0>\n\1```", obj.docstring.value)

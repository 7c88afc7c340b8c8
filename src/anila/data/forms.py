"""Numbers as people write them: $1,234.50, 1.234,50 €, CHF 12.00, (3.50), +2 %, 20.5 °C, 007.

A column of text is read as numbers if every cell is one, all with the same currency before, the same unit after, the
same decimal mark and the same mark between groups of three digits. 1,234 alone may be either of two numbers: then other
columns decide, and if they do not, the column stays text.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

CELL = re.compile(r"(?P<lead>[^\d#]*)(?P<digits>\d([\d.,'’ \u00a0\u202f]*\d)?)(?P<trail>[^\d#]*)")
SIGN = re.compile(r"[+−-]|^\(|\)$")
CODES = "AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HKD|INR|JPY|KRW|MXN|NOK|NZD|PLN|SEK|USD|ZAR|kr|Rs"
BEFORE = rf"([A-Z]{{0,2}}[$€£¥₹₽₩₺₴₪₫฿₦]|{CODES})\s?"
AFTER = r"\s?[^\s\d.,;:()+−_\"'-]{1,6}"
BARE = re.compile(rf"({BEFORE})?#|#({AFTER})")
GROUPS = "'’ \u00a0\u202f"
"""Marks between groups of digits, besides the point and the comma."""


class Form(NamedTuple):
    """How a column writes its numbers.

    Args:
        positive, negative: What is around the digits of each, `#`: "$#" and "-$#".
        decimal: The decimal mark.
        group: Mark between groups of three digits, or "".
        decimals: The least number of decimals.
        digits: The least number of digits before the decimal mark.
    """

    positive: str = "#"
    negative: str = "-#"
    decimal: str = "."
    group: str = ""
    decimals: int = 0
    digits: int = 0


def form_of(texts: Sequence[str], usual: str = "") -> Form | None:
    """The form of these numbers; None if they have no common one, or it is unclear which.

    Args:
        texts: Cells that are not missing.
        usual: The decimal mark of other columns, if they show it.

    >>> form_of(["$1,234.50", "-$3.20"])
    Form(positive='$#', negative='-$#', decimal='.', group=',', decimals=2, digits=0)
    >>> form_of(["1.234,5 €", "7 €"]).decimal, form_of(["1,234", "7"]), form_of(["1,234", "7"], ".").group
    (',', None, ',')
    >>> form_of(["ORD-1", "ORD-2"]), form_of(["3 kg", "5 g"]), form_of(["1,2", "2,3"], ".")
    (None, None, None)
    """
    cells = [CELL.fullmatch(text.strip()) for text in texts]
    if not cells or None in cells:
        return None
    parts = [(f"{cell['lead']}#{cell['trail']}", cell["digits"]) for cell in cells if cell]
    around, digits = {around for around, _ in parts}, [number for _, number in parts]
    bare = {SIGN.sub("", one) for one in around}
    negative = {one for one in around if is_negative(one)}
    if len(bare) > 1 or len(negative) > 1 or len(around - negative) > 1 or not BARE.fullmatch(min(bare)):
        return None
    fits = [found for decimal in ".," if (found := marks_of(digits, decimal))]
    if len(fits) > 1:
        fits = fits[:1] if fits[0].group == fits[1].group else [form for form in fits if form.decimal == usual]
    if not fits or (min(bare) == "#" and not fits[0].group and usual not in ("", fits[0].decimal)):
        return None
    positive = min(around - negative, default=min(bare))
    return fits[0]._replace(positive=positive, negative=min(negative, default=f"-{min(bare)}"))


def is_negative(around: str) -> bool:
    return any(mark in around for mark in "-−(")


def marks_of(digits: Iterable[str], decimal: str) -> Form | None:
    """The form of unsigned digits with this decimal mark; None if some are not written so."""
    other = "," if decimal == "." else "."
    pattern = re.compile(rf"([1-9]\d{{0,2}}(([{other}{GROUPS}])\d{{3}})(\3\d{{3}})*|\d+)({re.escape(decimal)}\d+)?")
    found = [pattern.fullmatch(number) for number in digits]
    groups = {match[3] for match in found if match and match[3]}
    if None in found or len(groups) > 1:
        return None
    decimals = {len(match[5] or " ") - 1 for match in found if match}
    return Form(decimal=decimal, group=min(groups, default=""), decimals=min(decimals) * (len(decimals) == 1))


def value(text: str, form: Form) -> int | float:
    """The number that a text means in a form; whole if it has no decimals.

    >>> value("-$1,234.50", form_of(["-$1,234.50"])), value("(7)", form_of(["(7)", "8"]))
    (-1234.5, -7)
    """
    cell = CELL.fullmatch(text.strip())
    assert cell
    digits = cell["digits"].replace(form.group, "") if form.group else cell["digits"]
    sign = -1 if is_negative(cell["lead"]) else 1
    return sign * (float(digits.replace(form.decimal, ".")) if form.decimal in digits else int(digits))


def texts_of(numbers: pa.ChunkedArray, form: Form) -> pa.ChunkedArray:
    """Numbers as texts in a form; those with an exponent as they are.

    >>> texts_of(pa.chunked_array([[-1234.5, None, 1e300]]), form_of(["($1,234.50)", "$7.00"])).to_pylist()
    ['($1,234.50)', None, '1e+300']
    >>> texts_of(pa.chunked_array([[7, -12]]), Form(decimal=",", decimals=2, digits=3)).to_pylist()
    ['007,00', '-012,00']
    """
    plain = numbers.cast(pa.string())
    parts = pc.call_function("extract_regex", [plain], pc.ExtractRegexOptions(PARTS))
    sign, whole, part = (pc.call_function("struct_field", [parts], pc.StructFieldOptions([i])) for i in range(3))
    if form.group:
        grouped = [digits and f"{int(digits):,}".replace(",", form.group) for digits in whole.to_pylist()]
        whole = pa.chunked_array([grouped], pa.string())
    whole = pc.call_function("utf8_lpad", [whole], pc.PadOptions(form.digits, "0"))
    part = pc.call_function("utf8_rpad", [part], pc.PadOptions(form.decimals, "0"))
    digits = either(equal(part, ""), whole, joined(whole, form.decimal, part))
    around = [joined(before, digits, after) for before, after in map(halves, (form.negative, form.positive))]
    return pc.call_function("coalesce", [either(equal(sign, "-"), *around), plain])


def with_unit(number: str, form: Form) -> str:
    """A plain number with what its column writes around it.

    >>> with_unit("12.95", form_of(["$3"])), with_unit("-2", form_of(["15 %"])), with_unit("7", Form())
    ('$12.95', '-2 %', '7')
    """
    return (form.negative if number.startswith("-") else form.positive).replace("#", number.removeprefix("-"))


PARTS = r"^(?P<sign>-?)(?P<whole>\d+)\.?(?P<part>\d*)$"


def halves(around: str) -> list[str]:
    return around.split("#")


def equal(cells: pa.ChunkedArray, text: str) -> pa.ChunkedArray:
    return pc.call_function("equal", [cells, pa.scalar(text)])


def either(where: pa.ChunkedArray, yes: pa.ChunkedArray, no: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.call_function("if_else", [where, yes, no])


def joined(*parts: pa.ChunkedArray | str) -> pa.ChunkedArray:
    cells = [pa.scalar(part) if isinstance(part, str) else part for part in (*parts, "")]
    return pc.call_function("binary_join_element_wise", cells)


def plain_form(texts: Sequence[str], decimal: str) -> Form | None:
    """The form of cells without a sign or a unit; None if it is the usual one.

    >>> plain_form(["1.50", "-2.25"], "."), plain_form(["007", "012"], ".").digits, plain_form(["1.5", "2"], ".")
    (Form(positive='#', negative='-#', decimal='.', group='', decimals=2, digits=0), 3, None)
    """
    digits = [text.strip().lstrip("+-") for text in texts]
    form, lengths = marks_of(digits, decimal), {len(number.partition(decimal)[0]) for number in digits}
    if form and len(lengths) == 1 and any(re.match(r"0\d", number) for number in digits):
        form = form._replace(digits=min(lengths))
    return form if form and (form.decimals or form.digits) else None


def with_numbers(table: pa.Table, nulls: Sequence[str], usual: str) -> tuple[pa.Table, dict[str, Form], dict[str, str]]:
    """The table with such columns as numbers, their forms by name, and a cell of each, a longest one.

    Args:
        table: What was read.
        nulls: Texts that stand for a missing cell, besides an empty one.
        usual: As of `form_of`.
    """
    forms, shown, missing = dict[str, Form](), dict[str, str](), {"", *nulls}
    for place, (name, cells) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if not pa.types.is_string(cells.type):
            continue
        different = cells.combine_chunks().dictionary_encode()
        texts = different.dictionary.to_pylist()
        there = [text for text in texts if text not in missing]
        if form := form_of(there, usual):
            numbers = numbers_of([None if text in missing else text for text in texts], form)
            table, forms[name] = table.set_column(place, name, numbers.take(different.indices)), form
            shown[name] = max(there, key=len)
    return table, forms, shown


def numbers_of(texts: Sequence[str | None], form: Form) -> pa.Array:
    """Texts in a form as numbers, whole ones if all are."""
    values = [None if text is None else value(text, form) for text in texts]
    if all(number is None or (isinstance(number, int) and abs(number) < 2**63) for number in values):
        return pa.array(values, pa.int64())
    return pa.array([None if number is None else float(number) for number in values], pa.float64())


def read_as(cells: pa.ChunkedArray, form: Form) -> pa.ChunkedArray:
    """Texts as numbers if all are written in this form; else as they are.

    >>> read_as(pa.chunked_array([["1.234 €", None]]), form_of(["1.234,50 €"])).to_pylist()
    [1234, None]
    """
    texts = cells.to_pylist()
    if all(text is None or is_written(text, form) for text in texts):
        return pa.chunked_array([numbers_of(texts, form)])
    return cells


def is_written(text: str, form: Form) -> bool:
    """Whether a text is a number in a form."""
    cell = CELL.fullmatch(text.strip())
    found = marks_of([cell["digits"]], form.decimal) if cell else None
    around = f"{cell['lead']}#{cell['trail']}" if cell else ""
    return found is not None and found.group in ("", form.group) and around in (form.positive, form.negative)

"""Tables as text: .csv and .tsv, also gzipped, with or without a line of names.

The separator of cells (comma, semicolon, tab or bar), a decimal comma, and whether the first line holds names are
inferred from the first lines. A first line with text above numbers holds names; one of numbers only is a row, unless it
counts (0, 1, 2 or years) and no line below does. A second line of names, or of units, is refused: it would turn all
numbers below it into text. Text is UTF-8, or UTF-16 if it is marked so; anything else is read as Windows-1252 (Latin-1
with a few more signs), with a warning.
"""

import codecs
import csv
import gzip
import io
import re
import shlex
import warnings
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv

from anila.data.dates import with_dates
from anila.data.foreign import Refused, printable, reading
from anila.data.forms import Form, plain_form, with_numbers
from anila.data.style import Style, styled
from anila.messages import counted

SEPARATORS = (",", ";", "\t", "|")
LINES = 50
MOST = 2**31 - 2**16
"""Most bytes of text: the reader takes no larger block, and only within a block does a column have one type."""
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
DECIMAL_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")
DATE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}([T ].*)?")
YEARS = range(1900, 2101)
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
"""A comma that may be a decimal comma or group digits."""
SEPARATOR_LINE = re.compile(r"sep=.\r?\n")
"""A line that Excel puts above the names."""
MARKED = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16",
          codecs.BOM_UTF16_BE: "UTF-16"}  # fmt: skip
"""Encodings with a byte order mark; the longer mark goes first."""
OTHERS = {b"PAR1": "a Parquet file: name it .parquet",
          b"PK\x03\x04": "a zip or Excel file: unpack it, or name it .xlsx",
          b"\x1f\x8b": "packed by gzip: name it .csv.gz", b"BZh": "packed by bzip2: unpack it",
          b"\xfd7zXZ": "packed by xz: unpack it", b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it"}  # fmt: skip
"""First bytes of files that are not text, and what these files are."""
MARKS = ("?", "-", "--", ".", "#DIV/0!", "#NAME?", "#NUM!", "#REF!", "#VALUE!")
"""Missing cells among numbers, besides those that Arrow knows: empty, NA, NaN, null, #N/A and the like."""

Cells = list[list[str]]
"""Cells of the first lines, which all have the same length."""


class Layout(NamedTuple):
    """How a file writes its table."""

    separator: str
    decimal: str
    named: bool
    """Whether the first line holds names."""

    def __str__(self) -> str:
        """Whatever is unusual about the file, for people."""
        separator = f" (separator {self.separator!r}{', decimal comma' * (self.decimal == ',')})"
        return separator * (self.separator != ",") + " (no names in the first line)" * (not self.named)


def read_csv(path: Path, marks: Sequence[str] = ()) -> tuple[pa.Table, str]:
    """All columns, called 0, 1, ... if they have no names; and whatever was unusual, for people.

    Args:
        path: The file.
        marks: Texts that stand for a missing cell among numbers, besides the usual ones.

    Raises:
        ValueError: If it is not text, or not a table.
    """
    text, encoding = text_of(path)
    return parsed(text, path, marks, f" ({encoding})" if encoding else "", encoding)


def parsed(text: str, path: Path, marks: Sequence[str] = (), how: str = "", encoding: str = "") -> tuple[pa.Table, str]:
    """The table of a text.

    Args:
        text: Lines of cells.
        path: For messages.
        marks: As in `read_csv`.
        how: Whatever was unusual about the text, for people.
        encoding: Encoding of the file, if it is not UTF-8.

    Raises:
        ValueError: If it is not a table.
    """
    text = SEPARATOR_LINE.sub("", text, count=1) if text.startswith("sep=") else text
    layout, raw = layout_of(text, path), text.encode()
    nulls = [*pyarrow.csv.ConvertOptions().null_values, *MARKS, *marks]
    require_one_line_of_names(text, layout, path, nulls)
    with reading(f"{path} cannot be read as {path.suffix.lower()}: "):
        try:
            found = pyarrow.csv.read_csv(
                pa.BufferReader(raw),
                read_options=pyarrow.csv.ReadOptions(
                    use_threads=False,  # its pool may abort the process at exit (apache/arrow#34314)
                    autogenerate_column_names=not layout.named,
                    block_size=len(raw) + 1,
                ),
                parse_options=pyarrow.csv.ParseOptions(delimiter=layout.separator),
                convert_options=pyarrow.csv.ConvertOptions(decimal_point=layout.decimal, null_values=nulls),
            )
        except pa.ArrowInvalid:
            require_even(text, layout.separator, path)
            raise
    named = found if layout.named else found.rename_columns([str(i) for i in range(found.num_columns)])
    named, dates = with_dates(named, nulls)
    shows = layout.separator == "," or layout.decimal == "," or any(map(pa.types.is_floating, named.schema.types))
    plain = plain_forms(text, layout, named, nulls)
    named, forms, shown = with_numbers(named, nulls, layout.decimal if shows else "")
    told = "".join(f" ({name} as {form})" for name, form in dates.items())
    told += f" (numbers: {', '.join(f'{cell} in {name}' for name, cell in shown.items())})" if shown else ""
    written = {form.decimal for form in forms.values() if form.group or form.decimals}
    decimal = min(written) if len(written) == 1 and not shows else layout.decimal
    style = Style(layout.separator, decimal, encoding, dates, plain | forms)
    return styled(named, style), f"{layout}{told}{how}"


def plain_forms(text: str, layout: Layout, named: pa.Table, nulls: Sequence[str]) -> dict[str, Form]:
    """The forms of columns of plain numbers, as the first lines show them."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=layout.separator)
    cells = [line for line in islice(lines, LINES) if line][layout.named :]
    found = {}
    for name, kind, column in zip(named.column_names, named.schema.types, zip(*cells, strict=False), strict=False):
        there = [cell for cell in column if cell and cell not in nulls]
        if (pa.types.is_floating(kind) or pa.types.is_integer(kind)) and (form := plain_form(there, layout.decimal)):
            found[name] = form
    return found


def text_of(path: Path) -> tuple[str, str]:
    """A file's text, and its encoding if that is not UTF-8."""
    with reading(f"{path} cannot be read: "), (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
        raw = file.read(MOST + 1)
    if len(raw) > MOST:
        raise Refused(f"{path} holds more than {MOST:,} bytes of text; save it as .parquet")
    if what := next((what for start, what in OTHERS.items() if raw.startswith(start)), None):
        raise Refused(f"{path} is not text but {what}")
    if encoding := next((name for mark, name in MARKED.items() if raw.startswith(mark)), None):
        with reading(f"{path} cannot be read as {encoding} text: "):
            return raw.decode(encoding), encoding
    if b"\0" in raw:
        raise Refused(
            f"{path} is not text, or is UTF-16 without a byte-order mark; convert it: "
            f"iconv -f UTF-16LE -t UTF-8 {shlex.quote(str(path))} > utf8.csv"
        )
    try:
        return raw.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        return windows_text(path, raw, raw[: error.start].count(b"\n") + 1)


def windows_text(path: Path, raw: bytes, line: int) -> tuple[str, str]:
    """Text that is not UTF-8 from this line on, read as Windows-1252."""
    convert = f"convert it: iconv -f ENCODING -t UTF-8 {shlex.quote(str(path))} > utf8.csv"
    try:
        text = raw.decode("windows-1252")
    except UnicodeDecodeError:
        raise Refused(f"{path} is not UTF-8 text (line {line}); {convert}") from None
    warnings.warn(
        printable(
            f"{path.name}: line {line} is not UTF-8, read as Windows-1252; if names or texts look wrong, {convert}"
        ),
        stacklevel=2,
    )
    return text, "Windows-1252"


def layout_of(text: str, path: Path) -> Layout:
    """The layout, inferred from the first lines."""
    first = "".join(islice(io.StringIO(text, newline=""), LINES))
    tables = {separator: cells for separator in SEPARATORS if (cells := cells_of(first, separator))}
    if not tables:  # one column, or lines of different lengths, which are refused
        separator = "\t" if ".tsv" in path.name.lower() else max(SEPARATORS, key=first.count)
        return Layout(separator, ".", first_of(path, [[line] for line in first.splitlines() if line], "."))
    separator = max(tables, key=lambda s: share_of_numbers(tables[s], decimal_of(tables[s], s)))
    decimal = decimal_of(tables[separator], separator)
    if decimal == ",":
        warn_of_groups(tables[separator], path)
    return Layout(separator, decimal, first_of(path, tables[separator], decimal))


def require_even(text: str, separator: str, path: Path) -> None:
    """Refuse lines of different lengths.

    Raises:
        Refused: Naming the first one.
    """
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    with reading(f"{path} cannot be read: "):
        first = next((cells for cells in lines if cells), [])
        odd = next((cells for cells in lines if cells and len(cells) != len(first)), None)
    if odd is not None:
        raise Refused(
            f"{path}: line {lines.line_num} has {counted(len(odd), 'cell')} ({printable(separator.join(odd))[:40]}), "
            f"expected {len(first)} as in the first; correct it, or remove lines above the names and below the table"
        )


def require_one_line_of_names(text: str, layout: Layout, path: Path, nulls: Sequence[str]) -> None:
    """Refuse a table whose first row has text in several columns of numbers or dates, and no number or date itself.

    Raises:
        Refused: Showing that row.
    """
    names, *lines = cells_of("".join(islice(io.StringIO(text, newline=""), LINES)), layout.separator) or [[]]
    if not layout.named or len(lines) < 3 or len(set(names)) < len(names):  # bad names are refused elsewhere
        return
    measured = []
    for cell, *below in zip(*lines, strict=True):
        seen = [other for other in below if other not in nulls]
        if seen and all(is_measured(other, layout.decimal) for other in seen) and cell not in nulls:
            measured.append(is_measured(cell, layout.decimal))
    if len(measured) > 1 and not any(measured):
        shown = printable(layout.separator.join(lines[0]))[:60]
        raise Refused(
            f"{path}: the row below the names ({shown}) has text where numbers or dates follow, like a second line of "
            "names or units: remove that line"
        )


def is_measured(cell: str, decimal: str) -> bool:
    """Whether a cell is a number or a date."""
    return number(cell, decimal) is not None or DATE.fullmatch(cell) is not None


def warn_of_groups(cells: Cells, path: Path) -> None:
    """Warn of decimal commas that may as well group digits."""
    commas = [cell.strip() for line in cells[1:] for cell in line if "," in cell]
    if len(commas) > 1 and all(map(GROUPED.fullmatch, commas)):
        read = commas[0].replace(",", ".")
        warnings.warn(
            f"{printable(path.name)}: {commas[0]} is read as {read}; if its comma groups digits, remove such commas",
            stacklevel=2,
        )


def cells_of(text: str, separator: str) -> Cells:
    """The cells, if all lines have the same number of them, and more than one."""
    with reading():
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if line]
    return lines if len({len(line) for line in lines}) == 1 and len(lines[0]) > 1 else []


def decimal_of(cells: Cells, separator: str) -> str:
    """The decimal mark: a comma if no cell has a point, some have a comma, and commas do not separate cells."""
    below = [cell.strip() for line in cells[1:] or cells for cell in line]
    comma = separator != "," and any(map(DECIMAL_COMMA.fullmatch, below))
    return "," if comma and not any(map(DECIMAL_POINT.fullmatch, below)) else "."


def share_of_numbers(cells: Cells, decimal: str) -> float:
    below = [cell for line in cells[1:] or cells for cell in line]
    return sum(number(cell, decimal) is not None for cell in below) / len(below)


def number(cell: str, decimal: str = ".") -> float | None:
    try:
        return float(cell.replace(decimal, "."))
    except ValueError:
        return None


def first_of(path: Path, cells: Cells, decimal: str) -> bool:
    """Whether the first line holds names; warns if a line of numbers may be one."""
    if not cells:
        return True
    first = [number(cell, decimal) for cell in cells[0]]
    below = [[number(cell, decimal) for cell in column if cell.strip()] for column in zip(*cells[1:], strict=False)]
    text_over_numbers = [
        value is None and bool(cell.strip()) and bool(column) and None not in column
        for value, cell, column in zip(first, cells[0], below, strict=False)
    ]
    if all(value is None for value in first) or any(text_over_numbers) or counts_rows(cells[0][0], below):
        return True
    if None in first:
        return False
    return names_like_numbers(path, cells, decimal)


def counts_rows(name: str, below: Sequence[Sequence[float | None]]) -> bool:
    """Whether the first column is pandas' index: an empty name above increasing whole numbers."""
    values = [value for value in below[0] if value is not None] if below else []
    whole = len(values) == len(below[0]) > 1 if below else False
    return not name.strip() and whole and all(b > a and b % 1 == 0 for a, b in pairwise(values))


def names_like_numbers(path: Path, cells: Cells, decimal: str) -> bool:
    """Whether a first line of numbers holds names after all."""
    lines = [[number(cell, decimal) for cell in line] for line in cells]
    whole = [np.array(line, dtype=float) for line in lines if None not in line]
    first, below = whole[0], whole[1:]
    integers = all(cell.strip().isdigit() for cell in cells[0]) and len(set(first)) == len(first)
    if not below or not (integers or len(first) > 3) or any(map(counts, below)):
        return False
    with np.errstate(invalid="ignore"):  # infinity has no fraction
        fractions = bool((np.stack(below) % 1 != 0).any(0).all())
    if counts(first) and (fractions or is_years(first)):
        return True
    if integers and (fractions or first.tolist() == list(range(len(first)))):
        line = printable(", ".join(cells[0][:5]))
        warnings.warn(
            f"{printable(path.name)}: the first line ({line}) is read as a row of numbers; if it holds names, "
            "put a letter before each",
            stacklevel=2,
        )
    return False


def counts(line: np.ndarray) -> bool:
    """Whether numbers are at least three and evenly spaced, increasing years, or 0, 1 or 1, 2."""
    steps = np.diff(line)
    even = len(steps) > 1 and steps[0] != 0 and bool(np.allclose(steps, steps[0], rtol=1e-9, atol=0))
    return even or is_years(line) or line.tolist() in ([0, 1], [1, 2])


def is_years(line: np.ndarray) -> bool:
    return all(value in YEARS for value in line.tolist()) and bool((np.diff(line) > 0).all())

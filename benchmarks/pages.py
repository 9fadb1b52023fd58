"""Tables in reStructuredText, and pages of the documentation with blocks that a program writes."""

from collections.abc import Sequence


class MarksMissing(Exception):
    """Raised when a page has no place for a block; the message says which."""


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Give a simple table: names to the left, figures to the right."""
    full = [header, *rows]
    widths = [max(1, *(len(row[column]) for row in full)) for column in range(len(header))]
    rule = "  ".join("=" * width for width in widths)
    lines = []
    for row in full:
        # An empty first cell would continue the row above.
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([(row[0] or "\\").ljust(widths[0]), *cells]).rstrip())
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def fill(page: str, name: str, command: str, text: str) -> str:
    """Give a page with the block of that name replaced.

    Args:
        page: The page.
        name: What its marks call the block.
        command: The command that its first mark names as the block's writer.
        text: What to put between the marks.

    Raises:
        MarksMissing: The page has no marks for it.
    """
    begin, end = f".. begin {name}, by {command}\n", f".. end {name}\n"
    before, mark, rest = page.partition(begin)
    _, end_mark, after = rest.partition(end)
    if not end_mark:
        raise MarksMissing(f"there is no place for {name!r}: a line {begin.strip()!r} and a line {end.strip()!r}")
    return f"{before}{mark}\n{text}\n\n{end_mark}{after}"

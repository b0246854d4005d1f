"""QR codes in half blocks, for a terminal."""

from __future__ import annotations

from rich.text import Text

_BORDER = 2  # light modules around the code; the standard asks for 4, cameras are content with 2
_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def qr_code(url: str, columns: int, lines: int) -> list[Text] | None:
    """Return a QR code of `url`, dark on light whatever the terminal's colours; None if it does not fit into this room."""
    import segno

    rows = [list(row) for row in segno.make(url, error="L", micro=False).matrix_iter(border=_BORDER)]
    if len(rows[0]) + 4 > columns or (len(rows) + 1) // 2 > lines:
        return None
    rows += [[0] * len(rows[0])] * (len(rows) % 2)
    pairs = zip(rows[::2], rows[1::2], strict=True)
    text = ["".join(_HALVES[bool(above), bool(below)] for above, below in zip(*pair, strict=True)) for pair in pairs]
    return [Text(line, style="black on white") for line in text]

"""The line of each key of a TOML text."""

from __future__ import annotations

import tomllib

from prx.config.positions import find_lines

TEXT = '''# a comment with [brackets] and = signs
top = "x = 1 # no comment"

[tunnel] # more
a.b."c.d" = 1
'e f' = """
[not] a = table
\\""" still ""five"""""
list = [ # one
  "one", 2,
  [3, { deep = true } ],
]
'''

MANY = """
[[x]]
k = 1
[x.sub]
j = '''
]]'''
[[x]]
k = 2
inline = { a = 1, b.c = [1, 2], d = {} }
when = 1979-05-27 07:32:00
"""


def test_lines_of_all_shapes() -> None:
    """Dotted and quoted keys, multi-line strings, nested arrays and inline tables are all found on their line."""
    assert tomllib.loads(TEXT)["tunnel"]["list"][2][1] == {"deep": True}
    lines = find_lines(TEXT)
    assert lines["top",] == 2
    assert lines["tunnel",] == 4
    assert lines["tunnel", "a", "b", "c.d"] == 5
    assert lines["tunnel", "e f"] == 6
    assert lines["tunnel", "list"] == 9
    assert [lines["tunnel", "list", index] for index in range(3)] == [10, 10, 11]
    assert lines["tunnel", "list", 2, 1, "deep"] == 11


def test_lines_in_arrays_of_tables() -> None:
    """Each element of an array of tables has its own path."""
    assert tomllib.loads(MANY)["x"][1]["k"] == 2
    lines = find_lines(MANY)
    assert (lines["x", 0, "k"], lines["x", 0, "sub", "j"], lines["x", 1, "k"]) == (3, 5, 8)
    assert (lines["x", 1, "inline", "b", "c", 1], lines["x", 1, "when"]) == (9, 10)

"""Text of others on a terminal: files, devices and servers may say anything, and a terminal obeys some of it.

Owns: what is left out. Must not know: where the text came from.
"""

import unicodedata

_OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: control, format (which turns direction), half a pair, and line and paragraph ends."""


def plain(text: str) -> str:
    """`text` without any character that a terminal would obey, a replacement character in place of each."""
    return "".join("�" if unicodedata.category(letter) in _OBEYED else letter for letter in text)

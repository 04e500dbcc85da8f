"""Texts of others in a page of markdown."""

from __future__ import annotations

from ..errors import printable

_HARMLESS = (("&", "&amp;"), ("\\", "&#92;"), ("<", "&lt;"), ("|", "\\|"), ("`", "'"), ("](", "]\\("))


def escape(value: object) -> str:
    """A value as text with which no table, tag, link or line of a page can be made."""
    text = printable(" ".join(str(value).split()))
    for sign, harmless in _HARMLESS:
        text = text.replace(sign, harmless)
    return text

"""Names that say something: ``{task}/{seed}/*/eval.csv`` of files, ``{task}-{seed} - return`` of columns."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...errors import ScoreTableError

_PARTS = re.compile(
    r"\{(?P<name>[^{}]*)\}|(?P<deep>\*\*/)|(?P<any>\*)|(?P<text>[^{}*]+)|(?P<odd>.)", re.DOTALL
)


@dataclass(frozen=True)
class Template:
    """A name with places in it: ``text`` as it is written, ``pattern`` what it matches."""

    text: str
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, text: str, key: str, *, is_path: bool = False) -> Template:
        """The template that a text is.

        ``{word}`` stands for at least one sign, ``{seed}`` for digits, ``*`` for any signs. Of a path neither
        holds a slash, and ``**/`` stands for any folders. The first of two places takes as much as it can.

        Args:
            key: of ``columns`` that it stands under, for errors.
            is_path: of files; else of columns.

        Raises:
            ScoreTableError: a brace is alone, or a word is none.
        """
        parts: list[str] = []
        for part in _PARTS.finditer(text):
            name = part["name"]
            if part["odd"] or (name is not None and not name.isidentifier()):
                raise ScoreTableError(
                    f"columns.{key} is {text!r}, in which {part[0]!r} is no place for a word",
                    hint="write a place as {task}, {seed} or {word}",
                )
            seen = name is not None and f"{{{name}}}" in text[: part.start()]
            parts.append(f"(?P={name})" if seen else _pattern_of_part(part, is_path))
        return cls(text, re.compile("".join(parts), re.DOTALL))

    def match(self, name: str) -> dict[str, str] | None:
        """What stands in the places of ``name``, or None where it is not of this form."""
        found = self.pattern.fullmatch(name)
        return None if found is None else found.groupdict()


def _pattern_of_part(part: re.Match[str], is_path: bool) -> str:
    sign = "[^/]" if is_path else "."
    if part["deep"] is not None:
        return r"(?:.*/)?" if is_path else r".*/"
    if part["any"] is not None:
        return f"{sign}*"
    if part["text"] is not None:
        return re.escape(part["text"])
    return f"(?P<{part['name']}>{'[0-9]' if part['name'] == 'seed' else sign}+)"

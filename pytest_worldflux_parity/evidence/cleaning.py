"""What must not leave the machine, taken out of texts: secrets of the environment, and absolute paths.

A text is changed where it names one, and nowhere else, so that what is not a path keeps its bytes. JSON is
cleaned as the text that it is: every way in which JSON can spell a character is looked for. A replacement
depends on what it replaces alone, so what was equal stays equal, and what differed stays different.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path

from ..errors import EvidenceError

_ANYWHERE = ("TOKEN", "SECRET", "PASSW", "CREDENTIAL", "APIKEY", "PRIVATE")
_WORDS = frozenset(["KEY", "KEYS", "PASS", "PWD", "PAT", "AUTH", "COOKIE", "SIGNATURE", "DSN"])
# Names of places that everybody has, which hold such a word all the same.
_HARMLESS = frozenset(["PWD", "OLDPWD", "SSH_AUTH_SOCK"])
# A shorter value ("1", "true", "main") would be found in every text, and is no secret worth the name.
SHORTEST_SECRET = 8

_PART = r"[\w.+@~%-]+"
_PATH = re.compile(rf"/{_PART}(?:/{_PART})+")
# What stands before a path; after a letter or a dot, as in "train/loss/x", none begins.
_OPENS = frozenset("\"'=:(,[{<>;|`")
_PLACEHOLDER = re.compile(r"<(?:[a-z-]+|redacted:\w+|dir-[0-9a-f]{8})>")
_ESCAPES = frozenset(["\\n", "\\r", "\\t"])
# Spellings in JSON that no usual writer chooses: an escaped slash, escaped ASCII, hexadecimal in capitals.
_ODD = re.compile(r"\\/|\\u00[2-7]|\\u[0-9a-f]{0,3}[A-F]")
# Between texts that are cleaned as one: no text of ours holds it, and for what is looked for it ends a line.
_BETWEEN = b"\n\x00\n"
_INTERPRETERS = ("<python>", "<python-base>")
_TEMPORARY = ("<tmp>", "<system-tmp>")
_COMMON_FOLDERS = frozenset(["/usr", "/usr/local", "/opt"])


def looks_secret(name: str) -> bool:
    """Whether the value of an environment variable of this name is to be kept back."""
    upper = name.upper()
    words = re.split(r"[^A-Z0-9]+", upper)
    return upper not in _HARMLESS and (
        any(part in upper for part in _ANYWHERE) or any(w in _WORDS for w in words) or upper.endswith("KEY")
    )


@dataclass(frozen=True)
class Cleaner:
    """Takes secrets and absolute paths out of texts.

    Attributes:
        secrets: text -> what stands in its place; from the values of variables that look like secrets.
        places: absolute path -> what stands in its place.
        redacted: names of the variables that look like secrets, whether or not they were found.
        kept: absolute paths that the suite itself names: they are part of what was asked.
    """

    secrets: Mapping[str, str]
    places: Mapping[str, str]
    redacted: tuple[str, ...]
    kept: frozenset[str] = frozenset()

    def data(self, data: bytes) -> bytes:
        """The text without them. JSON stays JSON; bytes that are not UTF-8 stay as they are."""
        before = text = data.decode("utf-8", "surrogateescape")
        for secret, word in self.secrets.items():
            # Texts with odd spellings are looked at line by line.
            text = text.replace(secret, word) if "\n" in secret else text
        after = "\n".join(self._piece(*piece) for piece in _pieces(text))
        return data if after == before else after.encode("utf-8", "surrogateescape")

    def each(self, texts: Sequence[bytes]) -> list[bytes]:
        """As :meth:`data`, of many small texts at once: they are looked through as one."""
        cleaned = self.data(_BETWEEN.join(texts)).split(_BETWEEN)
        # A text that holds what stands between, or that a replacement ran out of.
        return cleaned if len(cleaned) == len(texts) else [self.data(text) for text in texts]

    def found(self, data: bytes) -> str:
        """What would stand in the place of the first secret or known place that a text names; or empty."""
        for text, odd in _pieces(data.decode("utf-8", "surrogateescape")):
            for wanted in (self._secrets, self._places):
                if word := wanted.first(text, odd):
                    return word
        return ""

    @property
    def longest(self) -> int:
        """Characters of the longest secret that is looked for."""
        return max(map(len, self.secrets), default=0)

    def _piece(self, text: str, odd: bool) -> str:
        text = self._secrets.replaced(text, odd)
        if "/" not in text and not odd:
            return text
        return _PATH.sub(self._hidden, self._places.replaced(text, odd))

    @cached_property
    def _secrets(self) -> _Wanted:
        return _Wanted(self.secrets, whole=False)

    @cached_property
    def _places(self) -> _Wanted:
        return _Wanted(self.places, whole=True)

    def _hidden(self, match: re.Match[str]) -> str:
        path, text, start = match[0], match.string, match.start()
        before = text[start - 1 : start]
        if before == ">" and _after_placeholder(text, start):
            return path
        opens = (
            not before or before in _OPENS or before.isspace() or text[max(0, start - 2) : start] in _ESCAPES
        )
        if not opens or path in self.kept:
            return path
        folder, _, name = path.rpartition("/")
        return f"<dir-{_digest(folder)}>/{name}"


@lru_cache(maxsize=1024)
def _digest(folder: str) -> str:
    return hashlib.sha256(folder.encode("utf-8", "replace")).hexdigest()[:8]


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """A text as it is, or where JSON in it spells things oddly its lines, each with whether it does so."""
    if "\\" in text and _ODD.search(text):
        yield from ((line, _ODD.search(line) is not None) for line in text.split("\n"))
    else:
        yield text, False


class _Wanted:
    """Texts to look for, each with what stands in its place; where they overlap, the longest counts."""

    def __init__(self, words: Mapping[str, str], *, whole: bool) -> None:
        self._whole = whole
        longest_first = sorted(words, key=lambda text: (-len(text), text))
        self._usual = [
            (spelling, re.compile(re.escape(spelling)), words[text])
            for text in longest_first
            for spelling in _usual_spellings(text)
        ]
        self._words = {spelling: word for spelling, _, word in reversed(self._usual)}
        self._every = [("", re.compile(_every_spelling(text)), words[text]) for text in longest_first]
        # With one first character that is rare, all are found in one pass; without, one by one is faster.
        slashed = whole and self._usual and all(spelling.startswith("/") for spelling, _, _ in self._usual)
        rest = "|".join(re.escape(spelling[1:]) for spelling, _, _ in self._usual)
        self._paths = re.compile(f"/(?:{rest})") if slashed else None

    def replaced(self, text: str, odd: bool) -> str:
        if self._paths is not None and not odd:
            return self._paths.sub(self._place, text)
        for spelling, pattern, word in self._every if odd else self._usual:
            # Most texts name little.
            if spelling in text:
                text = pattern.sub(partial(self._word, word), text)
        return text

    def _place(self, match: re.Match[str]) -> str:
        """What stands in the place of the longest path here that is not only a part of another one."""
        found, text, start = match[0], match.string, match.start()
        # It is the longest one itself, but where that is a part of another path.
        if _stands_alone(text, start, match.end()):
            return self._words[found]
        for spelling, _, word in self._usual:
            if found.startswith(spelling) and _stands_alone(text, start, start + len(spelling)):
                return word + found[len(spelling) :]
        return found

    def _word(self, word: str, match: re.Match[str]) -> str:
        return word if self._counts(match) else match[0]

    def first(self, text: str, odd: bool) -> str:
        """What would stand in the place of the first one found; or empty."""
        rows = self._every if odd else self._usual
        return next((w for _, p, w in rows if any(map(self._counts, p.finditer(text)))), "")

    def _counts(self, match: re.Match[str]) -> bool:
        return not self._whole or _stands_alone(match.string, match.start(), match.end())


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a path is not only a part of a longer one: /root in /mnt/root, or in /rooted."""
    before, after = text[max(0, start - 1) : start], text[end : end + 2]
    if _in_name(before) and text[max(0, start - 2) : start] not in _ESCAPES:
        return False
    if before == ">" and _after_placeholder(text, start):
        return False
    following = after[1:] if after.startswith(".") else after[:1]
    return not (following.isalnum() or following in ("_", "-"))


def _in_name(char: str) -> bool:
    return char.isalnum() or char in ("_", ".", "-")


def _after_placeholder(text: str, at: int) -> bool:
    start = text.rfind("<", max(0, at - 80), at)
    return start >= 0 and _PLACEHOLDER.fullmatch(text, start, at) is not None


def _usual_spellings(text: str) -> list[str]:
    """As it is, and as JSON writers spell it: with or without escapes of what is not ASCII."""
    spellings = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    # The longest first: of a backslash at the end, the first half alone would be found.
    return sorted(spellings, key=lambda spelling: (-len(spelling), spelling))


_SHORT = {'"': '"', "\\": "\\", "/": "/", "\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


def _every_spelling(text: str) -> str:
    """As it is, with each character in any form that JSON has for it."""
    return "".join(map(_character, text))


def _character(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    codes = [f"{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)]
    escaped = "".join(rf"\\u(?i:{code})" for code in codes)
    forms = [escaped, re.escape(char)]
    if char in _SHORT:
        # Before the character itself: a lone backslash is also the beginning of an escaped one.
        forms.insert(0, re.escape(f"\\{_SHORT[char]}"))
    return f"(?:{'|'.join(forms)})"


def cleaner(root: Path, run_dir: Path, environ: Mapping[str, str], asked: Iterable[bytes] = ()) -> Cleaner:
    """What to look for on this machine.

    Args:
        environ: the environment of the process that ran the programs.
        asked: texts that are part of what was asked; absolute paths in them are left as they are.
    """
    named = sorted(name for name in environ if looks_secret(name))
    # Of two names for one thing the first counts.
    secrets = {text: f"<redacted:{_safe(n)}>" for n in reversed(named) for text in _needles(environ[n])}
    texts = [data.decode("utf-8", "replace") for data in asked]
    # A manifest may say which interpreter runs its commands, wherever that was installed.
    interpreters = [
        p for f in (sys.prefix, sys.base_prefix) for p in _spellings(f) if any(p in t for t in texts)
    ]
    places = {
        path: word
        for word, folder in reversed(_folders(root, run_dir, environ))
        for path in _spellings(folder)
        if not (word in _INTERPRETERS and path in interpreters)
        and not (word in _TEMPORARY and any(i.startswith(f"{path}/") for i in interpreters))
    }
    kept = {m[0] for text in texts for m in _PATH.finditer(text)}
    return Cleaner(secrets, places, tuple(named), frozenset(kept))


def _folders(root: Path, run_dir: Path, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        ("<run>", str(run_dir)),
        ("<root>", str(root)),
        ("<python>", sys.prefix),
        ("<python-base>", sys.base_prefix),
        ("<home>", environ.get("HOME", "")),
        ("<user>", str(Path("~").expanduser())),
        ("<tmp>", environ.get("TMPDIR", "")),
        ("<system-tmp>", tempfile.gettempdir()),
    ]


def _spellings(folder: str) -> list[str]:
    """A folder as it was given and as it is; none where it tells nothing, and no relative one."""
    both = (folder.rstrip("/"), str(Path(folder).resolve())) if folder.startswith("/") else ()
    return [path for path in both if path.strip("/") and path not in _COMMON_FOLDERS]


def _needles(value: str) -> list[str]:
    """A value, and its lines, since logs are cut at lines."""
    texts = (value, value.strip(), *(line.strip() for line in value.split("\n")))
    return [text for text in dict.fromkeys(texts) if len(text.strip()) >= SHORTEST_SECRET]


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def refuse_broken(name: str, before: bytes, after: bytes, clean: Cleaner) -> None:
    """Refuse a document that is none any more once it is cleaned.

    Raises:
        EvidenceError: a secret is spelled like a part of it.
    """
    redacted = b"<redacted:" in after and before != after and name.endswith(".json")
    if redacted and _is_json(before) and not _is_json(after):
        words = ", ".join(sorted(set(clean.secrets.values())))
        what = f"is no document any more without one of {words}"
        raise EvidenceError(what, where=name, mend="unset the variable if it holds no secret")


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True

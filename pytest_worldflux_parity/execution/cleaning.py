"""What must not leave the machine, taken out of texts: secrets, absolute paths, names of hosts and users.

A text is changed where it names one, and nowhere else. A replacement depends on what it replaces alone, so
what was equal stays equal, and what differed stays different; what was cleaned is not changed again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .key_forms import known, looks_secret

# Characters of a value from which on it is looked for anywhere; a shorter one counts as a whole word.
ANYWHERE = 8
SHORTEST_SECRET = 4
# What variables say that are named like secrets and hold none.
_NO_SECRETS = frozenset(
    [
        "true", "false", "none", "null", "auto", "default", "disabled", "enabled", "error", "info", "debug",
        "warn",
    ]
)  # fmt: skip
# Accounts and machines that are nobody's, and words of placeholders.
_NO_NAMES = frozenset(
    [
        "root", "user", "ubuntu", "runner", "admin", "docker", "nobody", "home", "tmp", "localhost", "host",
        "run", "python", "dir", "redacted",
    ]
)  # fmt: skip

_PART = r"[\w.+@~%-]+"
_PATH = re.compile(rf"/{_PART}(?:/{_PART})+")
_REST = re.compile(rf"(?:/{_PART})*")
# What stands before a path; after a letter or a dot, as in "train/loss/x", none begins.
_OPENS = frozenset("\"'=:(,[{<>;|`")
_OPTION = re.compile(r"(?:^|[\s\"'=,\[(])--?[A-Za-z]\w*$")
_ESCAPES = ("\\n", "\\r", "\\t")
_HOMES = ("/home", "/Users")
_COMMON_FOLDERS = frozenset(["/usr", "/usr/local", "/opt"])
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")
# What stands in the place of something, as it is written here.
PLACEHOLDER = re.compile(
    r"<(?:run|root|python|python-base|home|tmp|system-tmp|user|host|dir-[0-9a-f]{8}|redacted:\w+)>"
)
Span = tuple[int, int, str]


@dataclass(frozen=True)
class Cleaner:
    """Takes out of texts what must not leave the machine.

    Attributes:
        secrets: values of variables that look like secrets -> name of the variable.
        places: absolute path -> what stands in its place.
        hosts, users: names of this machine, and of who runs programs on it.
        kept: absolute paths, and words, of what was asked: they are what the evidence is about.
        own: the folder of an attempt: in its documents what lies in it is named from there.
    """

    secrets: Mapping[str, str]
    places: Mapping[str, str]
    hosts: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    kept: frozenset[str] = frozenset()
    own: str = ""

    def data(self, data: bytes) -> bytes:
        """As :meth:`text`; bytes that are not UTF-8 stay as they are."""
        before = data.decode("utf-8", "surrogateescape")
        after = self.text(before)
        return data if after == before else after.encode("utf-8", "surrogateescape")

    def text(self, text: str) -> str:
        """A log, or a sentence, without secrets, paths and names."""
        return self._without_places(_replaced(text, self._spans(text, self._values)))

    def document(self, value: Any) -> Any:
        """JSON whose texts are clean; numbers, and words as short as those of the contract, stay.

        A path within :attr:`own` becomes relative to it: a record lists files so.
        """
        if isinstance(value, str):
            if self.own and value.startswith(f"{self.own}/"):
                value = value[len(self.own) + 1 :]
            return self._without_places(_replaced(value, self._spans(value, self._long_values)))
        if isinstance(value, Mapping):
            return {self.document(key): self.document(entry) for key, entry in value.items()}
        return [self.document(entry) for entry in value] if isinstance(value, list) else value

    def secret_in(self, value: Any, at: str = "") -> str:
        """Where JSON holds a secret of 8 characters or more that is not only digits, and which; or empty."""
        if isinstance(value, Mapping):
            entries = [(f"{at}.{key}" if at else str(key), key, entry) for key, entry in value.items()]
        elif isinstance(value, list):
            entries = [(f"{at}[{i}]", "", entry) for i, entry in enumerate(value)]
        else:
            return self._named(value, at) if isinstance(value, str) else ""
        for place, key, entry in entries:
            # What a value is can be told by its key: {"api_key": "..."}.
            pair = f"{key}={entry}" if key and isinstance(entry, str) else str(key)
            # A key may itself be what is not to be told.
            shown = self.text(place)
            if found := self._named(pair, shown) or self.secret_in(entry, shown):
                return found
        return ""

    def _named(self, text: str, at: str) -> str:
        for start, end, name in self._spans(text, self._long_values):
            if end - start >= ANYWHERE and not text[start:end].isdigit():
                return f"{at or 'it'} holds {_described(name, self.secrets)}"
        return ""

    def _spans(self, text: str, values: Iterable[_Value]) -> list[Span]:
        small = text.lower()
        found = [span for value in values if value.hint in small for span in value.spans(text)]
        return sorted([*found, *known(text)])

    def _without_places(self, text: str) -> str:
        if "/" in text:
            if self._places is not None:
                text = self._places.sub(self._place, text)
            text = _PATH.sub(self._hidden, text)
        return self._without_names(text)

    def _without_names(self, text: str) -> str:
        for pattern, word in self._names:
            text = pattern.sub(word, text)
        return text

    @cached_property
    def _values(self) -> tuple[_Value, ...]:
        return tuple(found for value, name in self.secrets.items() for found in _spellings_of(value, name))

    @cached_property
    def _long_values(self) -> tuple[_Value, ...]:
        return tuple(value for value in self._values if value.anywhere)

    @cached_property
    def _places(self) -> re.Pattern[str] | None:
        spelled = sorted(self._spelled_places, key=lambda text: (-len(text), text))
        # No part of a longer name: /root in /rooted.
        return re.compile(rf"(?:{'|'.join(map(re.escape, spelled))})(?!\.?[\w-])") if spelled else None

    @cached_property
    def _spelled_places(self) -> dict[str, str]:
        return {text: word for path, word in self.places.items() for text in {path, json.dumps(path)[1:-1]}}

    @cached_property
    def _names(self) -> list[tuple[re.Pattern[str], str]]:
        hosts = "|".join(re.escape(name) for name in self.hosts if name not in self.kept)
        users = "|".join(re.escape(name) for name in self.users if name not in self.kept)
        rows = []
        if hosts:
            rows.append((rf"(?<![\w.+@-])[A-Za-z_][\w.-]*@(?:{hosts})(?![\w-])", "<user>@<host>"))
        if users:
            rows += [
                (rf"(?<![\w.+-])(?:{users})@[\w.-]*\w", "<user>@<host>"),
                (rf"(?<=[/\\])(?:{users})(?![\w.-])", "<user>"),
                (
                    rf"(?i:(?<![A-Za-z])((?:user(?:_?name)?|login|logname)[\"']?[ \t]*[=:][ \t]*[\"']?))"
                    rf"(?:{users})(?![\w.-])",
                    r"\1<user>",
                ),
            ]
        if hosts:
            rows.append((rf"(?<![\w.-])(?:{hosts})(?![\w-])", "<host>"))
        return [(re.compile(pattern), word) for pattern, word in rows]

    def _place(self, match: re.Match[str]) -> str:
        text, start, found = match.string, match.start(), match[0]
        before = text[start - 1 : start]
        inside = bool(re.match(r"[\w.-]", before)) and text[max(0, start - 2) : start] not in _ESCAPES
        if (inside and not _is_option(text, start)) or _after_placeholder(text, start):
            return found
        rest = _REST.match(text, match.end())
        return found if found + (rest[0] if rest else "") in self.kept else self._spelled_places[found]

    def _hidden(self, match: re.Match[str]) -> str:
        path, text, start = match[0], match.string, match.start()
        if _after_placeholder(text, start) or path in self.kept or not _opens(text, start):
            return path
        folder, _, name = path.rpartition("/")
        return f"<dir-{_digest(folder)}>/{'<user>' if folder in _HOMES else name}"


def placeholders(text: str) -> dict[str, int]:
    """What stands in a text in the place of what was taken out -> how often."""
    return dict(sorted(Counter(match[0] for match in PLACEHOLDER.finditer(text)).items()))


def _opens(text: str, start: int) -> bool:
    """Whether what begins at ``start`` is an absolute path, and no part of something else."""
    before = text[start - 1 : start] if start else ""
    return (
        not before
        or before in _OPENS
        or before.isspace()
        or text[max(0, start - 2) : start] in _ESCAPES
        or text[max(0, start - 7) : start].lower() == "file://"
        or _is_option(text, start)
    )


def _is_option(text: str, start: int) -> bool:
    """Whether a path stands right behind an option, as in ``-I/usr/include``."""
    return _OPTION.search(text, max(0, start - 24), start) is not None


def _after_placeholder(text: str, at: int) -> bool:
    start = text.rfind("<", max(0, at - 80), at) if text[at - 1 : at] == ">" else -1
    return start >= 0 and PLACEHOLDER.fullmatch(text, start, at) is not None


@lru_cache(maxsize=1024)
def _digest(folder: str) -> str:
    return hashlib.sha256(folder.encode("utf-8", "replace")).hexdigest()[:8]


def _replaced(text: str, spans: Iterable[Span]) -> str:
    """The text with a placeholder for each span; of those that overlap one, of the first's name."""
    kept: list[str] = []
    done = 0
    for start, end, name in spans:
        if start >= done:
            kept += (text[done:start], _redacted(name))
        done = max(done, end)
    return "".join((*kept, text[done:]))


def _redacted(name: str) -> str:
    return f"<redacted:{re.sub(r'[^A-Za-z0-9_]', '_', name)}>"


def _described(name: str, secrets: Mapping[str, str]) -> str:
    return f"the value of {name}" if name in secrets.values() else f"what has the form of a {name}"


# --- how a value may be spelled ---


@dataclass(frozen=True)
class _Value:
    """One spelling of a secret: ``hint`` in small letters, ``anywhere`` or as a whole word."""

    name: str
    hint: str
    pattern: re.Pattern[str]
    anywhere: bool
    base64: bool = False

    def spans(self, text: str) -> Iterator[Span]:
        for match in self.pattern.finditer(text):
            start, end = match.span()
            # The text around it was encoded with it: "user:token".
            while self.base64 and start and text[start - 1] in _BASE64:
                start -= 1
            while self.base64 and end < len(text) and (text[end] in _BASE64 or text[end] == "="):
                end += 1
            yield start, end, self.name


def _spellings_of(value: str, name: str) -> Iterator[_Value]:
    """A value in plain, as JSON and URLs spell it, and in hex, in any case; and in base64."""
    anywhere = len(value) >= ANYWHERE
    around = "" if anywhere else r"\w"
    raw = value.encode("utf-8", "surrogateescape")
    plain = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    for text in (*sorted(plain | {quote(value, safe="", errors="replace")}), raw.hex()):
        words = (f"(?<!{around})", f"(?!{around})") if around else ("", "")
        pattern = re.compile(f"{words[0]}{re.escape(text)}{words[1]}", re.IGNORECASE)
        yield _Value(name, text.lower(), pattern, anywhere)
    for core in _base64_cores(raw) if anywhere else ():
        yield _Value(name, core.lower(), re.compile(re.escape(core)), anywhere, base64=True)


def _base64_cores(raw: bytes) -> set[str]:
    """What base64 has of these bytes, whatever stands before and after them."""
    cores = set()
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + raw).decode().rstrip("=")
        text = text[(0, 2, 3)[shift] : len(text) - bool((shift + len(raw)) % 3)]
        cores |= {text, text.translate(str.maketrans("+/", "-_"))}
    return cores


# --- what to look for on this machine ---


def cleaner(
    root: Path, run_dir: Path, environ: Mapping[str, str], asked: Iterable[str] = (), own: Path | None = None
) -> Cleaner:
    """What to look for on this machine.

    Args:
        environ: the environment of the process that ran the programs.
        asked: texts that are part of what was asked; paths and words in them are left as they are.
        own: the folder of the attempt that is cleaned.
    """
    texts = list(asked)
    named = sorted(name for name in environ if looks_secret(name))
    # Of two names for one thing the first counts.
    values = {text: name for name in reversed(named) for text in _needles(environ[name])}
    paths = {
        text: _redacted(name) for text, name in values.items() if text.startswith("/") and "\n" not in text
    }
    places = {
        path: word
        for word, folder in reversed(_folders(root, run_dir, environ))
        for path in _spellings(folder)
    }
    # A file that holds a secret is a place like others.
    paths = {text: _redacted(name) for text, name in values.items() if _is_place(text)}
    kept = {m[0] for text in texts for m in _PATH.finditer(text)}
    words = {word for text in texts for word in re.findall(r"[\w.-]+", text)}
    secrets = {text: name for text, name in values.items() if text not in paths}
    own_folder = str(own) if own is not None else ""
    return Cleaner(
        secrets, {**paths, **places}, _hosts(), _users(environ), frozenset(kept | words), own_folder
    )


def _hosts() -> tuple[str, ...]:
    """The names of this machine, the longest first."""
    full = socket.gethostname()
    names = {full, full.partition(".")[0]} - {""} - _NO_NAMES
    return tuple(sorted(names, key=lambda name: (-len(name), name)))


def _users(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Names of who runs programs here, where they are somebody's."""
    home = Path(environ.get("HOME") or "/").name
    names = {environ.get("USER", ""), environ.get("LOGNAME", ""), home} - {""} - _NO_NAMES
    return tuple(sorted(names, key=lambda name: (-len(name), name)))


def _folders(root: Path, run_dir: Path, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        ("<run>", str(run_dir)),
        ("<root>", str(root)),
        ("<python>", sys.prefix),
        ("<python-base>", sys.base_prefix),
        ("<home>", environ.get("HOME", "")),
        ("<home>", str(Path("~").expanduser())),
        ("<tmp>", environ.get("TMPDIR", "")),
        ("<system-tmp>", tempfile.gettempdir()),
    ]


def _is_place(value: str) -> bool:
    return value.startswith("/") and "\0" not in value and os.path.exists(value)


def _spellings(folder: str) -> list[str]:
    """A folder as it was given and as it is; none where it tells nothing, and no relative one."""
    both = (folder.rstrip("/"), str(Path(folder).resolve())) if folder.startswith("/") else ()
    return [path for path in both if path.strip("/") and path not in _COMMON_FOLDERS]


def _needles(value: str) -> list[str]:
    """A value, and its lines, since logs are cut at lines; what a switch says is no secret."""
    texts = (value, value.strip(), *(line.strip() for line in value.split("\n")))
    found = [text for text in dict.fromkeys(texts) if len(text.strip()) >= SHORTEST_SECRET]
    return [text for text in found if text.lower() not in _NO_SECRETS]

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .. import schemas
from .key_forms import ANYWHERE, ESCAPE, find_keys, is_word, looks_secret

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
_PATH_PATTERN = re.compile(rf"/{_PART}(?:/{_PART})+")
_REST_OF_PATH = re.compile(rf"(?:/{_PART})*")
# What stands before a path; after a letter or a dot, as in "train/loss/x", none begins.
_OPENS = frozenset("\"'=:(,[{<>;|`!")
# What may stand before one, and before what is none: then it is one where a folder of people's begins it.
_MAY_OPEN = frozenset("])*@+$")
_ROOTS = r"(?:home|Users|Volumes|root|scratch|mnt|media|srv|nfs|lustre|beegfs|gpfs|cluster|export|private)"
_ROOTED = re.compile(rf"/{_ROOTS}/")
# Before a path: the slashes of a URL of files here (sqlite:////home/...), and the first slash before the name
# of another machine (//host/home/..., ssh://host/home/...).
_LOCAL_URL = re.compile(
    r"(?P<here>://+)$|(?:(?:^|[\s\"'=,(\[])|(?:nfs|s?ftp|ssh|scp|rsync|smb|cifs|afp):)/$", re.IGNORECASE
)
# A path as JSON and URLs spell it.
_SPELLED_PATH = re.compile(
    rf"(?:(?<![\w.+@~-])|(?<=%[0-9A-Fa-f]{{2}}))(?P<folder>(?P<sep>\\/|%2[Ff]){_ROOTS}"
    rf"(?:(?P=sep)[\w.+@~-]+)*)(?P=sep)(?P<name>[\w.+@~-]+)"
)
_OPTION = re.compile(r"(?:^|[\s\"'=,\[(])--?[A-Za-z]\w*$")
# A character as JSON and URLs spell it, or a color of a terminal.
_ESCAPE = re.compile(r"(?:\\[nrt]|%[0-9A-Fa-f]{2}|\[[0-9;]*m)$")
_HOMES = ("/home", "/Users")
_COMMON_FOLDERS = frozenset(["/usr", "/usr/local", "/opt"])
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")
# Lines of base64, as MIME and PEM break it, also within JSON.
_BREAK = re.compile(r"\r?\n|(?:\\r)?\\n")
_BROKEN_BASE64 = re.compile(
    rf"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{{16,}}(?:{_BREAK.pattern}))+[A-Za-z0-9+/_-]+=*"
)
# What stands in the place of something, as it is written here.
PLACEHOLDER = re.compile(
    r"<(?:run|root|python|python-base|home|tmp|system-tmp|user|host|dir-[0-9a-f]{8}|redacted:\w+)>"
)
Span = tuple[int, int, str]
# The place of a secret in a document, and its name.
_FoundSecret = tuple[str, str]


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
        return self._without_places(_replace_spans(text, self._spans(text, self._values)))

    def document(self, value: Any) -> Any:
        """JSON whose texts are clean; keys, numbers, and words as short as those of the contract, stay.

        Keys name metrics and scalars, and two of them must not become one. A path within :attr:`own` becomes
        relative to it: a record lists files so.
        """
        if isinstance(value, str):
            if self.own and value.startswith(f"{self.own}/"):
                value = value[len(self.own) + 1 :]
            return self._without_places(_replace_spans(value, self._spans(value, self._long_values)))
        if isinstance(value, Mapping):
            return {key: self.document(entry) for key, entry in value.items()}
        return [self.document(entry) for entry in value] if isinstance(value, list) else value

    def secret_in(self, value: Any) -> str:
        """Where JSON holds a secret of 8 characters or more, and which; or empty.

        Digits alone, a plain word, and what has no more of a key than its name are none here.
        """
        if isinstance(value, str):
            found: _FoundSecret | None = ("", name) if (name := self._named(value)) else None
        else:
            found = self._found_in(value)
        if found is None:
            return ""
        # A key may itself be what is not to be told.
        place = self.text(found[0].removeprefix(".")) or "it"
        return f"{place} holds {_describe_secret(found[1], self.secrets)}"

    def _found_in(self, value: Mapping[str, Any] | list[Any]) -> _FoundSecret | None:
        """The place of the first secret in an object or a list, and its name."""
        named = isinstance(value, Mapping)
        for key, entry in value.items() if isinstance(value, Mapping) else enumerate(value):
            at = f".{key}" if named else f"[{key}]"
            texts = [str(key)] if named else []
            if isinstance(entry, str):
                # What a value is can be told by its key: {"api_key": "..."}.
                texts = [*(f"{text}={entry}" for text in texts if text), entry]
            if name := next(filter(None, map(self._named, texts)), ""):
                return at, name
            if isinstance(entry, (Mapping, list)) and (found := self._found_in(entry)) is not None:
                return at + found[0], found[1]
        return None

    def _named(self, text: str) -> str:
        """The name of a secret that a text holds, or empty."""
        telling = [value for value in self._long_values if value.anywhere]
        for start, end, name in self._spans(text, telling, certain=True):
            if end - start >= ANYWHERE and not text[start:end].isdigit():
                return name
        return ""

    def _spans(self, text: str, values: Sequence[_Value], certain: bool = False) -> list[Span]:
        small = text.lower()
        found = [span for value in values if value.hint in small for span in value.spans(text)]
        return sorted([*found, *_broken_base64(text, values), *find_keys(text, certain)])

    def _without_places(self, text: str) -> str:
        if "/" in text or "%2" in text:
            if self._places is not None:
                text = self._places.sub(self._place, text)
            text = _PATH_PATTERN.sub(self._hidden, text)
            text = _SPELLED_PATH.sub(_hide_spelled, text)
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
        return tuple(value for value in self._values if value.long)

    @cached_property
    def _places(self) -> re.Pattern[str] | None:
        spelled = sorted(self._spelled_places, key=lambda text: (-len(text), text))
        # No part of a longer name: /root in /rooted.
        return re.compile(rf"(?:{'|'.join(map(re.escape, spelled))})(?!\.?[\w-])") if spelled else None

    @cached_property
    def _spelled_places(self) -> dict[str, str]:
        return {text: word for path, word in self.places.items() for text in _spellings_of_place(path)}

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
                (rf"(?:(?<=[/\\])|(?<=%2[Ff]))(?:{users})(?![\w.-])", "<user>"),
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
        inside = bool(re.match(r"[\w.-]", before)) and not _is_after_escape(text, start)
        if (inside and not _is_option(text, start)) or _is_after_placeholder(text, start):
            return found
        rest = _REST_OF_PATH.match(text, match.end())
        return found if found + (rest[0] if rest else "") in self.kept else self._spelled_places[found]

    def _hidden(self, match: re.Match[str]) -> str:
        path, text, start = match[0], match.string, match.start()
        if _is_after_placeholder(text, start) or path in self.kept:
            return path
        at = 0 if _opens_path(text, start) else _where_path_opens(path, text, start)
        if at < 0:
            return path
        folder, _, name = path[at:].rpartition("/")
        return f"{path[:at]}<dir-{_folder_digest(folder)}>/{'<user>' if folder in _HOMES else name}"


def count_placeholders(text: str) -> dict[str, int]:
    """What stands in a text in the place of what was taken out -> how often."""
    return dict(sorted(Counter(match[0] for match in PLACEHOLDER.finditer(text)).items()))


def _opens_path(text: str, start: int) -> bool:
    """Whether what begins at ``start`` is an absolute path, and no part of something else."""
    before = text[start - 1 : start] if start else ""
    return (
        not before
        or before in _OPENS
        or before.isspace()
        or _is_after_escape(text, start)
        or text[max(0, start - 7) : start].lower() == "file://"
        or _is_option(text, start)
    )


def _where_path_opens(path: str, text: str, start: int) -> int:
    """Where a path of a person's folder begins in what follows another character; -1: nowhere."""
    before = text[start - 1 : start]
    if before in _MAY_OPEN:
        return 0 if _ROOTED.match(path) else -1
    url = _LOCAL_URL.search(text, max(0, start - 12), start) if before == "/" else None
    if url is None:
        return -1
    # At once, or behind the name of a host.
    later = _ROOTED.search(path, 0, path.find("/", path.find("/", 1) + 1) + 1)
    return 0 if url["here"] else later.start() if later else -1


def _hide_spelled(match: re.Match[str]) -> str:
    folder, sep = match["folder"].replace(match["sep"], "/"), match["sep"]
    return f"<dir-{_folder_digest(folder)}>{sep}{'<user>' if folder in _HOMES else match['name']}"


def _is_after_escape(text: str, start: int) -> bool:
    return _ESCAPE.search(text, max(0, start - 12), start) is not None


def _is_option(text: str, start: int) -> bool:
    """Whether a path stands right behind an option, as in ``-I/usr/include``."""
    return _OPTION.search(text, max(0, start - 24), start) is not None


def _is_after_placeholder(text: str, at: int) -> bool:
    start = text.rfind("<", max(0, at - 80), at) if text[at - 1 : at] == ">" else -1
    return start >= 0 and PLACEHOLDER.fullmatch(text, start, at) is not None


@lru_cache(maxsize=1024)
def _folder_digest(folder: str) -> str:
    return hashlib.sha256(folder.encode("utf-8", "replace")).hexdigest()[:8]


def _replace_spans(text: str, spans: Iterable[Span]) -> str:
    """The text with a placeholder for each span; of those that overlap one, of the first's name."""
    kept: list[str] = []
    done = 0
    for start, end, name in spans:
        if start >= done:
            kept += (text[done:start], _redaction_of(name))
        done = max(done, end)
    return "".join((*kept, text[done:]))


def _redaction_of(name: str) -> str:
    return f"<redacted:{re.sub(r'[^A-Za-z0-9_]', '_', name)}>"


def _describe_secret(name: str, secrets: Mapping[str, str]) -> str:
    return f"the value of {name}" if name in secrets.values() else f"what has the form of a {name}"


# --- how a value may be spelled ---


@dataclass(frozen=True)
class _Value:
    """One spelling of a secret: ``hint`` in small letters, ``anywhere`` or as a whole word.

    ``long`` ones are looked for in documents too.
    """

    name: str
    hint: str
    pattern: re.Pattern[str]
    anywhere: bool
    long: bool
    base64: bool = False

    def spans(self, text: str) -> Iterator[Span]:
        done = 0
        for match in self.pattern.finditer(text):
            start, end = match.span()
            if start < done:
                continue
            # The text around it was encoded with it: "user:token".
            while self.base64 and start and text[start - 1] in _BASE64:
                start -= 1
            while self.base64 and end < len(text) and (text[end] in _BASE64 or text[end] == "="):
                end += 1
            done = end
            yield start, end, self.name


def _broken_base64(text: str, values: Sequence[_Value]) -> Iterator[Span]:
    """Where base64 that is broken over lines holds a value."""
    cores = [value for value in values if value.base64]
    for match in _BROKEN_BASE64.finditer(text) if cores else ():
        whole = _BREAK.sub("", match[0])
        if held := next((value for value in cores if value.pattern.search(whole)), None):
            yield *match.span(), held.name


def _spellings_of(value: str, name: str) -> Iterator[_Value]:
    """A value in plain, as JSON and URLs spell it, and in hex, in any case; and in base64."""
    long = len(value) >= ANYWHERE
    raw = value.encode("utf-8", "surrogateescape")
    spelled = "".join(map(_character_pattern, value))
    hint = max(_AS_IT_IS.findall(value), key=len, default="").lower()
    for text, pattern_of, least in ((value, spelled, hint), (raw.hex(), raw.hex(), raw.hex())):
        anywhere = long and not is_word(text)
        words = ("", "") if anywhere else (rf"(?:(?<!\w)|{ESCAPE})", r"(?!\w)")
        pattern = re.compile(f"{words[0]}{pattern_of}{words[1]}", re.IGNORECASE)
        yield _Value(name, least, pattern, anywhere, long)
    for core in _base64_cores(raw) if long else ():
        yield _Value(name, core.lower(), re.compile(re.escape(core)), anywhere=True, long=True, base64=True)


# What JSON and URLs write as it is.
_AS_IT_IS = re.compile(r"[A-Za-z0-9_.~-]+")


def _character_pattern(character: str) -> str:
    """The pattern of a character in plain, as JSON may escape it, and as a URL or a form spells it, or a URL
    within another.
    """
    if _AS_IT_IS.fullmatch(character):
        return re.escape(character)
    json_units = character.encode("utf-16-be", "surrogatepass")
    units = "".join(f"\\u{json_units[i]:02x}{json_units[i + 1]:02x}" for i in range(0, len(json_units), 2))
    quoted = quote(character, safe="", errors="surrogateescape")
    form = {" ": {"+", "%2B"}, "/": {"\\/"}}.get(character, set())
    spelled = {character, json.dumps(character)[1:-1], units, quoted, quote(quoted, safe=""), *form}
    return f"(?:{'|'.join(map(re.escape, sorted(spelled)))})"


def _spellings_of_place(path: str) -> set[str]:
    """A path in plain, as JSON spells it, and in URLs."""
    quoted = quote(path, safe="", errors="replace")
    small = re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), quoted)
    return {path, json.dumps(path)[1:-1], path.replace("/", "\\/"), quoted, small}


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
    named = sorted(secret_names(environ))
    # Of two names for one thing the first counts.
    values = {text: name for name in reversed(named) for text in _secret_texts(environ[name])}
    places = {
        path: word
        for word, folder in reversed(_known_folders(root, run_dir, environ))
        for path in _folder_spellings(folder)
    }
    # A file that holds a secret is a place like others.
    paths = {text: _redaction_of(name) for text, name in values.items() if _is_place(text)}
    kept = {m[0] for text in texts for m in _PATH_PATTERN.finditer(text)}
    words = {word for text in texts for word in re.findall(r"[\w.-]+", text)}
    # What we ask and write ourselves says nothing of a secret that is the same word.
    public = _contract_words() | {word.lower() for word in words if is_word(word)}
    secrets = {text: n for text, n in values.items() if text not in paths and text.lower() not in public}
    own_folder = str(own) if own is not None else ""
    return Cleaner(
        secrets, {**paths, **places}, _host_names(), _user_names(environ), frozenset(kept | words), own_folder
    )


def secret_names(environ: Mapping[str, str]) -> set[str]:
    """Names of the variables whose values are looked for."""
    return {name for name in environ if looks_secret(name) and _secret_texts(environ[name])}


def words_of_contract(environ: Mapping[str, str]) -> list[str]:
    """Names of variables whose secret is a word that every record holds, and so cannot be looked for."""
    return sorted(n for n in environ if looks_secret(n) and environ[n].lower() in _contract_words())


@cache
def _contract_words() -> frozenset[str]:
    """Keys, and words of a choice, in what is asked of a program and in what it answers; in small letters."""
    named = {name for schema in ("request.v1", "record.v1") for name in _schema_names(schemas.load(schema))}
    parts = {part for name in named for part in re.split(r"[^A-Za-z0-9]+", name)}
    return frozenset(word.lower() for word in named | parts if len(word) >= SHORTEST_SECRET)


def _schema_names(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for entry in schema:
            yield from _schema_names(entry)
    elif isinstance(schema, Mapping):
        choices = (schema.get("const"), *schema.get("enum", ()), *schema.get("required", ()))
        yield from (choice for choice in choices if isinstance(choice, str))
        for key, entry in schema.items():
            yield from entry if key == "properties" else ()
            yield from _schema_names([*entry.values()] if key == "properties" else entry)


def _host_names() -> tuple[str, ...]:
    """The names of this machine, the longest first."""
    full = socket.gethostname()
    names = {full, full.partition(".")[0]} - {""} - _NO_NAMES
    return tuple(sorted(names, key=lambda name: (-len(name), name)))


def _user_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Names of who runs programs here, where they are somebody's."""
    home = Path(environ.get("HOME") or "/").name
    names = {environ.get("USER", ""), environ.get("LOGNAME", ""), home} - {""} - _NO_NAMES
    return tuple(sorted(names, key=lambda name: (-len(name), name)))


def _known_folders(root: Path, run_dir: Path, environ: Mapping[str, str]) -> list[tuple[str, str]]:
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


def _folder_spellings(folder: str) -> list[str]:
    """A folder as it was given and as it is; none where it tells nothing, and no relative one."""
    both = (folder.rstrip("/"), str(Path(folder).resolve())) if folder.startswith("/") else ()
    return [path for path in both if path.strip("/") and path not in _COMMON_FOLDERS]


def _secret_texts(value: str) -> list[str]:
    """A value, and its lines, since logs are cut at lines; what a switch says is no secret."""
    texts = (value, value.strip(), *(line.strip() for line in value.split("\n")))
    found = [text for text in dict.fromkeys(texts) if len(text.strip()) >= SHORTEST_SECRET]
    return [text for text in found if text.lower() not in _NO_SECRETS]

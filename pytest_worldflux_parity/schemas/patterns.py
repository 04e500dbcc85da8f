"""What the regular expressions of the schemas ask for, in words: no error line shows one."""

from __future__ import annotations

from collections.abc import Mapping

_NAME_WORDS = "a name of letters, digits, '_', '.' and '-' that begins with a letter or digit"
_WORD_WORDS = "a word of small letters, digits and '_'"
_PATH_WORDS = "a path of / that stays in its folder"
_COMMIT_WORDS = "a commit of 40 hexadecimal digits"
_SHA256_WORDS = "a sha256 of 64 hexadecimal digits"
_TEXT_END = r"$(?!\n)"

PATTERNS: Mapping[str, str] = {
    r"^(?!/)(?!.*\\)(?!(.*/)?\.\.(/|$)).+$": _PATH_WORDS,
    r"^(?!/)(?!.*\\)(?!(.*/)?\.\.(/|$)).+\.ya?ml" + _TEXT_END: f"{_PATH_WORDS}, of a .yaml file",
    r"^(https?|ssh|file)://\S+$": "an address that begins with https://, http://, ssh:// or file://",
    r"^-----BEGIN PUBLIC KEY-----\n": "a public key in PEM",
    r"^3\.[0-9]+$": "a version of Python such as '3.11'",
    r"^[0-9]+$": "digits",
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$": "a day such as 2026-07-13",
    r"^[0-9a-f]{40}$": _COMMIT_WORDS,
    r"^[0-9a-f]{40}" + _TEXT_END: _COMMIT_WORDS,
    r"^[0-9a-f]{40}([0-9a-f]{24})?$": f"{_COMMIT_WORDS}, or of 64",
    r"^([0-9a-f]{40}|unknown)$": f"{_COMMIT_WORDS}, or 'unknown'",
    r"^[0-9a-f]{64}$": _SHA256_WORDS,
    r"^[0-9a-f]{64}" + _TEXT_END: _SHA256_WORDS,
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": _NAME_WORDS,
    r"^[A-Za-z0-9][A-Za-z0-9._\[\],-]*(==[^\s=]+.*)?$": "a requirement such as 'torch' or 'torch==2.13.0'",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*" + _TEXT_END: _NAME_WORDS,
    r"^[A-Za-z0-9][A-Za-z0-9_.:-]*" + _TEXT_END: f"{_NAME_WORDS} (and ':' within)",
    r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$": "a module such as 'dreamerv3.rssm'",
    r"^[^/]+/.+$": "two names with / between them",
    r"^[^=]+=.+$": "a text such as 'name=value'",
    r"^[a-z0-9][a-z0-9_]*$": f"{_WORD_WORDS} that does not begin with '_'",
    r"^[a-z0-9_]+" + _TEXT_END: _WORD_WORDS,
    r"^[a-z][a-z0-9_-]*"
    + _TEXT_END: "a word of small letters, digits, '_' and '-' that begins with a letter",
    r"^[a-z_]+$": "a word of small letters and '_'",
}

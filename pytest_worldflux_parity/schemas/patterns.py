"""What the regular expressions of the schemas ask for, in words: no error line shows one."""

from __future__ import annotations

from collections.abc import Mapping

_NAME = "a name of letters, digits, '_', '.' and '-' that begins with a letter or digit"
_WORD = "a word of small letters, digits and '_'"
_PATH = "a path of / that stays in its folder"
_COMMIT = "a commit of 40 hexadecimal digits"
_SHA256 = "a sha256 of 64 hexadecimal digits"
_END = r"$(?!\n)"

PATTERNS: Mapping[str, str] = {
    r"^(?!/)(?!.*\\)(?!(.*/)?\.\.(/|$)).+$": _PATH,
    r"^(?!/)(?!.*\\)(?!(.*/)?\.\.(/|$)).+\.ya?ml" + _END: f"{_PATH}, of a .yaml file",
    r"^(https?|ssh|file)://\S+$": "an address that begins with https://, http://, ssh:// or file://",
    r"^-----BEGIN PUBLIC KEY-----\n": "a public key in PEM",
    r"^3\.[0-9]+$": "a version of Python such as '3.11'",
    r"^[0-9]+$": "digits",
    r"^[0-9a-f]{40}$": _COMMIT,
    r"^[0-9a-f]{40}" + _END: _COMMIT,
    r"^[0-9a-f]{40}([0-9a-f]{24})?$": f"{_COMMIT}, or of 64",
    r"^[0-9a-f]{64}$": _SHA256,
    r"^[0-9a-f]{64}" + _END: _SHA256,
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": _NAME,
    r"^[A-Za-z0-9][A-Za-z0-9._\[\],-]*(==[^\s=]+.*)?$": "a requirement such as 'torch' or 'torch==2.13.0'",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*" + _END: _NAME,
    r"^[A-Za-z0-9][A-Za-z0-9_.:-]*" + _END: f"{_NAME} (and ':' within)",
    r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$": "a module such as 'dreamerv3.rssm'",
    r"^[^/]+/.+$": "two names with / between them",
    r"^[^=]+=.+$": "a text such as 'name=value'",
    r"^[a-z0-9][a-z0-9_]*$": f"{_WORD} that does not begin with '_'",
    r"^[a-z0-9_]+" + _END: _WORD,
    r"^[a-z][a-z0-9_-]*" + _END: "a word of small letters, digits, '_' and '-' that begins with a letter",
    r"^[a-z_]+$": "a word of small letters and '_'",
}

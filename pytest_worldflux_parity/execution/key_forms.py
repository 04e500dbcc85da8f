"""Passwords, tokens and keys that a text shows by their form: one table, and names of what holds a secret.

Nothing is guessed from how a text looks by chance (its entropy): a hash, a seed or a run id is no key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_ANYWHERE = ("TOKEN", "SECRET", "PASSW", "CREDENTIAL", "APIKEY", "PRIVATE")
_WORDS = frozenset(["KEY", "KEYS", "PASS", "PWD", "PAT", "AUTH", "COOKIE", "SIGNATURE", "DSN"])
# Names of places that everybody has, which hold such a word all the same.
_HARMLESS = frozenset(["PWD", "OLDPWD", "SSH_AUTH_SOCK"])


def looks_secret(name: str) -> bool:
    """Whether the value of an environment variable of this name is to be kept back."""
    upper = name.upper()
    words = re.split(r"[^A-Z0-9]+", upper)
    return upper not in _HARMLESS and (
        any(part in upper for part in _ANYWHERE) or any(w in _WORDS for w in words) or upper.endswith("KEY")
    )


@dataclass(frozen=True)
class Form:
    """How one kind of key is told.

    Attributes:
        name: what it is called where it stood.
        hints: in small letters; a text that holds none of them holds no such key.
        pattern: of its group ``secret`` where it has one, else of all that it matches.
    """

    name: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where in a text such keys stand."""
        group = "secret" if "secret" in self.pattern.groupindex else 0
        return (match.span(group) for match in self.pattern.finditer(text))


def _form(name: str, hints: str, pattern: str) -> Form:
    return Form(name, tuple(hints.split()), re.compile(pattern))


# Not in the midst of a word.
_B = r"(?<![A-Za-z0-9_-])"
_SAID = (
    r"password|passwd|passphrase|api[_-]?key|secret[_-]?key|access[_-]?key|private[_-]?key|client[_-]?secret"
    r"|(?:access|auth|api|refresh|session)[_-]?token"
)
_SCHEME = r"(?:bearer|basic|token)"
# A value as it stands after a name, in JSON, YAML, a shell or a query; a placeholder is none.
_VALUE = r"(?P<secret>[^\s\"'\\,;&<>(){}\[\]]{8,})"
_ASSIGNED = r"(?:\\?[\"'])?[ \t]*[=:][ \t]*(?:\\?[\"'])?"

FORMS = (
    _form(
        "private_key",
        "private key-----",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)",
    ),
    _form("url_password", "://", r"://[^\s/:@\"'<>]*:(?P<secret>[^\s/@\"'<>]+)@"),
    _form("url_token", "://", r"://(?P<secret>[^\s/:@\"'<>]{16,})@"),
    _form("bearer_token", "bearer", r"(?i)\bbearer[ \t]+(?P<secret>[A-Za-z0-9._~+/-]{12,}=*)"),
    _form(
        "authorization",
        "authorization",
        rf"(?i)\bauthorization{_ASSIGNED}(?:{_SCHEME}[ \t]+)?(?!{_SCHEME}\b)(?P<secret>[\w.~+/-]{{4,}}=*)",
    ),
    _form(
        "github_token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        rf"{_B}(?:gh[pousr]_[A-Za-z0-9]{{16,}}|github_pat_\w{{22,}})",
    ),
    _form("gitlab_token", "glpat-", rf"{_B}glpat-[\w-]{{20,}}"),
    _form("openai_or_anthropic_key", "sk-", rf"{_B}sk-(?=[\w-]*\d)[\w-]{{20,}}"),
    _form("aws_access_key", "akia asia", rf"{_B}(?:AKIA|ASIA)[A-Z0-9]{{16}}(?![A-Za-z0-9])"),
    _form("google_api_key", "aiza", rf"{_B}AIza[\w-]{{35}}"),
    _form("google_oauth_token", "ya29.", rf"{_B}ya29\.[\w-]{{20,}}"),
    _form("slack_token", "xox", rf"{_B}xox[abeprs]-[A-Za-z0-9-]{{10,}}"),
    _form(
        "stripe_key",
        "sk_live_ sk_test_ rk_live_ rk_test_",
        rf"{_B}[sr]k_(?:live|test)_[A-Za-z0-9]{{16,}}",
    ),
    _form("hugging_face_token", "hf_", rf"{_B}hf_[A-Za-z0-9]{{30,}}"),
    _form("npm_token", "npm_", rf"{_B}npm_[A-Za-z0-9]{{36}}"),
    _form("pypi_token", "pypi-", rf"{_B}pypi-[\w-]{{50,}}"),
    _form("sendgrid_key", "sg.", rf"{_B}SG\.[\w-]{{16,}}\.[\w-]{{16,}}"),
    _form("json_web_token", "eyj", rf"{_B}eyJ[\w-]{{10,}}\.eyJ[\w-]{{10,}}\.[\w-]{{10,}}"),
    _form(
        "named_secret",
        "passw passphrase apikey api_key api-key secret token access_key access-key private_key private-key",
        rf"(?i)(?:{_SAID}){_ASSIGNED}(?![0-9]+\b){_VALUE}",
    ),
    # Such names are also those of words and files: it is no key without a letter and a digit.
    _form(
        "named_secret",
        "token secret",
        rf"(?i)(?<![A-Za-z0-9])(?:token|secret){_ASSIGNED}(?=\S*[A-Za-z])(?=\S*[0-9]){_VALUE}",
    ),
)


def known(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, name of the form) of every key that a text shows by its form; they may overlap."""
    small = text.lower()
    for form in FORMS:
        if any(hint in small for hint in form.hints):
            yield from ((start, end, form.name) for start, end in form.spans(text))

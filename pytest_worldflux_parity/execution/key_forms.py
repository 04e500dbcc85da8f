"""Passwords, tokens and keys that a text shows by their form: one table, and names of what holds a secret.

Nothing is guessed from how a text looks by chance alone: a hash, a seed or a run id is no key.
A pattern reads each character of a text a bounded number of times, whatever a program prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Characters of a value from which on it is looked for in documents too, and anywhere; a shorter one counts as
# a whole word, and so does one of letters alone, up to as many as words of English and of programs have.
ANYWHERE = 8
LONGEST_WORD = 15
_SECRET_PARTS = ("TOKEN", "SECRET", "PASSW", "CREDENTIAL", "APIKEY", "PRIVATE")
_SECRET_WORDS = frozenset(["KEY", "KEYS", "PASS", "PWD", "PAT", "AUTH", "COOKIE", "SIGNATURE", "DSN"])
# Names of places that everybody has, which hold such a word all the same.
_HARMLESS_NAMES = frozenset(["PWD", "OLDPWD", "SSH_AUTH_SOCK"])


def looks_secret(name: str) -> bool:
    """Whether the value of an environment variable of this name is to be kept back."""
    upper = name.upper()
    words = re.split(r"[^A-Z0-9]+", upper)
    return upper not in _HARMLESS_NAMES and (
        any(part in upper for part in _SECRET_PARTS)
        or any(w in _SECRET_WORDS for w in words)
        or upper.endswith(("KEY", "PWD"))
    )


def names_secret(name: str, value: str) -> bool:
    """Whether a variable that a suite gives a value shows a secret to the suite's readers.

    Placeholders, paths, words, digits alone and what is shorter than 8 characters are none.
    """
    text = re.sub(r"\{\w+\}", "", value).strip()
    told = len(text) >= ANYWHERE and not text.isdigit() and not text.startswith("/") and not is_word(text)
    return looks_secret(name) and told


def is_word(value: str) -> bool:
    """Whether a value may be a word by chance, and stand in an honest text: a name of a program, say."""
    return len(value) <= LONGEST_WORD and value.isascii() and value.isalpha()


@dataclass(frozen=True)
class Form:
    """How one kind of key is told.

    Attributes:
        name: what it is called where it stood.
        hints: in small letters; a text that holds none of them holds no such key.
        pattern: of its group ``secret`` where it has one, else of all that it matches.
        certain: whether it can be nothing else; a word that is called a password may be "not_required".
    """

    name: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    certain: bool = True

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where in a text such keys stand."""
        group = "secret" if "secret" in self.pattern.groupindex else 0
        return (match.span(group) for match in self.pattern.finditer(text))


def _key_form(name: str, hints: str, pattern: str, certain: bool = True) -> Form:
    # ASCII: what ends a key must be what keeps another from beginning.
    return Form(name, tuple(hints.split()), re.compile(pattern, re.ASCII), certain)


def looks_random(text: str) -> bool:
    """Whether a text holds 16 letters and digits in one, that change between cases and digits thrice or more.

    Words and versions do not (``embeddings20240101``, ``vqvae_16x16``), nearly all keys do.
    """
    return any(len(re.findall(r"[a-z]+|[A-Z]+|[0-9]+", run)) > 3 for run in _LONG_RUN.findall(text))


_LONG_RUN = re.compile(r"[A-Za-z0-9]{16,}")
# Behind a color of a terminal, or a character as JSON and URLs spell it, a word begins.
ESCAPE = (
    r"(?<=\\[abefnrtv])|(?<=\\x[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})|(?<=%[0-9A-Fa-f]{2})"
    r"|(?<=\[[mK])|(?<=[\[;][0-9][mK])|(?<=[\[;][0-9]{2}[mK])|(?<=[\[;][0-9]{3}[mK])"
)
# Not in the midst of a word; and, of what no word begins with, not in the midst of letters.
_B = rf"(?:(?<![A-Za-z0-9_-])|{ESCAPE})"
_L = rf"(?:(?<![A-Za-z0-9])|{ESCAPE})"
_SAID = (
    r"password|passwd|passphrase|api[_-]?key|(?:secret|access|account|private)[_-]?key|client[_-]?secret"
    r"|(?:access|auth|api|refresh|session)[_-]?token"
)
_SCHEME = r"(?:bearer|basic|token)"
# A value as it stands after a name, in JSON, YAML, a shell or a query; a placeholder is none.
_SIGNS = r"\s\"'\\,;&<>(){}\[\]"
_VALUE = rf"(?P<secret>[^{_SIGNS}]{{8,}})"
# The digest of an image is no host.
_AT = r"@(?!sha[0-9]+:)"
_ASSIGNED = r"(?:\\?[\"'])?[ \t]*[=:][ \t]*(?:\\?[\"'])?"

FORMS = (
    _key_form(
        "private_key",
        "private key-----",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)",
    ),
    _key_form("url_password", "://", rf"://[^\s/:@\"'<>]*:(?P<secret>[^\s/\"'<>]+){_AT}"),
    _key_form("url_token", "://", rf"://(?P<secret>[^\s/:@\"'<>]{{16,}}){_AT}", certain=False),
    _key_form(
        "bearer_token",
        "bearer",
        r"(?i)\bbearer[ \t]+(?=[A-Za-z._~+/-]{0,64}[0-9])(?P<secret>[A-Za-z0-9._~+/-]{12,}=*)",
        certain=False,
    ),
    _key_form(
        "authorization",
        "authorization",
        rf"(?i)\bauthorization{_ASSIGNED}(?:{_SCHEME}[ \t]+)?(?!{_SCHEME}\b)(?P<secret>[\w.~+/-]{{4,}}=*)",
        certain=False,
    ),
    _key_form(
        "github_token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        rf"{_L}(?:gh[pousr]_[A-Za-z0-9]{{16,}}|github_pat_\w{{22,}})",
    ),
    _key_form("gitlab_token", "glpat-", rf"{_L}glpat-[\w-]{{20,}}"),
    _key_form("openai_or_anthropic_key", "sk-", rf"{_B}sk-(?=[\w-]{{0,64}}?\d)[\w-]{{20,}}", certain=False),
    _key_form("aws_access_key", "akia asia", rf"{_L}(?:AKIA|ASIA)[A-Z0-9]{{16}}(?![A-Za-z0-9])"),
    _key_form("google_api_key", "aiza", rf"{_L}AIza[\w-]{{35}}"),
    _key_form("google_oauth_token", "ya29.", rf"{_L}ya29\.[\w-]{{20,}}"),
    _key_form("slack_token", "xox", rf"{_L}xox[abeprs]-[A-Za-z0-9-]{{10,}}"),
    _key_form(
        "stripe_key",
        "sk_live_ sk_test_ rk_live_ rk_test_",
        rf"{_L}[sr]k_(?:live|test)_[A-Za-z0-9]{{16,}}",
    ),
    _key_form("hugging_face_token", "hf_", rf"{_L}hf_[A-Za-z0-9]{{30,}}"),
    _key_form("npm_token", "npm_", rf"{_L}npm_[A-Za-z0-9]{{36}}"),
    _key_form("pypi_token", "pypi-", rf"{_L}pypi-[\w-]{{50,}}"),
    _key_form("sendgrid_key", "sg.", rf"{_L}SG\.[\w-]{{16,}}\.[\w-]{{16,}}"),
    _key_form("json_web_token", "eyj", rf"{_B}eyJ[\w-]{{10,}}\.eyJ[\w-]{{10,}}\.[\w-]{{10,}}"),
    _key_form(
        "named_secret",
        "passw passphrase key secret token",
        rf"(?i)(?:{_SAID}){_ASSIGNED}(?![0-9]+\b){_VALUE}",
        certain=False,
    ),
    # Such names are also those of words and files: it is no key without a letter and a digit.
    _key_form(
        "named_secret",
        "token secret",
        rf"(?i)(?<![A-Za-z0-9])(?:token|secret){_ASSIGNED}(?=[^{_SIGNS}A-Za-z]{{0,64}}[A-Za-z])"
        rf"(?=[^{_SIGNS}0-9]{{0,64}}[0-9]){_VALUE}",
        certain=False,
    ),
)


def find_keys(text: str, certain: bool = False) -> Iterator[tuple[int, int, str]]:
    """(start, end, name of the form) of every key that a text shows by its form; they may overlap.

    Args:
        certain: leave out what can be something else, and does not look random.
    """
    small = text.lower()
    for form in FORMS:
        if any(hint in small for hint in form.hints):
            for start, end in form.spans(text):
                if not certain or form.certain or looks_random(text[start:end]):
                    yield start, end, form.name

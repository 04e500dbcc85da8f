"""What must not leave the machine is found however it is written, and the rest of a text stays as it is."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.execution.cleaning import (
    Cleaner,
    cleaner,
    count_placeholders,
    words_of_contract,
)
from pytest_worldflux_parity.execution.key_forms import FORMS, find_keys, is_word, looks_secret

ENVIRON = {
    "HOME": "/data/me", "USER": "alice", "GITHUB_TOKEN": "hunter2-and-more", "DB_PASS": "abcd",
    "TOKENIZERS_PARALLELISM": "false", "EDITOR": "an-editor-that-is-no-secret",
}  # fmt: skip
CLEANER = cleaner(
    Path("/data/me/project"),
    Path("/data/me/project/reports/parity/r"),
    ENVIRON,
    ["python: /opt/conda/bin/python", "data: /data/me/games/asked"],
)
NO_HOST = Cleaner({}, {}, hosts=("node7.cluster", "node7"), users=("alice",))


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("GITHUB_TOKEN", True), ("AWS_SECRET_ACCESS_KEY", True), ("PGPASSWORD", True), ("api_key", True),
        ("OPENAI_APIKEY", True), ("GOOGLE_APPLICATION_CREDENTIALS", True), ("SSH_PRIVATE", True),
        ("DB_PASS", True), ("NPM_AUTH", True), ("GH_PAT", True), ("SENTRY_DSN", True), ("mykey", True),
        ("PATH", False), ("HOME", False), ("PWD", False), ("PATIENCE", False), ("AUTHOR", False),
        ("PGPWD", True), ("KEYBOARD", False), ("SSH_AUTH_SOCK", False), ("PASSAGE", False),
    ],
)  # fmt: skip
def test_names_that_look_like_secrets(name: str, secret: bool) -> None:
    assert looks_secret(name) is secret


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/data/me/project/a.py", "<root>/a.py"),
        ("/data/me/project/reports/parity/r/x", "<run>/x"),
        ("cd /data/me && ls", "cd <home> && ls"),
        ("in /data/me/project.", "in <root>."),
        ("/data/me/projects/a", "<home>/projects/a"),
        ("/data/meow/x", "<dir-d7bc77b2>/x"),
        ("/mnt/data/me/x", "<dir-1dd1179c>/x"),
        ('{"e":"no\\n/data/me/x"}', '{"e":"no\\n<home>/x"}'),
        ("file:///data/me/x", "file://<home>/x"),
        ("file:///other/place/x", "file://<dir-9e59bdec>/x"),
        ("-I/data/me/include --dir=/data/me/x", "-I<home>/include --dir=<home>/x"),
        ("PYTHONPATH=/data/me/project:/opt/other/lib", "PYTHONPATH=<root>:<dir-28800a4a>/lib"),
        ("/home/bob", "<dir-2cc974af>/<user>"),
        ("/scratch/alice ../alice/x", "<dir-ad861404>/<user> ../<user>/x"),
        ("login=alice of alice", "login=<user> of alice"),
        ("/opt/conda/bin/python -c", "/opt/conda/bin/python -c"),
        ("/data/me/games/asked", "/data/me/games/asked"),
        ("train/loss/x 1/2 and/or http://a.b/c/d", "train/loss/x 1/2 and/or http://a.b/c/d"),
        ("GET /health", "GET /health"),
        ("parallel: false, abcde", "parallel: false, abcde"),
        ("pass abcd.", "pass <redacted:DB_PASS>."),
        ("an-editor-that-is-no-secret", "an-editor-that-is-no-secret"),
        ("", ""),
    ],
)
def test_texts(text: str, clean: str) -> None:
    assert CLEANER.text(text) == clean
    assert CLEANER.text(clean) == clean, "what was cleaned is not changed again"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("on node7.cluster and node7:", "on <host> and <host>:"),
        ("alice@elsewhere.org bob@node7", "<user>@<host> <user>@<host>"),
        ("someone@example.org on mynode7, node70", "someone@example.org on mynode7, node70"),
    ],
)
def test_hosts_and_users(text: str, clean: str) -> None:
    assert NO_HOST.text(text) == clean
    assert NO_HOST.text(clean) == clean


def test_a_host_that_is_called_as_what_was_asked_is_none() -> None:
    """A task must not be renamed since a machine has its name."""
    named = Cleaner({}, {}, hosts=("walker",), kept=frozenset(["walker"]))
    assert named.document({"task": "walker"}) == {"task": "walker"}


def test_paths_that_differ_stay_different() -> None:
    assert CLEANER.data(b"/a/x/f.json") != CLEANER.data(b"/a/y/f.json")
    assert Cleaner({}, {}).data(b"/a/x/h.json") == b"<dir-30388766>/h.json", "the same in every run"


def test_bytes_that_are_no_text_stay() -> None:
    assert CLEANER.data(b"\xff\xfe /data/me/x") == b"\xff\xfe <home>/x"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *((sign, "") for sign in "!])*@+$"), ("/", ""), ("//nas", ""), ("nfs://", ""), ("sqlite:///", ""),
        ("ssh://me@nas.example.org", ""), ("rsync://nas", ""), ("#!", ""), ("[info]", ""), ("**", "**"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/home/bob/secret/x.py", "/scratch/bob/x.py", "/data/me/x.py"])
def test_a_path_is_found_behind_any_sign(path: str, before: str, after: str) -> None:
    text = f"see {before}{path}{after} now"
    clean = CLEANER.text(text)
    # Behind the name of a host it is no folder of this machine, whatever it is called.
    if "nas" not in before or not path.startswith("/data"):
        assert path.rpartition("/")[0] not in clean
        assert clean.startswith(f"see {before}<")
        assert clean.endswith(f"x.py{after} now")
    assert CLEANER.text(clean) == clean


@pytest.mark.parametrize("slash", ["\\/", "%2F", "%2f"])
def test_a_path_is_found_as_json_and_urls_spell_it(slash: str) -> None:
    text = "see " + "/scratch/bob/x.py".replace("/", slash)
    assert CLEANER.text(text) == f"see <dir-f3c8e124>{slash}x.py", "the folder's word as in plain"
    assert CLEANER.text(f"?u={text[4:]}&v=1") == f"?u=<dir-f3c8e124>{slash}x.py&v=1"


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/home/user/x", "http://data/a/b", "f(x)/grad/norm **/data/*.npz a[0]/b/c",
        "$/month/x @/components/home/x", "//comment/home a*b/c/d", "group%2Fhome%2Fx",
        "https://x.org/?u=https%3A%2F%2Fx.org%2Fhome%2Fa", "s3://bucket/home/a/b",
        "//cdn.example.org/lib/x.js",
    ],
)  # fmt: skip
def test_what_is_no_path_of_a_machine_stays(text: str) -> None:
    assert CLEANER.text(text) == text


SECRET = "hunter2-and-more"
SPELLED = {
    "other case": SECRET.upper(),
    "hex": SECRET.encode().hex(),
    "upper hex": SECRET.encode().hex().upper(),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "of a pair": base64.b64encode(f"user:{SECRET}".encode()).decode(),
    "amid others": base64.b64encode(f"{{'x': '{SECRET}'}}".encode()).decode(),
    "for URLs": base64.urlsafe_b64encode(f"?>?>{SECRET}?>?>".encode()).decode(),
}


@pytest.mark.parametrize("spelled", SPELLED.values(), ids=SPELLED.keys())
def test_a_value_is_found_however_it_is_encoded(spelled: str) -> None:
    assert CLEANER.text(f"login {spelled} done") == "login <redacted:GITHUB_TOKEN> done"
    assert "GITHUB_TOKEN" in CLEANER.secret_in({"metadata": {"x": [spelled]}})


ODD = "correct horse+battery/99&more"
SPELLED_ODD = {
    "a form": quote_plus(ODD),
    "a form within a URL": quote(quote_plus(ODD), safe=""),
    "a path of a URL": quote(ODD),
    "slashes of JSON": json.dumps(ODD).replace("/", "\\/")[1:-1],
    "JSON within HTML": json.dumps(ODD).replace("&", "\\u0026").replace("/", "\\u002F")[1:-1],
    "some of both": ODD.replace("&", "\\u0026").replace(" ", "%20"),
}


@pytest.mark.parametrize("spelled", SPELLED_ODD.values(), ids=SPELLED_ODD.keys())
def test_a_value_is_found_however_its_signs_are_spelled(spelled: str) -> None:
    clean = cleaner(Path("/p"), Path("/p/r"), {"DB_PASSWORD": ODD})
    assert clean.text(f"login {spelled} done") == "login <redacted:DB_PASSWORD> done"
    assert "DB_PASSWORD" in clean.secret_in({"metadata": {"x": spelled}})
    honest = ODD.replace("+", "-")
    assert clean.text(honest) == honest


LONG = "0aA1bB2cC3dD4eE5fF6gG7hH8iI9jJkKlLmMnNoOpPqQrRsStTuUvVwWxXyYzZ"
# Of each form one that is made up.
KEYS = {
    "private_key": "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----",
    "url_password": "https://me:pa55word@example.org/x",
    "url_token": f"https://{LONG[:20]}@example.org/x",
    "bearer_token": f"Bearer {LONG[:24]}",
    "authorization": "Authorization: Basic dXNlcjpw",
    "github_token": f"ghp_{LONG[:36]}",
    "gitlab_token": f"glpat-{LONG[:20]}",
    "openai_or_anthropic_key": f"sk-ant-api03-{LONG[:30]}",
    "aws_access_key": "AKIA0123456789ABCDEF",
    "google_api_key": f"AIza{LONG[:35]}",
    "google_oauth_token": f"ya29.{LONG[:30]}",
    "slack_token": "xoxb-123456789012-abcdefghij",
    "stripe_key": f"sk_live_{LONG[:24]}",
    "hugging_face_token": f"hf_{LONG[:34]}",
    "npm_token": f"npm_{LONG[:36]}",
    "pypi_token": f"pypi-{LONG}",
    "sendgrid_key": f"SG.{LONG[:22]}.{LONG[:43]}",
    "json_web_token": f"eyJ{LONG[:20]}.eyJ{LONG[:20]}.{LONG[:20]}",
    "named_secret": '"api_key": "abcdefghij"',
}


def test_every_form_has_an_example() -> None:
    assert {form.name for form in FORMS} == KEYS.keys()


@pytest.mark.parametrize("name", KEYS)
def test_a_key_is_known_by_its_form(name: str) -> None:
    assert name in {found for _, _, found in find_keys(KEYS[name])}
    plain = Cleaner({}, {})
    cleaned = plain.text(f"a {KEYS[name]} b")
    assert "<redacted:" in cleaned
    assert KEYS[name] not in cleaned
    assert plain.text(cleaned) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org:8080/a@b", "git@github.com:danijar/dreamerv3.git", "tokens: 123456789",
        "0b5a9c8a7d3e4f1b2c6d0b5a9c8a7d3e4f1b2c6d", "the bearer of news", "eos_token: <|endoftext|>",
        "task-1234567890123456789012", "sk-learn-something-or-other", "secret sauce", "seed=12345678",
        '{"key": "final_return_mean"}', "password: ", "monkey=business-as-usual",
    ],
)  # fmt: skip
def test_what_is_no_key(text: str) -> None:
    assert Cleaner({}, {}).text(text) == text
    assert Cleaner({}, {}).secret_in({"note": text}) == ""


def test_where_a_record_holds_a_secret_is_told_and_not_what_it_is() -> None:
    found = CLEANER.secret_in({"metadata": {"env": [{"x": 1}, {"GH": f"x{SECRET}x"}]}})
    assert found == "metadata.env[1].GH holds the value of GITHUB_TOKEN"
    named = CLEANER.secret_in({"metadata": {"wandb": {"api_key": LONG[:20]}}})
    assert named == "metadata.wandb.api_key holds what has the form of a named_secret"
    assert SECRET not in CLEANER.secret_in({"a": {SECRET: {"password": SECRET}}})
    long = {"": [1.5] * 200_000 + [{"b c": f"x{SECRET}x"}]}
    assert CLEANER.secret_in(long).startswith("[200000].b c holds")


def test_digits_and_short_words_do_not_make_a_record_fail() -> None:
    digits = cleaner(Path("/p"), Path("/p/r"), {"MY_PIN_SECRET": "123456789", "DB_PASS": "alpha"})
    document = {"task_id": "alpha", "seed": 123456789, "id": "123456789"}
    assert digits.secret_in(document) == ""
    assert digits.document({"task_id": "alpha"}) == {"task_id": "alpha"}


def test_what_lies_in_the_attempt_is_named_from_there() -> None:
    own = Cleaner({}, {"/p": "<root>"}, own="/p/r/attempt_1")
    assert own.document({"path": "/p/r/attempt_1/ckpt/a.pt"}) == {"path": "ckpt/a.pt"}
    assert own.document(["/p/r/attempt_2/a.pt"]) == ["<root>/r/attempt_2/a.pt"]


def test_a_file_of_a_secret_is_a_place(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text("{}", encoding="utf-8")
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")}
    found = cleaner(Path("/p"), Path("/p/r"), environ)
    assert found.secret_in({"metadata": {"credentials": str(tmp_path / "key.json")}}) == ""
    assert found.text(f"read {tmp_path}/key.json") == "read <redacted:GOOGLE_APPLICATION_CREDENTIALS>"


def test_what_was_taken_out_is_counted() -> None:
    text = CLEANER.text(f"/data/me/x /data/me/y {SECRET}")
    assert count_placeholders(text) == {"<home>": 2, "<redacted:GITHUB_TOKEN>": 1}
    assert count_placeholders("a <b> c") == {}


TOKEN = f"ghp_{LONG[:36]}"
OTHERS_TOKEN = f"hf_{LONG[:34]}"


@pytest.mark.parametrize("key", [TOKEN, OTHERS_TOKEN])
@pytest.mark.parametrize(
    "before", ["\x1b[32m", '{"m": "a\\n', "t%3D", "MY_", "--", "\\u001b[1;32m", "\\x1b[0m"]
)
def test_a_key_begins_behind_an_escape_and_a_name(before: str, key: str) -> None:
    assert CLEANER.text(f"{before}{key} b").startswith(f"{before}<redacted:")
    assert CLEANER.secret_in({"note": f"{before}{key}"})


SIGNS = "s3cr3t-Valu3/XY+z"
LINES = base64.encodebytes(b"x" * 40 + SIGNS.encode() + b"y" * 60).decode()


@pytest.mark.parametrize(
    "spelled",
    [
        quote(SIGNS),
        quote(quote(SIGNS, safe=""), safe=""),
        LINES,
        json.dumps(LINES),
        LINES.replace("\n", "\r\n"),
    ],
    ids=["as a path", "twice", "over lines", "in JSON", "of a mail"],
)
def test_a_value_is_found_in_urls_and_over_lines(spelled: str) -> None:
    """Base64 of more than 57 bytes is broken by those who write mails."""
    found = cleaner(Path("/p"), Path("/p/r"), {"MY_TOKEN": SIGNS})
    text = found.text(f"({spelled})")
    assert "<redacted:MY_TOKEN>" in text
    assert len(text) < 40, "all that was encoded with it is gone"
    assert "MY_TOKEN" in found.secret_in({"metadata": {"x": spelled}})


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://me:pa@ss1234@host/x", "https://me:<redacted:url_password>@host/x"),
        ("AccountKey=abcd1234/EFGH+abcd==;x", "AccountKey=<redacted:named_secret>;x"),
        ("%2Fdata%2Fme%2Fx p%3D%2fdata%2fme%2fx", "<home>%2Fx p%3D<home>%2fx"),
        ('"\\/data\\/me\\/x"', '"<home>\\/x"'),
        ("%2Fscratch%2Falice", "<dir-ad861404>%2F<user>"),
        ("\x1b[1m/data/me/x\x1b[0m", "\x1b[1m<home>/x\x1b[0m"),
    ],
)
def test_ordinary_spellings(text: str, clean: str) -> None:
    assert CLEANER.text(text) == clean
    assert CLEANER.text(clean) == clean


@pytest.mark.parametrize(
    "metadata",
    [
        {"container": "docker://tensorflow:2.16.1-gpu@sha256:abcd"},
        {"image": "docker://pytorch-dreamerv3-image@sha256:abcd"},
        {"tokenizer": {"mask_token": "extra_id_99"}},
        {"token": "vqvae_16x16"},
        {"token": "embeddings20240101"},
        {"package": "sk-learn-contrib-metric-learn-2024"},
        {"password": "not_required", "api_key": "unavailable", "authorization": "disabled"},
        {"note": "Bearer authentication failed"},
        {"db": "postgresql 15", "client": "postgres"},
    ],
    ids=str,
)
def test_an_honest_record_does_not_fail(metadata: dict[str, object]) -> None:
    found = cleaner(Path("/p"), Path("/p/r"), {"DB_PASSWORD": "postgres"})
    assert found.secret_in({"metadata": metadata}) == ""


def test_a_word_of_ours_is_never_looked_for() -> None:
    environ = {"CI_AUTH": "effective", "APP_KEY": "metadata", "MY_TOKEN": SECRET, "EDITOR": "metadata"}
    found = cleaner(Path("/p"), Path("/p/r"), environ)
    document = {"effective_recipe": {}, "metadata": {"effective": "metadata"}}
    assert found.secret_in(document) == ""
    assert found.document(document) == document
    assert words_of_contract(environ) == ["APP_KEY", "CI_AUTH"]


def test_a_plain_word_is_taken_out_alone() -> None:
    """It stands in other words, and in what was asked, by chance."""
    found = cleaner(Path("/p"), Path("/p/r"), {"DB_PASSWORD": "postgres", "MY_KEY": "cartpole"}, ["cartpole"])
    document = {"db": "postgresql", "client": "postgres", "task": "cartpole"}
    assert found.document(document) == {**document, "client": "<redacted:DB_PASSWORD>"}


def test_keys_stay_and_two_never_become_one() -> None:
    """They name what is judged: a metric must not be lost to the name of a machine or of a home folder."""
    named = Cleaner({}, {"/home/late": "<home>"}, hosts=("vm",), users=("late",))
    document = {
        "scalars": {"loss/late": 1.0, "vm.loss": 2.0},
        "/home/late/x": 1,
        "<home>/x": 2,
        "a/<user>": 3,
    }
    assert named.document(document) == document


# What made patterns read a text again and again.
WORST = {
    "names": "token=",
    "bearers": "bearer " * 3,
    "URLs": "://a:",
    "keys": "sk-",
    "tokens": "eyJ",
    "blanks": "password" + " " * 40,
    "BEGIN": "-----BEGIN AAAA",
    "accented keys": "\u00e9sk-",
    "escaped keys": "1msk-",
    "base64": base64.b64encode(SECRET.encode() * 3).decode(),
    "paths": "]/home/a",
    "hosts": "//a/home/a ",
    "spelled paths": "%2Fhome%2Fa",
    "slashes": "\\/home",
    "lines": "QUJDQUJDQUJDQUJDQUJD\n",
}


MOST = 2 << 20
PLAIN = "step 100 loss 0.1 in /data/me/project/x is return 12.3, bearer token secret password sk- eyJ ://\n"


def seconds(line: str) -> float:
    begun = time.perf_counter()
    CLEANER.text(line * (MOST // len(line)))
    return time.perf_counter() - begun


@pytest.fixture(scope="module")
def plain() -> float:
    return seconds(PLAIN)


@pytest.mark.parametrize("form", WORST.values(), ids=WORST.keys())
def test_cleaning_takes_as_long_as_a_text_is_long(form: str, plain: float) -> None:
    """A program that prints ``token=`` for megabytes holds no session: 180 KB took a minute."""
    assert seconds(form) < 8 * plain + 1


# What stands in a secret's place tells nothing: as a secret it would be found in its own place.
NEEDLES = st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=15).filter(
    lambda secret: secret.lower() not in "<redacted:x>"
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@example(document=None, secret="0000000\\", ascii_only=False)
@given(document=VALUES, secret=NEEDLES.filter(lambda s: len(s.strip()) >= 8), ascii_only=st.booleans())
def test_a_secret_in_any_document_is_found(document: object, secret: str, ascii_only: bool) -> None:
    clean = Cleaner({secret: "X"}, {})
    held = {"a": document, "b": f"({secret})"}
    text = clean.text(json.dumps(held, ensure_ascii=ascii_only))
    assert json.dumps(secret, ensure_ascii=ascii_only)[1:-1] not in text
    assert "<redacted:X>" in clean.document(held)["b"]
    assert bool(clean.secret_in({"b": secret})) is not (secret.isdigit() or is_word(secret))
    for encoded in (quote(secret, safe=""), base64.b64encode(secret.encode()).decode()):
        assert encoded not in clean.text(f"({encoded})")


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_numbers_and_what_names_nothing_stay(document: object) -> None:
    cleaned = Cleaner({}, {}, hosts=("some-host-name",)).document(document)
    text = json.dumps(document)
    if "/" not in text and ":" not in text and "=" not in text:
        assert cleaned == document

"""What is taken out of texts: a planted value survives in none of its forms, and nothing else is touched."""

from __future__ import annotations

import base64
import html
import json
import string
import urllib.parse
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chaos.redact import EVERYDAY, FIELDS, HOLD_CHARS, MARKER, Redactor
from chaos.secret_values import MIN_CHARS, forms, parts, secrets_in

TRICKY = string.ascii_letters + string.digits + "\"'\\<>&%+/=@:; \n\tüß字🔑$`{}[]"
VALUES = st.text(TRICKY, min_size=MIN_CHARS, max_size=120).map(str.strip).filter(
    lambda value: len(value) >= MIN_CHARS and len(set(value)) >= 4 and value.lower() not in EVERYDAY
    and not any(value in name for name in FIELDS)
)  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
PASSWORD = "tr0ub4dor&3 <\"'ü"  # noqa: S105 - nobody's


def redactor(*values: str | bytes) -> Redactor:
    """One that was told of these."""
    made = Redactor(b"salt")
    made.learn(values)
    return made


def wrapped(text: str, width: int) -> str:
    """In base64 as `base64 -w` writes it."""
    coded = base64.b64encode(text.encode()).decode()
    return "\n".join(coded[n : n + width] for n in range(0, len(coded), width))


FORMS = {
    "raw": lambda value: value,
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 with a newline": lambda value: base64.b64encode((value + "\n").encode()).decode(),
    "base64 for URLs": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "hex": lambda value: value.encode().hex(),
    "JSON": json.dumps,
    "JSON in UTF-8": lambda value: json.dumps(value, ensure_ascii=False),
    "JSON in JSON": lambda value: json.dumps(json.dumps({"said": value})),
    "URL": lambda value: urllib.parse.quote(value, safe=""),
    "URL path": urllib.parse.quote,
    "form": urllib.parse.quote_plus,
    "HTML": html.escape,
    "Python": repr,
    "bytes of Python": lambda value: repr(value.encode()),
    "YAML": lambda value: yaml.safe_dump({"value": value}, width=10**6, default_style='"', allow_unicode=True),
}


@settings(deadline=None)
@given(VALUES, st.sampled_from(sorted(FORMS)), TEXTS, TEXTS)
def test_a_planted_value_never_survives(value: str, form: str, before: str, after: str) -> None:
    """Whatever stands around it, and in whichever way it is written; nothing around it gets lost."""
    planted = FORMS[form](value)
    clean = redactor(value).text(before + planted + after)
    assert value not in clean
    assert planted not in clean
    assert MARKER.search(clean)
    core = base64.b64encode(value.encode()).decode()[: len(value.encode()) * 8 // 6]
    assert core not in clean


@settings(deadline=None)
@given(VALUES, TEXTS, TEXTS)
def test_nothing_but_the_value_is_lost(value: str, before: str, after: str) -> None:
    """What stands before and after it stays, unless the value reaches into it."""
    assume(not any(form in before + after for form in forms(value)))
    clean = redactor(value).text(f"{before} {value} {after}")
    assert clean.startswith(before[: max(0, len(before) - len(value))])
    assert clean.endswith(after[len(value) :])


@settings(deadline=None)
@given(VALUES, st.integers(0, 40), st.integers(0, 40))
def test_a_value_amid_other_bytes_in_base64_never_survives(value: str, before: int, after: int) -> None:
    """As a header of basic authorization, or a file that holds it, has it: at any of the three offsets."""
    whole = b"u" * before + value.encode() + b"x" * after
    clean = redactor(value).text(base64.b64encode(whole).decode())
    found = MARKER.search(clean)
    assert found
    left = clean[: found.start()], clean[found.end() :]
    kept = sum(len(part.rstrip("=")) * 6 // 8 for part in left)
    assert kept <= before + after + 2, "at most a byte of it at each end, and that not whole"


@pytest.mark.parametrize("width", [64, 76])
def test_a_wrapped_value_never_survives(width: int) -> None:
    """A key of many lines in base64 is broken over lines; none of its lines is left."""
    value = "".join(f"{number} {number**7}," for number in range(30))
    clean = redactor(value).text(wrapped(value, width))
    assert len(wrapped(value, width).splitlines()) > 4
    assert max(len(rest) for rest in MARKER.split(clean)) <= 6


@settings(deadline=None)
@given(st.lists(VALUES, max_size=5), TEXTS, st.randoms())
def test_again_changes_nothing(values: list[str], text: str, random: Any) -> None:
    """What was redacted is stored as it is when it is redacted once more."""
    pieces = [FORMS[form](value) for value in values for form in ("raw", "base64", "JSON")] + [text, "password=a"]
    random.shuffle(pieces)
    made = redactor(*values, "a")
    once = made.text("".join(pieces))
    assert made.text(once) == once


@settings(deadline=None)
@given(st.lists(VALUES, max_size=3), TEXTS)
def test_a_text_without_secrets_is_unchanged(values: list[str], text: str) -> None:
    """Not a character is touched where no form of any value is in it."""
    assume(not any(form in text for value in values for part in parts(value) for form in forms(part)))
    assert redactor(*values).text(text) == text


@settings(max_examples=60, deadline=None)
@given(VALUES, st.sampled_from(sorted(FORMS)), st.integers(-60, 10), st.lists(st.integers(1, 9000), max_size=8))
def test_a_stream_cut_anywhere_lets_nothing_through(value: str, form: str, shift: int, cuts: list[int]) -> None:
    """The value is found across the borders of pieces, and everything else arrives whole and in order."""
    planted = FORMS[form](value)
    filler = "x.\n" * HOLD_CHARS
    text = filler[: HOLD_CHARS + shift] + planted + filler[: HOLD_CHARS + 7] + planted + "end"
    stream = redactor(value).stream()
    begin, turn = 2 * HOLD_CHARS, 0  # then all but the last HOLD_CHARS are certain, and the border is near the value
    out = [stream.feed(text[:begin])]
    while begin < len(text):
        size = cuts[turn % len(cuts)] if cuts else len(text)
        out.append(stream.feed(text[begin : begin + size]))
        begin, turn = begin + size, turn + 1
    clean = "".join([*out, stream.end()])
    assert planted not in clean
    assert value not in clean
    assert clean == redactor(value).text(text)


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("Authorization: Basic dXNlcjpodW50ZXIyaHVudGVyMg==\n", "dXNlcjpodW50ZXIyaHVudGVyMg=="),
        ("mongodb://app:hunter2hunter2@db/x\n", "hunter2hunter2"),
        ("--token hunter2hunter2\n", "hunter2hunter2"),
        ("password=weakling\n", "=weakling"),
    ],
)
def test_a_stream_is_not_cut_between_a_secret_and_what_tells_of_it(line: str, hidden: str) -> None:
    """Without the words around it nobody would know it: they stay together wherever the border would be."""
    made = redactor("weakling")
    made.spare(["the-weakling"])
    for shift in range(len(line) + 2):
        text = ("x.\n" * HOLD_CHARS)[: HOLD_CHARS - shift] + "\n" + line + "y.\n" * HOLD_CHARS
        stream = made.stream()
        out = [stream.feed(text[: 2 * HOLD_CHARS]), stream.feed(text[2 * HOLD_CHARS :]), stream.end()]
        assert out[0]
        assert hidden not in "".join(out)


def test_a_stream_hands_on_what_is_certain() -> None:
    """Memory does not grow with the stream."""
    stream = redactor(PASSWORD).stream()
    out = [stream.feed("a line of a log\n" * 64) for _ in range(1000)]
    assert len("".join(out)) > 1000 * 1024 - 3 * HOLD_CHARS


def test_the_same_value_has_the_same_marker_and_another_has_another() -> None:
    """So a checker that compares two texts still sees whether they are equal; other sessions' markers differ."""
    made = redactor(PASSWORD, "another-pass-1")
    first, again, other = (MARKER.search(made.text(t)) for t in (PASSWORD, f"in {PASSWORD}", "another-pass-1"))
    assert first
    assert again
    assert other
    assert first[0] == again[0] != other[0]
    other_session = Redactor()
    other_session.learn([PASSWORD])
    assert other_session.text(PASSWORD) != first[0]


CREDENTIALS = {
    "JWT": "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJlLW9mLWl0",
    "key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7x\nQzZb\n-----END RSA PRIVATE KEY-----",
    "bearer": "Bearer 8a7sd98f7asd98f7as98d7f",
    "header": '"Authorization": ["Basic dXNlcjpodW50ZXIy"]',
    "URL": "mongodb://username:password@mongodb-service:27017",
    "kubeadm": "--token abcdef.0123456789abcdef",
    "kubeconfig": "client-key-data: LS0tLS1CRUdJTiBSU0E=",
}
TELLING = ["0123456789abcdef", "c2lnbmF0dXJl", "MIIEow", "QzZb", "8a7sd98", "dXNlcjpodW50", ":password@", "LS0tLS1"]


@pytest.mark.parametrize("name", CREDENTIALS)
def test_credentials_that_nobody_told_of(name: str) -> None:
    """They are known by their shape; what stands around them is kept."""
    clean = Redactor().text(f"before {CREDENTIALS[name]} after")
    assert not [part for part in TELLING if part in clean]
    assert clean.startswith("before ")
    assert clean.endswith(" after")
    assert MARKER.search(clean)


PLAIN = """\
2026-11-21T15:00:00.000000000Z stdout: basic authentication needed, bearer authentication is not
Environment:
  MONGO_INITDB_ROOT_PASSWORD:  <set to the key 'mongo-root-password' in secret 'mongodb-secret'>  Optional: false
  ME_CONFIG_BASICAUTH:         false
Image: docker.io/library/mongo:7.0@sha256:0011223344556677, http://127.0.0.1:30080/ and https://[::1]:6443
password authentication failed for username; the token is missing
-----BEGIN CERTIFICATE-----
"""


def test_everyday_values_do_not_shred_a_text() -> None:
    """The documented user and password of the mongo stack, and values such as "a" or "true": a text stays readable."""
    made = redactor("username", "password", "a", "true", "false", "00000000", "27017", "mongodb-secret")
    made.spare(["mongodb-secret"])
    assert made.text(PLAIN) == PLAIN


@pytest.mark.parametrize(
    "leak",
    [
        "password=password",
        '{"password": "password"}',
        "TOKEN: a",
        "cGFzc3dvcmQ=",
        "dHJ1ZQ==",
        "YWRtaW4K",
        "YWRtaW4=",
        '\\"secret\\":\\"a\\"',
    ],
)
def test_everyday_values_are_taken_out_where_a_name_tells(leak: str) -> None:
    """Behind a telling name, and in base64, where they are no words any more."""
    clean = redactor("password", "a", "true", "admin\n").text(f"before {leak} after")
    assert MARKER.search(clean), clean
    assert clean.startswith("before ")
    assert clean.endswith(" after")


def test_part_of_a_public_name_is_spared() -> None:
    """A Secret that holds a Service's name must not take the Service out of the report, whenever it was told of."""
    made = redactor("mongodb-service")
    assert made.text("to mongodb-service") != "to mongodb-service"
    made.spare(["the-mongodb-service-headless"])
    assert made.text("to mongodb-service") == "to mongodb-service"


def test_a_history_keeps_the_names_of_its_fields() -> None:
    """A Secret that holds one, or a part of one, leaves a history that can be judged again."""
    state = {"restarts": 1, "observed_generation": 2, "ready_replicas": 3}
    assert redactor("restarts", "generation", "replicas").value(state) == state


def test_lines_and_strings_of_a_value_count_too() -> None:
    """A file of settings is printed line by line, and a JSON value as what is in it."""
    settings_file = "user: somebody\nexport DB_PASS='gr33n-tea-now'\n"
    config = json.dumps({"auths": {"registry": {"password": "oolong-4-two"}}})
    clean = redactor(settings_file, config).text("gr33n-tea-now, oolong-4-two, user: somebody")
    assert len(MARKER.findall(clean)) == 3
    assert MARKER.sub("", clean) == ", , "


def test_bytes_that_are_no_text() -> None:
    """A binary key is taken out in base64 and in hex."""
    key = bytes(range(200, 232))
    clean = redactor(key).text(f"{base64.b64encode(key).decode()} {key.hex()}")
    assert MARKER.sub("", clean) in (" ", "= ")


def test_a_value_is_found_in_json_values_and_keys() -> None:
    """In every string of it, however deep; numbers and shapes stay."""
    value = {"a": [PASSWORD, 12, None, {PASSWORD: True}], "b": (PASSWORD,)}
    clean = redactor(PASSWORD).value(value)
    assert PASSWORD not in repr(clean)
    assert clean["a"][1:3] == [12, None]
    assert list(clean["a"][3].values()) == [True]


def test_what_objects_of_kubernetes_hold() -> None:
    """Secrets' data decoded, text as it is, literals of variables whose name tells, wherever they stand."""
    secret = {"kind": "Secret", "data": {"k": base64.b64encode(b"decoded-1").decode(), "bad": "%%"}}
    secret["stringData"] = {"s": "as-it-is-2"}
    environment = [{"name": "DB_PASSWORD", "value": "literal-3"}, {"name": "LEVEL", "value": "debug"}]
    pod = {"kind": "Pod", "spec": {"containers": [{"env": environment}]}}
    assert set(secrets_in([secret, pod, {"kind": "Secret"}])) == {b"decoded-1", "%%", "as-it-is-2", "literal-3"}


def test_a_large_text_is_quick_enough_to_be_read_through() -> None:
    """Ten values, a hundred forms: the search does not depend on how many records there are, only on their length."""
    made = redactor(*(f"value-{number}-{number**9}" for number in range(10)))
    line = "2026-11-21T15:00:00.000000000Z stdout F 10.0.0.1 GET /identity HTTP/1.1 200 web-1\n"
    assert made.text(line * 20_000) == line * 20_000

"""Redaction's promises: deterministic typed markers, idempotent, JSON stays JSON, nothing passes on an error."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import time
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spanfold.exporter import detectors
from spanfold.exporter.errors import RuleInvalid
from spanfold.exporter.redact import FAILED, Redactor
from spanfold.exporter.redaction_rules import BUILT_IN, MAX_RULES, Rule

REDACTOR = Redactor(BUILT_IN, hash_key=b"k" * 32)
AWS, GITHUB = "AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1B2" * 9
KNOWN = {  # value -> (marker, rule)
    "joe@example.com": ("[EMAIL]", "email"),
    "4111 1111 1111 1111": ("[CARD]", "card"),
    "378282246310005": ("[CARD]", "card"),
    "219-09-9999": ("[SSN]", "ssn"),
    "GB82 WEST 1234 5698 7654 32": ("[IBAN]", "iban"),
    "203.0.113.7": ("[IP]", "ipv4"),
    "2001:db8:85a3::8a2e:370:7334": ("[IP]", "ipv6"),
    "+44 20 7946 0861": ("[PHONE]", "phone"),
    "(202) 555-0143": ("[PHONE]", "phone"),
    AWS: ("[AWS_KEY]", "aws_key"),
    GITHUB: ("[GITHUB_TOKEN]", "github_token"),
    "sk-ant-api03-" + "Ab1-" * 20: ("[ANTHROPIC_KEY]", "anthropic_key"),
    "sk-proj-" + "Ab1_" * 20: ("[OPENAI_KEY]", "openai_project_key"),
    "glpat-abcDEF123456789012ab": ("[API_KEY]", "provider_key"),
}


@pytest.mark.parametrize("value", KNOWN)
def test_values_become_typed_markers(value: str) -> None:
    """The value goes, the words around it stay, and the hit is counted under its rule (TB-029, TC-012)."""
    marker, rule = KNOWN[value]
    assert REDACTOR.text(f"Say {value}, please.") == (f"Say {marker}, please.", {rule: 1})


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Authorization: Bearer abcdef1234567890", "Authorization: Bearer [BEARER_TOKEN]"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: Basic [BEARER_TOKEN]"),
        ("postgres://svc:5yizFNZAO6vY6I@db.example.com:5432/app", "postgres://[URL_LOGIN]@db.example.com:5432/app"),
        ("ssh://git@example.com/x and git@example.com:x", "ssh://git@example.com/x and git@example.com:x"),
        ("DB_PASSWORD=s3cr3tpass other", "DB_PASSWORD=[SECRET] other"),
        ("'api_key': 'abc123def456'", "'api_key': '[SECRET]'"),
        ("password = get_password(user); token: str = None", "password = get_password(user); token: str = None"),
        ("next_page_token: abc123xyz", "next_page_token: abc123xyz"),
        ("-----BEGIN PRIVATE KEY-----\nMIIabc\ndef\n-----END PRIVATE KEY-----\nx", "[PRIVATE_KEY]\nx"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIabc", "[PRIVATE_KEY]"),
        ("12 4111 1111 1111 1111", "12 [CARD]"),
        ("4111111111111111,5500000000000004", "[CARD],[CARD]"),
        ("foo@2x.png, foo@1.2.3, @dataclass", "foo@2x.png, foo@1.2.3, @dataclass"),
        ("127.0.0.1, 10.0.0.0/8, v1.2.3.4, A/120.0.0.0", "127.0.0.1, 10.0.0.0/8, v1.2.3.4, A/120.0.0.0"),
        ("请联系foo@bar.com谢谢", "请联系[EMAIL]谢谢"),
        ("call me at 28-64-66-98 or call 3 on 2026-11-20", "call me at [PHONE] or call 3 on 2026-11-20"),
        ("manager on 655 437 108 office", "manager on [PHONE] office"),
        ("manager on (351) 918487333 office", "manager on [PHONE] office"),
        ("Tél : 22-64-59-85, bureau 06 12 34 56 78", "Tél : [PHONE], bureau [PHONE]"),
        ("+1-381-613-5119x718 or (202) 555-0147x12", "[PHONE]x718 or [PHONE]x12"),
        ("ssh root@203.0.113.7, lodash@4.17.21", "ssh root@[IP], lodash@4.17.21"),
        ("我的资料是203.0.113.7谢谢", "我的资料是[IP]谢谢"),
        ("ip:2001:db8::1:2 a1:2001:db8::1:2 std::2001::x", "ip:[IP] a1:2001:db8::1:2 std::2001::x"),
        ("口座GB82 WEST 1234 5698 7654 32です", "口座[IBAN]です"),
        ("card 4111_1111_1111_1111", "card [CARD]"),
        ("SSN-219-09-9999, SSN: 219.09.9999, TIN: 219099999", "SSN-[SSN], SSN: [SSN], TIN: [SSN]"),
        ("order-219-09-9999, martin-219-09-9999, 219.09.9999", "order-219-09-9999, martin-219-09-9999, 219.09.9999"),
        ("passwd: tiBfDADyzRWAcVdF", "passwd: [SECRET]"),
        (
            "token: CancellationTokenSource, token: OAuthTokenURI",
            "token: CancellationTokenSource, token: OAuthTokenURI",
        ),
        ("dbPassword: Sup3rSecret1 PGPASSWORD=Sup3rSecret1", "dbPassword: [SECRET] PGPASSWORD=[SECRET]"),
        ("my password is Hunter2x9, the token is required", "my password is [SECRET], the token is required"),
        ('password := "Tr0ub4dor&34;x" and', 'password := "[SECRET]" and'),
        ("a=1&password=abc123x&b=2", "a=1&password=[SECRET]&b=2"),
        ("f(password=abc123x, user=y)", "f(password=[SECRET], user=y)"),
        ("\x1b[1;31m219-09-9999\x1b[0m 12:30", "\x1b[1;31m[SSN]\x1b[0m 12:30"),
        ("\\u001b[31m219-09-9999\\u001b[0m", "\\u001b[31m[SSN]\\u001b[0m"),
        ("got x\\neyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefghijk", "got x\\n[JWT]"),
    ],
)
def test_what_surrounds_a_value_stays(text: str, redacted: str) -> None:
    """Only the secret part of a header, URL or assignment goes; code, versions and file names stay."""
    assert REDACTOR.text(text)[0] == redacted


def test_no_hit_means_none_and_the_same_object() -> None:
    """The fast path neither copies nor counts."""
    value = {"role": "user", "parts": [{"type": "text", "content": "nothing here"}]}
    assert REDACTOR.texts(["nothing", "x joe@example.com", ""]) == [None, ("x [EMAIL]", {"email": 1}), None]
    redacted, counts = REDACTOR.value(value)
    assert redacted is value
    assert counts == {}


def test_overlapping_hits_become_one() -> None:
    """A JWT in a bearer header is one marker; no piece of either is left."""
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcDEF123-_x"
    assert REDACTOR.text(f"Bearer {token}") == ("Bearer [JWT]", {"jwt": 1})


# ---- JSON ------------------------------------------------------------------------------------------------------------
def test_json_texts_stay_json() -> None:
    """Escapes beside a value, numbers and nested arguments: the text is JSON before and after, other bytes stay."""
    inner = json.dumps({"to": "joe@example.com", "card": 4111111111111111})
    text = '{"a":  "line\\njoe@example.com",\n "n": [1, 2.50], "args": ' + json.dumps(inner) + ', "phone": 2025550143}'
    redacted, counts = REDACTOR.text(text)
    assert redacted == (
        '{"a":  "line\\n[EMAIL]",\n "n": [1, 2.50], "args": '
        + json.dumps('{"to": "[EMAIL]", "card": "[CARD]"}')
        + ', "phone": "[PHONE]"}'
    )
    assert json.loads(json.loads(redacted)["args"])["card"] == "[CARD]"
    assert counts == {"email": 2, "card": 1, "phone": 1}


def test_a_telling_key_says_what_its_value_is() -> None:
    """{"password": ...} and {"phone": ...} are found though key and value are two strings."""
    value = {"password": "hunter2abc", "user": {"phone": "28-64-66-98", "age": 41}, "retries": 20255501}
    assert REDACTOR.value(value) == (
        {"password": "[SECRET]", "user": {"phone": "[PHONE]", "age": 41}, "retries": 20255501},
        {"password": 1, "phone": 1},
    )


def test_keys_are_redacted_and_stay_distinct() -> None:
    """Two keys that become one marker do not swallow each other's values."""
    assert REDACTOR.value({"joe@example.com": 1, "jim@example.com": 2, "x": 3}) == (
        {"[EMAIL]": 1, "[EMAIL] #2": 2, "x": 3},
        {"email": 2},
    )
    assert REDACTOR.text('{"joe@example.com":1,"[EMAIL]":{"joe@example.com":2},"jim@example.com":3}')[0] == (
        '{"[EMAIL] #2":1,"[EMAIL]":{"[EMAIL]":2},"[EMAIL] #3":3}'
    )


def test_many_values_are_redacted_as_one_by_one() -> None:
    """The batch form gives each object its own counts."""
    objs: list[Any] = [{"content": "joe@example.com"}, "clean", ["a", ("203.0.113.7", None)], 4111111111111111, None]
    assert REDACTOR.values(objs) == [REDACTOR.value(obj) for obj in objs]
    assert [counts for _, counts in REDACTOR.values(objs)] == [{"email": 1}, {}, {"ipv4": 1}, {"card": 1}, {}]


def test_a_value_split_over_stream_pieces_is_found() -> None:
    """Neighbouring text parts are looked at as one text; their number stays."""
    pieces = ["my card is 41", "11 1111", " 1111", " 1111, thanks"]
    parts = [{"type": "text", "content": piece, "n": i} for i, piece in enumerate(pieces)]
    redacted, counts = REDACTOR.value({"parts": [*parts, {"type": "image", "uri": "x"}]})
    assert [part.get("content") for part in redacted["parts"]] == ["my card is [CARD]", "", "", ", thanks", None]
    assert counts == {"card": 1}


@pytest.mark.parametrize(
    "value",
    [
        *[v for v in KNOWN if v != "joe@example.com"],
        "hf_" + "abcdEFGH" * 5,
        "Bearer abcDEF123456xyz",
        "passwd=abcDEF123456xyz",
    ],
)
def test_a_value_may_be_split_at_any_place(value: str) -> None:
    """Wherever a stream cuts it: none of it stays, whether it came in two pieces or in pieces of four characters."""
    for cut in range(1, len(value)):
        assert _together(f"Say {value[:cut]}", f"{value[cut:]}, please") == REDACTOR.text(f"Say {value}, please")[0]
    fours = [value[at : at + 4] for at in range(0, len(value), 4)]
    assert _together("Say ", *fours, ", please") == REDACTOR.text(f"Say {value}, please")[0]


def test_a_streamed_json_answer_is_one_text() -> None:
    """Pieces of JSON are pieces; a piece that is JSON of its own is not."""
    assert _together('{"said": "my card is 41', '11 1111 1111 1111"}') == '{"said": "my card is [CARD]"}'
    assert _together('{"said": 41}', "11 1111 1111 1111") == '{"said": 41}11 1111 1111 1111'


def _together(*pieces: str) -> str:
    """What neighbouring text parts say after redaction."""
    redacted, _ = REDACTOR.value([{"type": "text", "content": piece} for piece in pieces])
    return "".join(part["content"] for part in redacted)


# ---- disguises -------------------------------------------------------------------------------------------------------
_PLAIN = ["joe@example.com", "4111 1111 1111 1111", "219-09-9999", "(202) 555-0143", AWS, GITHUB]
_TRICKS = {
    "full width": lambda v: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in v),
    "zero width": lambda v: v[: len(v) // 2] + "\u200b" + v[len(v) // 2 :],
    "soft hyphen": lambda v: v[:2] + "\u00ad" + v[2:],
    "json escapes": lambda v: "".join(f"\\u{ord(c):04x}" for c in v),
    "percent": lambda v: "".join(f"%{ord(c):02X}" for c in v),
    "html entities": lambda v: "".join(f"&#{ord(c)};" for c in v),
    "base64": lambda v: base64.b64encode(v.encode()).decode(),
    "url-safe base64": lambda v: base64.urlsafe_b64encode(b"the value is " + v.encode()).decode().rstrip("="),
    "base64 of percent": lambda v: base64.b64encode("".join(f"%{ord(c):02x}" for c in v).encode()).decode(),
    "gzip, base64": lambda v: base64.b64encode(gzip.compress(v.encode())).decode(),
    "line break": lambda v: v[: len(v) // 2] + "\n" + v[len(v) // 2 :],
    "windows line break": lambda v: v[: len(v) // 2] + "\r\n" + v[len(v) // 2 :],
}


@pytest.mark.parametrize("trick", _TRICKS)
@pytest.mark.parametrize("value", _PLAIN)
def test_disguised_values_are_found(value: str, trick: str) -> None:
    """The disguise goes with the value, whole; what stands around it stays."""
    hidden = _TRICKS[trick](value)
    assert REDACTOR.text(f"user said: {hidden} ok") == (f"user said: {KNOWN[value][0]} ok", {KNOWN[value][1]: 1})
    nested = json.dumps({"arguments": json.dumps({"q": f"say {hidden} ok"})})
    redacted = json.loads(json.loads(REDACTOR.text(nested)[0])["arguments"])
    assert redacted == {"q": f"say {KNOWN[value][0]} ok"}


def test_columns_of_numbers_are_not_one_number() -> None:
    """Eight digits a line are a table, not cards cut in two."""
    text = "51129163\n41051101\n51129163\n41051101"
    assert REDACTOR.text(text) == (text, {})


def test_images_are_not_decoded() -> None:
    """A data URL of an image holds no words, whatever its bytes spell."""
    image = "data:image/png;base64," + base64.b64encode(b"joe@example.com is here").decode()
    assert REDACTOR.text(image) == (image, {})


# ---- algebra ---------------------------------------------------------------------------------------------------------
_NOISE = [
    "and", "x", " ", "\n", "\\n", ".", ",", "@", "-", "://", "[EMAIL]", "[CARD]", "[", "password: ", "é", "数", '"',
    "{", "}", "%20", "\\", "phone ", "12", "Bearer ",
    "_", " is ", "x12", "Tél ", "\x1b[31m", "token", "ABSK", "-us1", "1//0", "06 12 34 56 78",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from([*KNOWN, *_NOISE]), max_size=12).map("".join) | st.text(max_size=60)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_redacting_twice_changes_nothing(text: str) -> None:
    """redact(redact(x)) == redact(x), and the second time counts nothing."""
    once, _ = REDACTOR.text(text)
    assert REDACTOR.text(once) == (once, {})


@settings(max_examples=150, deadline=None)
@given(JSONS)
def test_json_values_keep_their_shape(value: Any) -> None:
    """As objects and as texts: valid JSON of the same shape, and redacting twice changes nothing."""

    def shape(node: Any) -> Any:
        if isinstance(node, dict):
            return [shape(item) for item in node.values()]
        return [shape(item) for item in node] if isinstance(node, list) else None

    once, _ = REDACTOR.value(value)
    assert shape(once) == shape(value)
    assert REDACTOR.value(once) == (once, {})
    text, _ = REDACTOR.text(json.dumps([value]))  # a bare number is a text as any other
    assert shape(json.loads(text)) == shape(json.loads(json.dumps([value])))


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("%20GB82 WEST 1234 5698 7654 32\\n")
def test_the_first_look_hides_no_hit(text: str) -> None:
    """Rules whose own pattern is their prefilter find nothing in what the prefilters let pass."""
    redacted, _ = REDACTOR.text(text)
    assert _UNFILTERED.text(redacted) == (redacted, {})


_UNFILTERED = Redactor([dataclasses.replace(rule, pattern=f"(?:{rule.pattern})") for rule in BUILT_IN])


def test_many_texts_are_redacted_as_one_by_one() -> None:
    """Few texts and many take different ways to the same answer."""
    texts = [f"{i} {value} {i * 7919}" for i in range(30) for value in [*KNOWN, "nothing", "\\u006aoe@example.com"]]
    assert REDACTOR.texts(texts) == [REDACTOR.texts([text])[0] for text in texts]


# ---- columns and identifiers -----------------------------------------------------------------------------------------
def test_column_counts_rows_and_names_them() -> None:
    """Distinct values are looked at once; totals count rows, nulls stay null."""
    column = pa.array(["a", "joe@example.com", None, "b", "joe@example.com x 203.0.113.7", "joe@example.com"])
    redacted, counts, changed = REDACTOR.column(column)
    assert redacted.to_pylist() == ["a", "[EMAIL]", None, "b", "[EMAIL] x [IP]", "[EMAIL]"]
    assert counts == {"email": 3, "ipv4": 1}
    assert changed.tolist() == [1, 4, 5]
    assert redacted.type == column.type


def test_clean_and_empty_columns_come_back_as_they_are() -> None:
    """No hit, no rows, only nulls: the same array."""
    for column in (pa.array(["a", None]), pa.array([], pa.string()), pa.array([None], pa.string())):
        redacted, counts, changed = REDACTOR.column(column)
        assert redacted is column
        assert (counts, changed.tolist()) == ({}, [])


def test_identifiers_that_are_personal_become_joinable_hashes() -> None:
    """An e-mail as user id is hashed, alike in every spelling; ids, UUIDs and hex stay (None)."""
    hashed = REDACTOR.identifier("Joe@Example.com")
    assert hashed is not None
    assert len(hashed) == 18
    assert hashed.startswith("u_")
    assert int(hashed[2:], 16) >= 0
    assert REDACTOR.identifier("joe@example.com") == hashed
    assert REDACTOR.identifier(hashed) is None
    assert Redactor(BUILT_IN, hash_key=b"x" * 32).identifier("joe@example.com") != hashed
    plain = ["user-17", "550e8400-e29b-41d4-a716-446655440000", "2c3f9e63688b7a4040571b7395a8f887", "42", ""]
    assert [REDACTOR.identifier(value) for value in plain] == [None] * 5
    column = REDACTOR.identifiers(pa.array(["joe@example.com", None, "user-17"]))
    assert column.to_pylist() == [hashed, None, None]


def test_identifiers_need_a_key() -> None:
    """An unkeyed hash of an e-mail address can be guessed: refused."""
    with pytest.raises(ValueError, match="hashed with a key"):
        Redactor(BUILT_IN).identifier("joe@example.com")


# ---- rules -----------------------------------------------------------------------------------------------------------
def test_switched_off_redaction_changes_nothing() -> None:
    """`enabled=False` is for trusted test data: texts, values, columns and identifiers pass."""
    off = Redactor(BUILT_IN, enabled=False)
    column = pa.array(["joe@example.com"])
    assert off.text("joe@example.com") == ("joe@example.com", {})
    assert off.value(["joe@example.com"]) == (["joe@example.com"], {})
    assert off.column(column)[0] is column
    assert off.identifier("joe@example.com") is None


def test_rules_are_data() -> None:
    """A rule may be switched off, replaced or added without code (TB-030)."""
    rules = [dataclasses.replace(rule, enabled=False) if rule.name == "email" else rule for rule in BUILT_IN]
    rules.append(Rule("ticket", r"\bTICKET-(\d+)", None, "[TICKET]"))
    assert Redactor(rules).text("joe@example.com TICKET-17 203.0.113.7") == (
        "joe@example.com TICKET-[TICKET] [IP]",
        {"ticket": 1, "ipv4": 1},
    )
    assert Redactor([Rule("name", "(?i)^alice", None, "[NAME]")]).text("Alice, alice")[0] == "[NAME], alice"


def test_a_detector_may_come_from_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Custom redactors run beside the built-ins (TB-031); an unknown name is an error that lists the known ones."""
    rule = Rule("even", r"\d+", "even", "[EVEN]")
    with pytest.raises(RuleInvalid, match="no detector 'even'; known: email, ip, luhn"):
        Redactor([rule])
    known = {**detectors.DETECTORS, "even": lambda value, *_: [] if int(value) % 2 else [(0, len(value))]}
    monkeypatch.setattr(detectors, "DETECTORS", known)
    assert Redactor([rule]).text("1 2 33 44")[0] == "1 [EVEN] 33 [EVEN]"


def test_a_failing_detector_lets_nothing_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail closed: the text it choked on is replaced whole, the others are redacted as ever."""

    def choke(value: str, before: str, after: str) -> list[tuple[int, int]]:
        raise RuntimeError(value)

    monkeypatch.setattr(detectors, "DETECTORS", {**detectors.DETECTORS, "choke": choke})
    redactor = Redactor([*BUILT_IN, Rule("boom", "boom", "choke", "[BOOM]")])
    assert redactor.texts(["a boom joe@example.com", "joe@example.com", "x"]) == [
        (FAILED, {"redaction_failed": 1}),
        ("[EMAIL]", {"email": 1}),
        None,
    ]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Rule("r", r"(a)\1", None, "[X]"), "RE2 refuses the pattern"),
        (Rule("r", r"a(?=b)", None, "[X]"), "RE2 refuses the pattern"),
        (Rule("r", "a*", None, "[X]"), "matches an empty text"),
        (Rule("r", "a" * 3000, None, "[X]"), "longer than 2000 characters"),
        (Rule("r", "a", None, "gone"), r"must look like \[NAME\]"),
        (Rule("r", "a", None, ""), r"must look like \[NAME\]"),
    ],
)
def test_unsafe_rules_are_refused(rule: Rule, why: str) -> None:
    """What RE2 cannot run in linear time, or what would not be idempotent, is refused by name."""
    with pytest.raises(RuleInvalid, match=f"rule 'r': .*{why}"):
        Redactor([rule])


def test_the_number_of_rules_is_bounded() -> None:
    """Enabled rules are limited; switched-off ones do not count."""
    many = [Rule(f"r{i}", f"x{i}", None, "[X]") for i in range(MAX_RULES + 1)]
    with pytest.raises(RuleInvalid, match="201 redaction rules are enabled"):
        Redactor(many)
    assert Redactor([*many[1:], dataclasses.replace(many[0], enabled=False)]).text("x9!")[0] == "[X]!"


# ---- speed -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "a@" * 50_000,
        "1 " * 50_000,
        "GB12" * 25_000,
        "-----BEGIN PRIVATE KEY-----" * 4_000,
        "\\u0041" * 20_000,
        "4111 1111 1111 1112 é " * 5_000,
        "+1 2 3 4 5 6 7 8 9 0 1 2 3 4x " * 4_000,
        '{"a":' * 20_000,
    ],
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    """100 KB of near-misses cost seconds at the very worst, not minutes."""
    start = time.process_time()
    REDACTOR.text(text)
    assert time.process_time() - start < 5


@pytest.mark.slow
def test_clean_texts_pass_fast() -> None:
    """20,000 unique clean texts: the goal is 100 MB/s on one core; the floor here forgives a busy machine."""
    words = ["".join(chr(97 + (i * k) % 26) for k in range(3, 9)) for i in range(1, 4000)]
    texts = [" ".join(words[(i * 31 + k * 17) % len(words)] for k in range(200)) for i in range(20_000)]
    start = time.process_time()
    assert REDACTOR.texts(texts) == [None] * len(texts)
    assert sum(map(len, texts)) / (time.process_time() - start) > 50e6

"""Exact checks behind the patterns: a pattern finds candidates, a detector says which part of one is really meant.

A detector takes (value, before, after): what the pattern caught and up to `CONTEXT` characters on either side. It
returns the ranges of `value` to redact, none for a false alarm. A package may add its own by an entry point of the
group `spanfold.detectors`. All work on short texts, so Python's `re` is safe here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from itertools import pairwise

from spanfold.exporter.errors import RuleInvalid
from spanfold.exporter.phone_numbers import phone

CONTEXT = 64
Detector = Callable[[str, str, str], list[tuple[int, int]]]
ENTRY_POINTS = "spanfold.detectors"

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_TOKEN_TAIL, _TOKEN_HEAD = re.compile(r"[0-9A-Za-z-]*\Z"), re.compile(r"[0-9A-Za-z-]*")
_DIGITS = re.compile(r"\d+")
_WORD_ENDS = re.compile(r"[0-9A-Za-z]\Z")  # scripts without spaces put a number right behind a word
_GOES_ON_BEFORE, _GOES_ON_AFTER = re.compile(r"[0-9A-Za-z]\Z|\d[.\-]\Z"), re.compile(r"[0-9A-Za-z]|\.\d")
_CARD_WORDS = re.compile(
    r"card|credit|debit|visa|master|maestro|amex|payment|\bpan\b|\bcc\b|billing|carte|karte|tarjeta|charge|atm\b|cvv",
    re.I,
)
_SSN_WORDS = re.compile(r"ssn|\bsocial\b|social.?sec|\bsin\b|tax.?id|taxpayer|\bi?tin\b", re.I)
_ADDRESS_WORDS = re.compile(r"\bip|addr|host|client|server|dns|from|peer|://\Z", re.I)
_IPV6_BEGINS = re.compile(r"(?:[\w.]|(?:^|[^A-Za-z])[0-9A-Fa-f]{0,4}:)\Z", re.A)  # before what is seen of an address
_IN_URL_LOGIN = re.compile(r"://[^\s/@]*:\Z")

# Issuer prefix -> lengths (ISO/IEC 7812; public BIN tables). `True` = believed without a word near it.
_CARD_SHAPES = (
    (re.compile(r"4"), {16: True, 13: False, 19: False}),  # Visa
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), {16: True}),  # Mastercard
    (re.compile(r"3[47]"), {15: True}),  # American Express
    (re.compile(r"30[0-5]|3095|3[689]"), {14: True, 16: False}),  # Diners Club
    (re.compile(r"6011|64[4-9]|65"), {16: True, 19: False}),  # Discover
    (re.compile(r"35(?:2[89]|[3-8])"), {16: True, 19: False}),  # JCB
    (re.compile(r"35"), {16: False}),  # test numbers of JCB, outside its range
    (re.compile(r"2131|1800"), {15: True}),  # JCB, older
    (re.compile(r"62|81|220[0-4]|60|82"), {16: True, 17: False, 18: False, 19: False}),  # UnionPay, Mir, RuPay
    (re.compile(r"5[0678]|6[0-9]"), {16: True, **dict.fromkeys((12, 13, 14, 15, 17, 18, 19), False)}),  # Maestro
)

# Length by country (SWIFT IBAN registry).
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip

# What looks like the end of an e-mail address and is the end of a file or unit name.
_NOT_DOMAINS = frozenset({
    "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "js", "mjs", "cjs", "ts", "tsx", "jsx", "css", "scss",
    "html", "json", "yaml", "yml", "toml", "rst", "txt", "pyc", "rb", "go", "java", "php", "whl", "gz", "tar",
    "service", "socket", "target", "timer", "mount", "slice", "scope",
})  # fmt: skip
_USUAL_DOMAINS = frozenset({
    "com", "org", "net", "edu", "gov", "mil", "int", "info", "biz", "name", "pro", "dev", "app", "cloud", "online",
    "site", "shop", "store", "tech", "xyz", "email", "mail", "example", "test", "invalid", "localhost", "local",
    "internal",
})  # fmt: skip
_PLACEHOLDERS = re.compile(
    r"\A(?:[$%<{\[*]|\.\.\.|x{4}|your|my[-_]|example|changeme|os\.|self\.|process\.|env)|\(|\A[\w.]+\[", re.I
)

_DELIMITER, _PIECES = re.compile(r"[,;&)}\]]"), re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_NO_SECRET_TOKEN = re.compile(
    r"(?:page|next|cursor|continuation|max|min|pad|eos|bos|unk|sep|mask|stop)[_\-]?token\W{1,6}\Z", re.I
)


def luhn_valid(digits: str) -> bool:
    """ISO/IEC 7812-1 check digit."""
    total = 0
    for i, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if i % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def iban_valid(iban: str) -> bool:
    """Length of its country and ISO 7064 mod-97 of an IBAN without spaces, upper case."""
    if len(iban) != _IBAN_LENGTHS.get(iban[:2]):
        return False
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


def card(value: str, before: str, after: str) -> list[tuple[int, int]]:
    """A payment card number at the start of a run of digit groups: issuer, length, grouping and Luhn all hold."""
    if _number_goes_on(before, after) or _in_uuid(value, before, after):
        return []
    groups = list(_DIGITS.finditer(value))
    for count in range(len(groups), 0, -1):
        lengths = [len(group[0]) for group in groups[:count]]
        digits = "".join(group[0] for group in groups[:count])
        grouped = count == 1 or (min(lengths[:-1]) >= 4 and max(lengths) <= 8 and lengths[-1] >= 3)
        if 12 <= len(digits) <= 19 and grouped and luhn_valid(digits):
            sure = _card_shape(digits)
            if sure or (sure is False and _CARD_WORDS.search(f"{before} {after}")):
                return [(0, groups[count - 1].end())]
    return []


def _card_shape(digits: str) -> bool | None:
    """None: no issuer has such numbers. False: some do, but it takes a word near it to believe it."""
    found = [
        lengths[len(digits)] for prefix, lengths in _CARD_SHAPES if prefix.match(digits) and len(digits) in lengths
    ]
    return max(found) if found else None


def iban(value: str, before: str, after: str) -> list[tuple[int, int]]:
    """An IBAN at the start of the value; what follows its country's length is not part of it."""
    length = _IBAN_LENGTHS.get(value[:2].upper(), 0)
    at = [i for i, c in enumerate(value) if c.isalnum()]
    if not length or len(at) < length or _WORD_ENDS.search(before):
        return []
    end = at[length - 1] + 1
    following = (value[end:] + after)[:1]
    whole = "".join(value[i] for i in at[:length]).upper()
    return [(0, end)] if iban_valid(whole) and not (following.isascii() and following.isalnum()) else []


def ssn(value: str, before: str, after: str) -> list[tuple[int, int]]:
    """A US social security number (or ITIN); without hyphens only beside a word that says so."""
    digits = "".join(_DIGITS.findall(value))
    if digits[:3] in ("000", "666") or digits[3:5] == "00" or digits[5:] == "0000":
        return []
    named = re.search(r"\b(?:ssn|i?tin)-\Z", before, re.I)
    if _number_goes_on(before, after) or re.match(r"-\w", after) or (re.search(r"\w-\Z", before) and not named):
        return []
    return [(0, len(value))] if "-" in value or _SSN_WORDS.search(before) else []


def ip_address(value: str, before: str, after: str) -> list[tuple[int, int]]:
    """An address of one host: no version, network, netmask, loopback or unspecified address."""
    text = value.rstrip(".:") if ":" in value else value
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return []
    if address.is_loopback or address.is_unspecified or (address.is_multicast and address.version == 6):
        return []
    if address.version == 4:
        dotted = re.search(r"\w\.\Z|\w\Z|[\w.]-\Z", before, re.A) or re.match(r"\.?\w|-\d", after, re.A)
        version = re.search(r"(?:\bv|versions?|releases?|build|[=~<>!^]=)[\s:=\"']*\Z", before, re.I)
        if dotted or version or text.endswith(".0.0") or text.startswith(("255.", "0.")):
            return []
        if len(text) == 7 and not _ADDRESS_WORDS.search(before):
            return []  # 7.9.2.2 is a section more often than a host
    elif _IPV6_BEGINS.search(before) or re.match(r"[\w:]", after, re.A) or max(map(len, text.split(":"))) < 3:
        return []  # the last: pairs of digits are a time or a fingerprint
    return [(0, len(text))]


def email(value: str, before: str, after: str) -> list[tuple[int, int]]:
    """An e-mail address; not a file or unit name, the `git@` of a remote, or the password of a URL."""
    local, _, domain = value.partition("@")
    top = domain.rpartition(".")[2].lower()
    if top in _NOT_DOMAINS or (local == "git" and after[:1] in (":", "/")) or _IN_URL_LOGIN.search(before):
        return []
    skipped = len(local) - len(local.lstrip(".-%+'"))
    return [(skipped, len(value))] if skipped < len(local) else []


def known_domain(address: str) -> bool:
    """Whether an address ends in a usual top-level domain: asked where two lines were put together."""
    top = address.rpartition(".")[2].lower()
    return top in _USUAL_DOMAINS or (len(top) == 2 and top.isascii() and top not in _NOT_DOMAINS)


def secret(value: str, before: str, after: str) -> list[tuple[int, int]]:
    """A random-looking value: letters and digits (or signs) mixed, no placeholder, no piece of code."""
    text = value.rstrip(".:!?")
    if len(text) < 6 or _PLACEHOLDERS.search(text) or _NO_SECRET_TOKEN.search(before):
        return []
    letters = any(c.isalpha() for c in text)
    others = any(c.isdigit() for c in text) or any(c in "!#$%^*+?~|" for c in text) or _is_jumbled(text)
    return [(0, len(text))] if letters and others and len(set(text)) >= 5 else []


def _is_jumbled(text: str) -> bool:
    """Letters alone, whose case turns more often than it does in names (of 19,289 names in source code, 0.5 %)."""
    return len(text) >= 12 and text.isascii() and text.isalpha() and len(text) < 3 * len(_PIECES.findall(text))


def password(value: str, before: str, after: str) -> list[tuple[int, int]]:
    """What a name says is secret: up to the closing quote where there is an opening one, else up to a delimiter."""
    return secret(value if before.endswith(('"', "'", "`")) else _DELIMITER.split(value, 1)[0], before, after)


def token(value: str, before: str, after: str) -> list[tuple[int, int]]:
    """The rest of a provider key behind its prefix: long, with digits, not words joined by hyphens."""
    digits = sum(c.isdigit() for c in value)
    turns = sum(a.islower() and b.isupper() for a, b in pairwise(value))  # random letters turn often, names seldom
    return [(0, len(value))] if digits + turns >= 2 + (not digits) and len(set(value)) >= 10 else []


def url_login(value: str, before: str, after: str) -> list[tuple[int, int]]:
    """User and password of a URL, or a token in their place; a bare user name stays."""
    user, colon, password = value.partition(":")
    known = password.startswith(("$", "{", "<")) or (not colon and (len(user) < 16 or not secret(user, "", "")))
    return [] if known else [(0, len(value))]


DETECTORS: Mapping[str, Detector] = {
    "luhn": card, "mod97": iban, "ssn": ssn, "ip": ip_address, "email": email, "phone": phone, "secret": secret,
    "password": password, "token": token, "url_login": url_login,
}  # fmt: skip


def find_detector(name: str) -> Detector:
    """A built-in detector, else the entry point of that name. Raises RuleInvalid when there is neither."""
    if name in DETECTORS:
        return DETECTORS[name]
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        loaded: Detector = entry.load()
        return loaded
    raise RuleInvalid(
        f"there is no detector {name!r}; known: {', '.join(sorted(DETECTORS))}, or an entry point of {ENTRY_POINTS}"
    )


def _number_goes_on(before: str, after: str) -> bool:
    """The digits are part of a longer number, word or decimal."""
    return bool(_GOES_ON_BEFORE.search(before) or _GOES_ON_AFTER.match(after))


def _in_uuid(value: str, before: str, after: str) -> bool:
    tail, head = _TOKEN_TAIL.search(before), _TOKEN_HEAD.match(after)
    return bool(_UUID.search((tail[0] if tail else "") + value + (head[0] if head else "")))

"""What is redacted: rules as data, the built-in ones, and what a cheap look must see before a rule can hit.

A pattern is RE2 (linear time whatever the text). If it has a group, only what the first group caught is replaced. The
order is the priority: where hits overlap, the earlier rule names the marker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import re2

from spanfold.exporter.errors import RuleInvalid

MAX_PATTERN_CHARS = 2000
MAX_RULES = 200
_BEYOND_RE2 = re.compile(r"\(\?<?[=!]|\(\?>|\\[1-9]|\(\?P=|[+*?}]\+")
_NOT_RE2 = (
    "; it has no look-around, back-references, atomic groups or possessive repeats, because they can take exponential "
    "time: match more, and put what is to be replaced in a group"
)
_MARKER = re.compile(r"\[[A-Za-z0-9_ :+-]{1,40}\]")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `detector` names a check of detectors.py or of a package; `replacement` is a marker in brackets."""

    name: str
    pattern: str
    detector: str | None
    replacement: str
    enabled: bool = True


def check_rule(rule: Rule) -> None:
    """Raises RuleInvalid, saying why, for a rule that cannot be run safely."""
    if not _MARKER.fullmatch(rule.replacement):
        raise RuleInvalid(
            f"rule {rule.name!r}: the replacement must look like [NAME], so that it is never redacted again"
        )
    if len(rule.pattern) > MAX_PATTERN_CHARS:
        raise RuleInvalid(f"rule {rule.name!r}: the pattern is longer than {MAX_PATTERN_CHARS} characters")
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(rule.pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        hint = _NOT_RE2 if _BEYOND_RE2.search(rule.pattern) else ""
        raise RuleInvalid(f"rule {rule.name!r}: RE2 refuses the pattern: {reason}{hint}") from None
    if compiled.search("") is not None:
        raise RuleInvalid(f"rule {rule.name!r}: the pattern matches an empty text")


_TOKEN = r"[A-Za-z0-9_\-]"
_SECRET_KEYS = (
    r"passw(?:or)?d|passwd|pwd|passphrase|secret|secret[_\-]?key|api[_\-]?secret|client[_\-]?secret|api[_\-]?key|apikey"
    r"|access[_\-]?key|secret[_\-]?access[_\-]?key|private[_\-]?key|account[_\-]?key|encryption[_\-]?key|signing[_\-]?key"
    r"|(?:auth|access|refresh|bearer|session|id|api|bot|security|csrf)[_\-]?token|authorization|x-api-key|credentials?"
)
# Between the name of a secret and its value.
_SAYS = r"(?:\\?[\"']?\s{0,3}(?:=>|:=|[:=])|\s(?:is|was):?)\s{0,3}\\?[\"'`]?"
_OTHER_KEYS = (
    r"glpat-[\w\-]{20,}|gsk_\w{40,}|xai-\w{40,}|pplx-\w{40,}|r8_\w{30,}|co-[A-Za-z0-9]{40}|fc-[a-f0-9]{32}|npm_\w{36}|pypi-AgE[\w\-]{40,}|nvapi-[\w\-]{40,}"
    r"|SG\.[\w\-]{16,}\.[\w\-]{30,}|dop_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|sq0(?:csp|atp)-[\w\-]{22,}"
    r"|(?:sk|rk)_(?:live|test)_\w{16,}|whsec_\w{24,}|SK[0-9a-f]{32}|dapi[0-9a-f]{32}|[sp]k-lf-[0-9a-f\-]{36}"
    r"|lsv2_(?:pt|sk)_\w{32,}|lin_api_\w{32,}|ntn_\w{40,}|hvs\.[\w\-]{24,}|glsa_\w{32,}|NRAK-[A-Z0-9]{27}|sbp_[a-f0-9]{40}"
    r"|PMAK-[\w\-]{50,}|tvly-[\w\-]{20,}|fw_\w{22,}|ya29\.[\w\-]{30,}|GOCSPX-[\w\-]{28}|AGE-SECRET-KEY-1[0-9A-Z]{50,}"
    r"|EAA[A-Za-z0-9]{80,}|[0-9]{8,10}:AA[\w\-]{33}|dp\.(?:pt|st)\.\w{40,}|sl\.[\w\-]{100,}|AccountKey=[A-Za-z0-9+/]{80,}={0,2}"
    r"|https://hooks\.slack\.com/(?:services|workflows)/[\w/]{20,}|https://discord(?:app)?\.com/api/webhooks/\d+/[\w\-]{30,}"
    r"|tgp_v1_[\w\-]{30,}|csk-[a-z0-9]{40,}|vck_\w{40,}|sntry[su]_[\w+/=]{40,}|figd_[\w\-]{30,}|CFPAT-[\w\-]{40,}"
    r"|\w{14}\.atlasv1\.[\w\-]{50,}|ATATT3[\w\-=]{100,}|shippo_(?:live|test)_[a-f0-9]{30,}|rubygems_[a-f0-9]{40,}"
    r"|oy2[a-z0-9]{43}|ph[cxs]_\w{40,}|jina_[\w\-]{40,}|pcsk_\w{40,}|e2b_[a-f0-9]{32,}|SharedAccessKey=[A-Za-z0-9+/]{40,}={0,2}"
    r"|(?:EAAA|EAAAl)[\w\-]{56,}|[MNO][A-Za-z\d]{23,27}\.[\w\-]{6}\.[\w\-]{27,}|AKCp[A-Za-z0-9]{60,}|dckr_pat_[\w\-]{20,}"
    r"|sig=[A-Za-z0-9%+/]{40,}|key-[0-9a-f]{32}|xkeysib-[a-f0-9]{60,}\w*(?:-\w+)?|sk_[a-f0-9]{40,}|pul-[a-f0-9]{40}"
    r"|AC[0-9a-f]{32}:[0-9a-f]{32}|ops_eyJ[\w\-=]{60,}|(?:cohere|voyage|mistral)[^\n]{0,20}\bpa-[\w\-]{30,}"
    r"|ABSK[A-Za-z0-9+/]{100,}={0,2}|AQ\.Ab[\w\-]{40,}|1//0[\w\-]{40,}|sb_secret_[\w\-]{20,}|gl(?:dt|rt|ptt|soat|cbt)-[\w\-]{20,}"
    r"|hv[br]\.[\w\-]{24,}|pat\w{14}\.[0-9a-f]{64}|LTAI\w{16,}|\w{3}8Q~[\w~.\-]{31,}|do[or]_v1_[a-f0-9]{64}|glc_[\w+/=]{32,}"
    r"|dt0c01\.\w{24}\.\w{60,}|fm2_[\w+/=]{60,}|HRKU-[\w\-]{36,}|sq[pua]_[a-f0-9]{40}|bkua_[a-f0-9]{40}|pscale_(?:tkn|pw|oauth)_[\w\-.]{32,}"
    r"|[0-9a-f]{32}-us\d{1,2}|v1\.0-[0-9a-f]{24}-[0-9a-f]{146}"
)

BUILT_IN: tuple[Rule, ...] = (
    Rule(
        "private_key",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?s:.*?)-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|[A-Za-z0-9+/=\s\\:,.\-]*)",
        None, "[PRIVATE_KEY]",
    ),
    Rule("url_login", r"\b[A-Za-z][A-Za-z0-9+.\-]{1,20}:\\?/\\?/([^\s/?#\"'<>\\]{1,500})@", "url_login", "[URL_LOGIN]"),
    Rule("jwt", rf"\beyJ{_TOKEN}{{8,}}\.(?:eyJ)?{_TOKEN}{{6,}}(?:\.{_TOKEN}+){{1,3}}", None, "[JWT]"),
    Rule("anthropic_key", rf"\bsk-ant-{_TOKEN}{{20,}}", None, "[ANTHROPIC_KEY]"),
    Rule("openai_key", r"\bsk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}", None, "[OPENAI_KEY]"),
    Rule("openai_project_key", rf"\bsk-{_TOKEN}{{20,}}", "token", "[OPENAI_KEY]"),
    Rule("aws_key", r"\b(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA|ANVA|ABIA|ACCA)[A-Z0-9]{16}\b", None, "[AWS_KEY]"),
    Rule("github_token", r"\b(?:gh[oprsu]_[A-Za-z0-9]{36,255}|github_pat_\w{22,255})", None, "[GITHUB_TOKEN]"),
    Rule("google_api_key", rf"\bAIza{_TOKEN}{{35}}", None, "[GOOGLE_API_KEY]"),
    Rule("slack_token", rf"\bx(?:ox[a-z](?:\.xox[a-z])?|app)-{_TOKEN}{{10,}}", "token", "[SLACK_TOKEN]"),
    Rule("huggingface_token", r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}", None, "[HF_TOKEN]"),
    Rule("provider_key", rf"\b(?:{_OTHER_KEYS})", "token", "[API_KEY]"),
    Rule(
        "bearer_token",
        r"(?i:\b(?:bearer|basic|authorization:\s?token|x-api-key:?)\s+)([A-Za-z0-9._~+/\-]{12,}={0,2})",
        "secret", "[BEARER_TOKEN]",
    ),
    Rule(
        "password",
        rf"(?:(?i:(?:^|[^a-z])(?:[a-z0-9]+[_\-.])?(?:{_SECRET_KEYS}|token))|[a-z](?:Pass(?:word|wd|phrase)|Pwd|Secret|Token|Api_?Key)"
        rf"|\b(?:PGPASSWORD|MYSQL_PWD)){_SAYS}"
        r"([^\s\"'`<>\\\x{3000}-\x{303F}\x{FF00}-\x{FFEF}]{6,500})",
        "password", "[SECRET]",
    ),
    Rule("iban", r"(?i:\b[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]){11,32})", "mod97", "[IBAN]"),
    Rule("card", r"\d(?:(?:[ \-._/]|[ \t]{1,2})?\d){11,30}", "luhn", "[CARD]"),
    Rule("ssn", r"\d{3}-\d{2}-\d{4}|\d{3}[ .]\d{2}[ .]\d{4}|\d{9}", "ssn", "[SSN]"),
    Rule("ipv4", r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", "ip", "[IP]"),
    Rule(
        "ipv6",
        r"(?i:\b(?:(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}|(?:[23][0-9a-f]{3}|f[cde][0-9a-f]{2})(?::[0-9a-f]{0,4}){2,7}))",
        "ip", "[IP]",
    ),
    Rule(
        "email",
        r"(?:[\p{Latin}0-9._%+'\-]+|[\p{Cyrillic}0-9._%+\-]+)@(?:[\p{Latin}\p{Cyrillic}0-9\-]+\.)+"
        r"(?:xn--[a-z0-9\-]+|\p{Latin}{2,24}|\p{Cyrillic}{2,24})",
        "email", "[EMAIL]",
    ),
    Rule("phone", r"[+(]{0,2}\d(?:[ \t\-./()]{0,3}\d){6,24}", "phone", "[PHONE]"),
)  # fmt: skip


_BREAK = r"(?:\s|\\+[nr]){0,2}"  # a line break, also as JSON writes it, also in a string of a string


def _spread(literal: str) -> str:
    """The literal, with a line break allowed anywhere inside: a value may be split over two lines."""
    return _BREAK.join(re.escape(c) for c in literal)


_GAP = r"(?:[ \t\r\n\-]|\\+[nr]){0,3}"  # between digits of a number, split over lines or not
_CARD_GAP = r"(?:[ \t\r\n\-._/]|\\+[nr]){0,3}"
_PHONE_GAP = r"(?:[ \t\r\n\-./()_]|\\+[nr]){0,3}"
_WORD_START = r"(?:^|[^0-9A-Za-z]|\\[nrt])"
_START = r"(?:(?:^|[^0-9])\.|^|[^0-9A-Za-z.]|\\[nrt])"  # of a number: not inside a hex id or a decimal
_SEPARATOR = rf"(?:{_BREAK}[ \-]{_BREAK}|\\+[nr])"
_STRONG_PHONE_WORDS = (
    r"phone|\btel\b|_tel\b|mobile|\bfax|whatsapp|\bsms|msisdn|hotline|t[eé]l[eé]f|\bt[eé]l\b|handynummer|电话|手机|電話"
    r"|\b(?:call|reach|contact|ring) (?:me|us|him|her|them|you)\b|\bdial\b|\ba call (?:at|on)\b"
    r"|\b(?:my|your|his|her|our|contact|new|home|work|office) number"
)
_WEAK_PHONE_WORDS = (
    r"\b(?:call|reach|ring|dial|contact|text me|answering|cell|number|pager|(?:reached|available|message) (?:at|on))\b"
)
_GROUPED_DIGITS = r"\d{1,5}\)?[ \-./]{1,2}\(?\d{2}"
SEVEN_DIGITS = rf"{_START}\d(?:{_PHONE_GAP}\d){{6}}"
NUMBERS = frozenset({"card", "ssn", "phone"})
_IBAN_COUNTRIES = (  # but those that a hex id may begin with: their accounts have digits only
    "A[LTZ]|B[GHIRY]|C[HRYZ]|D[JKO]|E[GS]|F[IKOR]|G[BEILRT]|H[NRU]|I[ELQST]|JO|K[WZ]|L[BCITUVY]|M[CDEKNRTU]"
    "|N[ILO]|OM|P[KLST]|QA|R[OSU]|S[ACDEIKMOTV]|T[LNR]|UA|V[AG]|XK|YE"
)
_KEY_STARTS = (
    "glpat-", "gsk_", "xai-", "pplx-", "r8_", "npm_", "pypi-AgE", "nvapi-", "SG.", "dop_v1_", "sq0", "whsec_", "dapi",
    "k-lf-", "lsv2_", "lin_api_", "ntn_", "hvs.", "glsa_", "NRAK-", "sbp_", "PMAK-", "tvly-", "fw_", "ya29.", "GOCSPX-",
    "AGE-SECRET", ":AA", "dp.pt.", "dp.st.", "AccountKey=", "hooks.slack", ".com/api/webhooks/", "tgp_v1_", "csk-",
    "vck_", "sntry", "figd_", "CFPAT-", ".atlasv1.", "ATATT3", "shippo_", "rubygems_", "jina_", "pcsk_", "e2b_",
    "SharedAccessKey=", "AKCp", "dckr_pat_", "sig=", "xkeysib-", "ops_eyJ", " pa-", "AQ.Ab", "1//0", "sb_secret_",
    "hvb.", "hvr.", "LTAI", "8Q~", "doo_v1_", "dor_v1_", "glc_", "dt0c01.", "fm2_", "HRKU-", "bkua_", "pscale_",
    "v1.0-",
)  # fmt: skip

# What must stand somewhere in a text before the rule of that pattern can hit: one pass over all texts looks for all.
# Weaker than the pattern (no boundaries, line breaks allowed inside), so that it never hides a hit.
PREFILTERS: dict[str, str] = {
    "private_key": _spread("PRIVATE") + r"\s" + _spread("KEY"),
    "url_login": r":\\?/\\?/[^\s/?#\"'<>\\]+@",
    "jwt": _spread("eyJ") + r"[A-Za-z0-9_\-]{4}",
    "anthropic_key": _spread("sk-ant-"),
    "openai_key": _spread("sk-") + rf"{_BREAK}[A-Za-z0-9_\-]{{8}}",
    "openai_project_key": _spread("sk-") + rf"{_BREAK}[A-Za-z0-9_\-]{{8}}",
    "aws_key": rf"A{_BREAK}[KSRIGNBC]{_BREAK}[A-Z]{_BREAK}A{_BREAK}[A-Z0-9]{{3}}",
    "github_token": rf"g{_BREAK}h{_BREAK}[oprsu]{_BREAK}_|" + _spread("github_pat_"),
    "google_api_key": _spread("AIza"),
    "slack_token": rf"x{_BREAK}o{_BREAK}x{_BREAK}[a-z]{_BREAK}[.\-]|xapp-",
    "huggingface_token": r"(?:hf|api_org)_[A-Za-z0-9]{8}|h\s?f\s?_\s?[A-Za-z0-9]{8}",
    "provider_key": "|".join(map(re.escape, _KEY_STARTS))
    + r"|shp(?:at|ca|pa|ss)_|[rs]k_(?:live|test)_|SK[0-9a-f]{8}|EAA[A-Za-z0-9]{20}|sl\.[\w\-]{40}"
    + r"|oy2[a-z0-9]{20}|ph[cxs]_\w{20}|[MNO][A-Za-z\d]{23,27}\.[\w\-]{6}\.|key-[0-9a-f]{16}|co-[A-Za-z0-9]{20}"
    + r"|fc-[a-f0-9]{16}|sk_[a-f0-9]{20}|pul-[a-f0-9]{20}|AC[0-9a-f]{16}"
    + r"|ABSK[A-Za-z0-9+/]{20}|gl(?:dt|rt|ptt|soat|cbt)-|pat\w{14}\.|sq[pua]_[a-f0-9]{20}|[0-9a-f]-us\d",
    "bearer_token": r"(?i:bearer|basic|token|x-api-key:?)\s+[A-Za-z0-9._~+/\-]{12}",
    "password": (
        rf"(?i:{_SECRET_KEYS}|token){_SAYS}[^\s\"'`<>\\]{{6}}"
    ),
    "iban": (
        rf"{_WORD_START}(?i:{_IBAN_COUNTRIES}){_GAP}\d{_GAP}\d(?:{_GAP}[A-Za-z0-9]){{11}}"
        rf"|{_WORD_START}(?i:A[DE]|B[AE]|DE|EE)(?:{_GAP}\d){{10}}"
    ),
    "card": rf"{_START}(?:[4-6](?:{_CARD_GAP}\d){{11}}|(?:[23]|1{_GAP}8|8)(?:{_CARD_GAP}\d){{13}})",
    "ssn": (
        rf"\d{_GAP}\d{_GAP}\d{_SEPARATOR}\d{_GAP}\d{_SEPARATOR}\d{_GAP}\d{_GAP}\d{_GAP}\d"
        r"|(?i:ssn|social|itin|tax|\btin)\D*\d{3}\.?\d{2}\.?\d{4}"
    ),
    "ipv4": r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d",
    "ipv6": r"(?i:(?:[23][0-9a-f]{3}|f[cde][0-9a-f]{2}):[0-9a-f]{0,4}:|(?:[0-9a-f]{1,4}:){7}[0-9a-f])",
    "email": rf"[\p{{Latin}}\p{{Cyrillic}}0-9._%+'\-]{_BREAK}@(?:[\p{{Latin}}\p{{Cyrillic}}0-9.\\\-]|[\r\n])+\.",
    "phone": (
        rf"\+{_BREAK}\d(?:{_PHONE_GAP}\d){{6}}|{_START}(?:1[ .\-])?\d{{3}}\)?[\-. ]?\s?\d{{3}}[\-. ]\s?\d{{4}}"
        rf"|\(\d{_BREAK}\d{_BREAK}(?:\d{_BREAK}){{0,2}}\)[ \-]?{_BREAK}\d"
        rf"|{_START}(?:(?:00|011[ \-])[1-9]\d{{0,2}}[ \-.]\d|0[1-9]\d{{1,3}}\)? \d{{2,4}} \d{{2,4}})"
        rf"|{_START}0[1-9](?:[ .]\d\d){{4}}"
        rf"|(?i:{_STRONG_PHONE_WORDS})\D*\d(?:{_PHONE_GAP}\d){{6}}|(?i:{_WEAK_PHONE_WORDS})[^0-9\n]*{_GROUPED_DIGITS}"
        rf"|{_START}\d(?:{_PHONE_GAP}\d){{6,}}[ \-]{{0,2}}\(?(?i:fax|mobile|phone|tel|office|home|work|cell|direct|is )"
    ),
}  # fmt: skip

# A value split over two lines: believed for exact shapes, even where a piece of them would be a hit of its own; for
# keys of open length if what stands on the next line looks random too; for numbers and addresses if no piece is a hit.
EXACT_SHAPES = frozenset({"aws_key", "github_token", "google_api_key", "openai_key"})
OPEN_SHAPES = frozenset(
    {"anthropic_key", "openai_project_key", "huggingface_token", "slack_token", "jwt", "provider_key", "bearer_token"}
)
SPLITTABLE = frozenset({"card", "ssn", "phone", "email", "iban"})

"""Personal data in log lines, each class where it can be told from evidence: a card number by its
check digit, a bank number by its country's length and its remainder, a telephone number by its
country's code or the name before it. Times, ids, IP addresses and byte counts stay readable.
"""

import re
from collections.abc import Callable

Mask = Callable[[str], str]

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])(?<!//)(?!git@)[A-Za-z0-9._%+-]{1,64}@"
    # units of systemd, services of a cluster, files: none of them gets mail
    r"(?![A-Za-z0-9.-]{0,200}\.(?:service|socket|mount|timer|slice|target|scope|device|path|swap"
    r"|conf|svc|cluster\.local|js|py|go|rb|sh)(?![A-Za-z0-9.-]))"
    r"(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)

_CARD_LIKE = re.compile(r"[2-6]\d{3}(?:[ -]\d{4,6}[ -]\d|\d{10})")
_CARD = re.compile(
    r"(?<![\w.+-])(?<!\d )(?:"
    r"(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6\d{3}|35\d\d)(?P<a>[ -]?)\d{4}(?P=a)\d{4}(?P=a)\d{4}"
    r"|3[47]\d\d(?P<b>[ -]?)\d{6}(?P=b)\d{5}"
    r"|3(?:0[0-5]|[689]\d)\d(?P<c>[ -]?)\d{6}(?P=c)\d{4})"
    r"(?![\w-]|\.\d| \d)"
)

_COUNTRY = (  # the calling codes that are given out
    r"(?:1|7|20|27|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|2[12346]\d|25[0-8]|29\d|35\d"
    r"|37\d|38[0-35-9]|42[013]|50\d|59\d|6[78]\d|69[0-2]|85[02356]|88[0-368]|96\d|97\d|99\d)"
)
_INTERNATIONAL = re.compile(
    rf"(?:\+(?<![\w.+-]\+)|%2[Bb])(?P<number>{_COUNTRY}[ .-]?\(?\d{{1,5}}\)?"
    r"(?:[ ./-]?\d{2,12}){1,5})(?![\w+]|[.,:]\d|\s?(?:bytes|[kKMGT]?i?B|[mnu]?s)\b)"
)
_AMERICAN_LIKE = re.compile(r"\d{3}-\d{4}")
_AMERICAN = re.compile(
    r"(?<![\w.+-])(?P<number>\(?[2-9]\d\d(?:[ -]|\) ?)[2-9]\d\d-\d{4})(?![\w-]|\.\d)"
)
_PHONE_WORDS = ("phone", "mobile", "msisdn", "tel", "fax")
_NAMED = re.compile(
    rf"(?i)\b(?:{'|'.join(_PHONE_WORDS)})(?:[_ -]?(?:number|no))?[\\\"']{{0,4}}\s{{0,4}}[:=]"
    r"\s{0,4}[\\\"']{0,4}(?P<number>\(?\d[\d ()/-]{6,20}\d)(?!\w)"
)

_COUNTED = re.compile(  # what counts or identifies may be as long as a card or telephone number
    r"(?i)(?:id|trace|span|seq|offset|bytes|size|count|nanos|micros|hash|version|time|total|ts"
    r"|delta|diff|lag|drift|skew|by)[\\\"']{0,4}\s{0,2}[=:]?\s{0,2}[\\\"']{0,4}$"
)

_IBAN_LIKE = re.compile(r"[A-Z]{2}\d{2}[ -]?[A-Z0-9]{3}")
_IBAN = re.compile(r"(?<![\w-])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}", re.ASCII)
_LENGTHS = """\
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28
EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27
JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18
NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28
TL23 TN24 TR26 UA29 VA22 VG24 XK20"""
_IBAN_LENGTH = {item[:2]: int(item[2:]) for item in _LENGTHS.split()}


def emails(text: str, mask: Mask) -> str:
    return _EMAIL.sub(lambda match: mask(match[0]), text) if "@" in text else text


def cards(text: str, mask: Mask) -> str:
    def masked(match: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", match[0])
        alone = digits == match[0] and _counted(match)
        return match[0] if alone or not luhn(digits) else mask(digits)

    return _CARD.sub(masked, text) if _CARD_LIKE.search(text) else text


def phones(text: str, mask: Mask) -> str:
    def masked(match: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", match["number"])
        bare = match.re is _INTERNATIONAL and digits == match["number"]
        least = 8 if not bare else 10 if digits[:2] in ("45", "47", "65") else 11
        if not least <= len(digits) <= 15 or (bare and _counted(match)):
            return match[0]
        named = match.re is _NAMED
        return (match[0].removesuffix(match["number"]) if named else "") + mask(digits)

    if "+" in text or "%2" in text:
        text = _INTERNATIONAL.sub(masked, text)
    if _AMERICAN_LIKE.search(text):
        text = _AMERICAN.sub(masked, text)
    folded = text.casefold()
    return _NAMED.sub(masked, text) if any(word in folded for word in _PHONE_WORDS) else text


def ibans(text: str, mask: Mask) -> str:
    def masked(match: re.Match[str]) -> str:
        length = _IBAN_LENGTH.get(match[0][:2], 99)
        found = re.match(rf"(?:[ -]?[A-Z0-9]){{{length}}}(?![A-Z0-9])", match[0])
        compact = re.sub(r"[ -]", "", found[0]) if found else ""
        if not found or not remainder_is_one(compact):
            return match[0]
        return mask(compact) + match[0][found.end() :]

    return _IBAN.sub(masked, text) if _IBAN_LIKE.search(text) else text


CLASSES = {"email": emails, "iban": ibans, "card": cards, "phone": phones}


def luhn(digits: str) -> bool:
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    total = sum(map(int, digits[::-2])) + sum(number - 9 * (number > 9) for number in doubled)
    return total % 10 == 0 and len(set(digits)) > 1


def remainder_is_one(iban: str) -> bool:
    """ISO 13616: letters are 10 to 35, the first four characters go last, the rest by 97 is 1."""
    return int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97 == 1


def _counted(match: re.Match[str]) -> bool:
    before = match.string[max(0, match.start() - 20) : match.start()]
    return _COUNTED.search(before) is not None

"""Keeping secrets out of every text: those of the DSN, and values of keys that look secret."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from perdure.settings.dsn import parse_dsn, secrets_of
from perdure.settings.keys import Settings

MASKED = "***"
# Whatever looks like a login with a password, also that of a DSN that could not be read.
_LOGIN = re.compile(r"(postgres\w*(?:\+\w+)?:?/{1,2}[^\s:/@]*:)[^\s]+(?=@)", re.ASCII)
_PASSWORD = re.compile(r"(\bpassword\s*=\s*)('(?:\\.|[^'\\])*'|[^\s&'\"]+)", re.IGNORECASE)
_SECRET_KEY = re.compile(
    r"passw|passphrase|secret|api_?key|authorization|credential|private_?key|cookie|bearer"
    r"|(access|auth|refresh|session|id)_?token|\A_?token\Z|\Adsn\Z",
    re.IGNORECASE,
)


def mask(text: str, settings: Settings | None = None) -> str:
    """Remove the DSN, its secrets and anything that looks like a password from a text."""
    return masker(settings)(text)


def masker(settings: Settings | None = None) -> Callable[[str], str]:
    """`mask` for many texts of the same settings: the pattern is built once."""
    if settings is None or settings.dsn is None:
        return masker_of(())
    dsn = settings.dsn.get_secret_value()
    return masker_of([dsn, *secrets_of(parse_dsn(dsn))])


def masker_of(secrets: Iterable[str]) -> Callable[[str], str]:
    """The same for these secrets, however a text spells them."""
    spellings = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
    longest_first = sorted(spellings, key=len, reverse=True)
    known = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    return lambda text: _without_passwords(known.sub(MASKED, text))


def redact(value: Any) -> Any:
    """The JSON value with secrets masked: values of keys that look so, passwords in its texts."""
    if isinstance(value, Mapping):
        return {
            key: MASKED if _SECRET_KEY.search(str(key)) and item is not None else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [redact(item) for item in value]
    return _without_passwords(value) if isinstance(value, str) else value


def _without_passwords(text: str) -> str:
    text = _LOGIN.sub(rf"\1{MASKED}", text)
    return _PASSWORD.sub(rf"\1{MASKED}", text)


def _spellings(secret: str) -> set[str]:
    """A secret as it may stand in a text: as it is, in a URI, in JSON, in a repr, in a conninfo."""
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        re.sub(r"(['\\])", r"\\\1", secret),
    }

"""A DSN taken apart by ourselves, because libpq repeats the password of a mistyped one.

No message of this file repeats a part of the text that might be a password: a text that cannot be
taken apart is not quoted at all, and one that can is named by host, port and database.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from urllib.parse import unquote

from perdure.errors import ConfigurationError

SECRET_PARAMETERS = frozenset(
    {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
)

PARAMETERS = frozenset(
    """
    application_name channel_binding client_encoding connect_timeout dbname
    fallback_application_name gssdelegation gssencmode gsslib host hostaddr keepalives
    keepalives_count keepalives_idle keepalives_interval krbsrvname load_balance_hosts
    max_protocol_version min_protocol_version oauth_client_id oauth_client_secret oauth_issuer
    oauth_scope options passfile password port replication require_auth requirepeer
    scram_client_key scram_server_key service ssl_max_protocol_version ssl_min_protocol_version
    sslcert sslcertmode sslcompression sslcrl sslcrldir sslkey sslkeylogfile sslmode
    sslnegotiation sslpassword sslrootcert sslsni target_session_attrs tcp_user_timeout user
    """.split()  # noqa: SIM905  (a list would take fifty lines)
)

_SCHEME = re.compile(r"postgres(?:ql)?(?:\+\w+)?://", re.ASCII)
_PAIR = re.compile(
    r"\s*([A-Za-z_]+)\s*=\s*('(?:\\.|[^'\\])*'|(?:\\.|[^\s'\\])(?:\\.|[^\s\\])*|(?=\s|\Z))(?=\s|\Z)",
    re.DOTALL,
)
_HOST = re.compile(r"[\w.-]*|\[[0-9A-Fa-f:.%\w]+\]|%(?:2[Ff]|40)[^,]*")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_ENCODE = (
    "percent-encode what is special in user and password: @ as %40, : %3A, / %2F, ? %3F, # %23"
)
_PORT_MAX = 65_535


def parse_dsn(text: str) -> dict[str, str]:
    """Take a DSN apart into libpq's parameters, fit for `psycopg.connect(**parameters)`.

    Both forms are read: `postgresql://user:password@host:port/dbname?sslmode=require` (a driver as
    in `postgresql+psycopg://` is dropped) and `host=... dbname=...`. Several hosts are allowed.

    Raises:
        ConfigurationError: it is mistyped; the text names at most host, port and database.
    """
    text = text.strip()
    if not text:
        raise ConfigurationError("the DSN is empty")
    if not text.isprintable():
        raise ConfigurationError("the DSN holds control characters; is it on one line?")
    scheme = _SCHEME.match(text)
    found = _uri(text[scheme.end() :]) if scheme else _pairs(text)
    _check(found)
    return found


def show_dsn(text: str) -> str:
    """Show a DSN without its secrets, as a URI: `postgresql://user:***@host:5432/dbname`.

    Raises:
        ConfigurationError: it is mistyped.
    """
    found = parse_dsn(text)
    if "service" in found:
        return f"service={found['service']}"
    user = found.get("user", "") + (":***" if "password" in found else "")
    return f"postgresql://{user}{'@' if user else ''}{_place(found)}"


def place_of(parameters: Mapping[str, object]) -> str:
    """Where libpq's parameters lead to: `host:port/dbname`, as far as they say it."""
    if "service" in parameters:
        return f"service={parameters['service']}"
    place = _place({key: str(value) for key, value in parameters.items()})
    return f"(local socket){place}" if place.startswith("/") else place


def secrets_of(parameters: Mapping[str, object]) -> list[str]:
    """The values among libpq's parameters that nobody may see."""
    return [str(parameters[key]) for key in SECRET_PARAMETERS & parameters.keys()]


def write_dsn(parameters: dict[str, str]) -> str:
    """Write libpq's parameters as one `key='value'` text that `parse_dsn` reads back."""
    quoted = {key: re.sub(r"(['\\])", r"\\\1", value) for key, value in parameters.items()}
    return " ".join(f"{key}='{value}'" for key, value in quoted.items())


def _uri(rest: str) -> dict[str, str]:
    """Parameters of a URI, given without its scheme."""
    before_query, _, query = rest.partition("?")
    authority, _, dbname = before_query.partition("/")
    # A second @, or one outside the authority, is part of a password that was not encoded: whatever
    # stands left and right of it may be secret, so nothing is named.
    if rest.count("@") > authority.count("@") or authority.count("@") > 1 or "#" in rest:
        raise ConfigurationError(f"the DSN holds an unexpected @ or #; {_ENCODE}")
    login, _, places = authority.rpartition("@")
    user, colon, password = login.partition(":")
    hosts, ports = [], []
    for place in places.split(","):
        host, port = _host_and_port(place)
        hosts.append(host)
        ports.append(port)
    found = {
        "user": _decode(user),
        "password": _decode(password),
        "host": ",".join(hosts),
        "port": ",".join(ports) if any(ports) else "",
        "dbname": _decode(dbname),
    }
    found = {key: value for key, value in found.items() if value}
    if colon and not password:
        raise ConfigurationError("the DSN's password is empty: remove the colon after the user")
    for number, pair in enumerate(query.split("&") if query else (), 1):
        key, _, value = pair.partition("=")
        if (key, value) == ("ssl", "true"):
            key, value = "sslmode", "require"
        _known(key, number)
        found[key] = _decode(value)
    return found


def _host_and_port(place: str) -> tuple[str, str]:
    """Host (decoded, without the brackets of IPv6) and port of one `host:port`."""
    end = place.rfind("]") + 1
    host, colon, port = place[:end], "", ""
    if end:
        colon, port = place[end : end + 1], place[end + 1 :]
    else:
        host, colon, port = place.partition(":")
    if not _HOST.fullmatch(host) or (end and colon not in ("", ":")):
        raise ConfigurationError(f"the DSN's host cannot be read; {_ENCODE}")
    return _decode(host.strip("[]")), port


def _pairs(text: str) -> dict[str, str]:
    """Parameters of a `key=value` text."""
    found: dict[str, str] = {}
    position = number = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        if pair is None:
            raise ConfigurationError(
                "the DSN is neither postgresql://user:password@host:port/dbname"
                " nor host=... dbname=... (values with spaces stand in single quotes)"
            )
        number += 1
        key, value = pair[1], pair[2]
        _known(key, number)
        quoted = value.startswith("'")
        found[key] = re.sub(r"\\(.)", r"\1", value[1:-1] if quoted else value)
        position = pair.end()
    return found


def _known(key: str, number: int) -> None:
    """Refuse a parameter that libpq does not know, without repeating what was written."""
    if key not in PARAMETERS:
        nearest = get_close_matches(key, sorted(PARAMETERS), 1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise ConfigurationError(f"parameter {number} of the DSN is unknown to libpq{hint}")


def _decode(text: str) -> str:
    """Percent-decoded text."""
    if _BAD_PERCENT.search(text):
        raise ConfigurationError("the DSN holds a % that begins no percent-encoding: write %25")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError("the DSN's percent-encoding is not UTF-8") from None


def _check(found: dict[str, str]) -> None:
    """Refuse ports that are none, and more or fewer ports than hosts."""
    ports = found.get("port", "").split(",")
    for port in ports:
        if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= _PORT_MAX):
            raise ConfigurationError(
                f"the DSN's port is not a number from 1 to {_PORT_MAX}; {_ENCODE}"
            )
    hosts = (found.get("hostaddr") or found.get("host", "")).split(",")
    if len(ports) > 1 and len(ports) != len(hosts):
        raise ConfigurationError(
            f"the DSN for {_place(found)} names {len(hosts)} host(s) and {len(ports)} ports"
        )


def _place(found: dict[str, str]) -> str:
    """`host:port/dbname`, as far as they are given."""
    hosts = (found.get("host") or found.get("hostaddr") or "").replace("/", "%2F").split(",")
    ports = found.get("port", "").split(",")
    if len(ports) == len(hosts) or len(ports) == 1:
        ports = ports * len(hosts) if len(ports) == 1 else ports
        places = [
            f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=True)
        ]
    else:
        places = hosts
    return f"{','.join(places)}/{found.get('dbname', '')}"

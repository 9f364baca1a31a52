"""The command config show: every setting, and where it came from."""

from __future__ import annotations

from perdure.cli.given import Given
from perdure.cli.opening import load_settings, say_warnings
from perdure.cli.output import Output
from perdure.cli.worker import load_service
from perdure.settings import describe


def show(given: Given, application: str | None, *, as_json: bool) -> int:
    """Every setting with its source; those of a service's builder, too, if one is named."""
    output = Output(as_json=as_json)
    if application:
        loaded = load_service(given, application).loaded
        say_warnings(loaded)
    else:
        loaded = load_settings(given)
    rows = describe(loaded)
    if as_json:
        output.document([dict(zip(("key", "value", "source"), row, strict=True)) for row in rows])
        return 0
    output.table(("key", "value", "source"), rows, empty="there is no setting")
    return 0

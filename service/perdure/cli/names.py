"""Whether a name is in use, and which of those that are may have been meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final, Literal, NamedTuple, TypeAlias

from perdure.client.sync import SyncTaskClient
from perdure.errors import NotPermitted

FreeKind: TypeAlias = Literal["task", "queue", "constraint"]
"""What may be set before anybody uses it: any name is taken, a typo, too."""
NEAR_MOST: Final = 3
_NOBODY: Final[dict[FreeKind, str]] = {
    "task": "no worker has declared {!r} yet",
    "queue": "nobody has used queue {!r} yet",
    "constraint": "nobody requires or declares {!r} yet",
}


class Known(NamedTuple):
    """What is known of a name; `known` is None where this login may not ask."""

    kind: FreeKind
    name: str
    known: bool | None
    near: list[str]

    @property
    def hint(self) -> str:
        """What is worth saying of it to people; empty where it is known."""
        if self.known is not False:
            return ""
        meant = f": did you mean {' or '.join(map(repr, self.near))}?" if self.near else ""
        return f"{_NOBODY[self.kind].format(self.name)}{meant}"

    @property
    def typo(self) -> str:
        """The hint only if another name is near: it may well be that workers come later."""
        return self.hint if self.near else ""

    def document(self) -> dict[str, object]:
        """The same for programs."""
        return {"known": self.known, "near": self.near}


def known(client: SyncTaskClient, kind: FreeKind, name: str) -> Known:
    """Look for a name; ask before it is used, because it is known afterwards."""
    try:
        names = client.names(kind)
    except NotPermitted:
        return Known(kind, name, None, [])
    is_known = name in names or (kind, name) == ("queue", "*")
    return Known(
        kind, name, is_known, [] if is_known else get_close_matches(name, names, NEAR_MOST)
    )

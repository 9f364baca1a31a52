"""Collecting: complaints about what was declared are kept until all of them can be said at once."""

from __future__ import annotations

from perdure.errors import PerdureError


class Collecting:
    """A block whose complaints about arguments are kept as problems."""

    __slots__ = ("_problems",)

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object
    ) -> bool:
        if isinstance(error, (TypeError, ValueError, PerdureError)):
            self._problems.append(str(error))
            return True
        return False

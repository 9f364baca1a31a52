"""Choices that a seed decides, each by its own name: one more choice changes no other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """Every choice is a hash of (seed, names), never a draw from a generator that others share."""

    def __init__(self, seed: int, *names: object) -> None:
        self.seed = seed
        self._names = names

    def of(self, *names: object) -> Chance:
        """The same seed, under longer names."""
        return Chance(self.seed, *self._names, *names)

    def real(self, *names: object) -> float:
        """From 0 up to, not including, 1."""
        text = repr((self.seed, *self._names, *names)).encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64

    def whole(self, low: int, high: int, *names: object) -> int:
        """From low to high, both included."""
        return low + int(self.real(*names) * (high - low + 1))

    def between(self, low: float, high: float, *names: object) -> float:
        """From low up to high."""
        return low + self.real(*names) * (high - low)

    def one(self, values: Sequence[T], *names: object) -> T:
        """One of the values."""
        return values[int(self.real(*names) * len(values))]

    def shuffled(self, values: Sequence[T], *names: object) -> list[T]:
        """All of the values, in an order of chance."""
        order = sorted(range(len(values)), key=lambda n: self.real(*names, n))
        return [values[n] for n in order]

    def weighed(self, weights: dict[T, int], *names: object) -> T:
        """One of the keys, each as often as its weight says."""
        left = self.real(*names) * sum(weights.values())
        for value, weight in weights.items():
            left -= weight
            if left < 0:
                return value
        raise AssertionError("unreachable: the weights add up")

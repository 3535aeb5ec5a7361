"""Numbers that look random and are the same in every process and on every Python."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
_WORD = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_SPAN = 1 << 40


def mix(*about: int) -> int:
    """One well-spread 64-bit number for `about` (the finaliser of splitmix64)."""
    state = 0
    for part in about:
        state = (state ^ part) + _STEP & _WORD
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _WORD
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _WORD
        state ^= state >> 31
    return state


class Draw:
    """A stream of draws about one thing: what it gives depends on `about` and the order of the questions alone."""

    __slots__ = ("_state",)

    def __init__(self, *about: int) -> None:
        self._state = mix(*about)

    def below(self, end: int) -> int:
        """A whole number from 0 to `end` - 1."""
        # One multiplication a draw (Knuth's MMIX constants); its low bits are poor and are left out.
        self._state = state = self._state * 6364136223846793005 + 1442695040888963407 & _WORD
        return (state >> 24) % end

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, each as likely."""
        return options[self.below(len(options))]

    def share(self) -> float:
        """A number from 0 to below 1."""
        return self.below(_SPAN) / _SPAN

    def chance(self, share: float) -> bool:
        """True in `share` of all cases."""
        return self.share() < share

    def between(self, low: float, high: float) -> float:
        """A number from `low` to below `high`."""
        return low + (high - low) * self.share()

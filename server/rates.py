"""Requests and characters per minute and key: buckets that fill up again all the time."""

from __future__ import annotations

from collections.abc import Callable

from streaming.errors import RateLimited

_MINUTE_S = 60.0


class Rates:
    """What each key has left of its minute; a bucket holds one minute's worth.

    Characters are counted as they come, so a request that has begun is spoken to its end; what it
    took too much is a debt that the key's next request waits for.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def check(self, key_id: str, unit: str, per_minute: int | None) -> None:
        """Raise ``RateLimited`` unless something is left; ``None`` is no limit."""
        if per_minute is None:
            return
        wait_s = self._bucket(key_id, unit, per_minute).wait_s(self._clock())
        if wait_s > 0:
            raise RateLimited(
                f"this key may have {per_minute} {unit} in a minute", retry_after_s=wait_s
            )

    def spend(self, key_id: str, unit: str, per_minute: int | None, count: int) -> None:
        """Count what was used."""
        if per_minute is not None:
            self._bucket(key_id, unit, per_minute).spend(count, self._clock())

    def _bucket(self, key_id: str, unit: str, per_minute: int) -> _Bucket:
        bucket = self._buckets.get((key_id, unit))
        if bucket is None or bucket.per_minute != per_minute:
            bucket = self._buckets[key_id, unit] = _Bucket(per_minute, self._clock())
        return bucket


class _Bucket:
    __slots__ = ("_at_s", "_left", "per_minute")

    def __init__(self, per_minute: int, now_s: float) -> None:
        self.per_minute = per_minute
        self._left = float(per_minute)
        self._at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Seconds until one unit is there."""
        self._fill(now_s)
        return max(0.0, 1.0 - self._left) * _MINUTE_S / self.per_minute

    def spend(self, count: int, now_s: float) -> None:
        self._fill(now_s)
        self._left -= count

    def _fill(self, now_s: float) -> None:
        gained = (now_s - self._at_s) * self.per_minute / _MINUTE_S
        self._left = min(float(self.per_minute), self._left + gained)
        self._at_s = now_s

"""The server's settings: one frozen value, made by the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from streaming.session import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an operator can set; ``voices`` empty means the speakers shipped with us.

    Without a ``voice_cache`` folder, encoded voices are kept in memory only.
    """

    model: str = "nano"
    host: str = "127.0.0.1"
    port: int = 6008
    device: str = "auto"
    engine: str = "auto"
    dtype: str = "float32"
    voices: tuple[Path, ...] = ()
    voice_cache: Path | None = None
    limits: Limits = field(default_factory=Limits)
    sessions: int = 256
    grace_s: float = 30.0
    retry_after_s: float = 2.0
    body_timeout_s: float = 30.0
    comment_every_s: float = 15.0
    warm_text: str = "Hello, I am ready."

"""The server's settings: one frozen value; a file, the environment and flags set its fields.

Every field of ``Settings`` can be set in all three ways, nested ones as ``limits.idle_s``: see
``server.sources``.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streaming.session import Limits


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    secret: bool = False,
) -> Any:
    """A field with what operators are told of it; ``low`` and ``high`` are part of its range."""
    return field(
        default=default,
        metadata={"help": help, "choices": choices, "low": low, "high": high, "secret": secret},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an operator can set; ``voices`` empty means the speakers shipped with us."""

    model: str = option("nano", "'nano' (comes with the package) or a checkpoint folder.")
    host: str = option("127.0.0.1", "Address to listen on.")
    port: int = option(6008, "Port to listen on; 0 takes a free one.", low=0, high=65_535)
    device: str = option(
        "auto",
        "Where to compute; auto takes the first of cuda, npu, mps that is there, else the CPU.",
        choices=("auto", "cuda", "npu", "mps", "cpu"),
    )
    engine: str = option(
        "auto", "Who runs the autoregressive part.", choices=("auto", "torch", "vllm")
    )
    dtype: str = option(
        "float32", "Precision of the weights.", choices=("float32", "float16", "bfloat16")
    )
    voices: tuple[Path, ...] = option(
        (), "A speaker.json; without it, the voices that come with the package."
    )
    voice_cache: Path | None = option(
        None, "Folder that keeps encoded voices between runs; off by default."
    )
    voices_dir: Path | None = option(
        None, "Folder of uploaded voices; without it, none can be uploaded."
    )
    voices_max: int = option(1_000, "Uploaded voices at most.", low=1, high=100_000)
    voices_max_bytes: int = option(2 << 30, "Bytes of all uploaded recordings at most.", low=1)
    voices_refresh_s: float = option(
        2.0, "Seconds between two looks for changes of the speakers.", low=0.01
    )
    reference_hosts: tuple[str, ...] = option(
        (), "Hosts whose recordings a request may name by URL (cdn.example, *.cdn.example)."
    )
    reference_dirs: tuple[Path, ...] = option(
        (), "Folders whose recordings a request may name by path."
    )
    reference_timeout_s: float = option(
        1.5, "Seconds to get a recording by URL or path.", low=0.1, high=60.0
    )
    keys: Path | None = option(None, "File of API keys, made by `indextts-server keys add`.")
    insecure_no_auth: bool = option(
        False, "Listen on other addresses than the loopback without asking for keys."
    )
    origins: tuple[str, ...] = option(
        (), "Origins of web pages that may use this server (https://app.example), CORS included."
    )
    token_secret: str = option(
        "", "Signs short-lived tokens; without it, they end with the process.", secret=True
    )
    key_concurrent: int | None = option(
        None, "Requests of one key at once, where the key does not say otherwise.", low=1
    )
    key_requests_per_minute: int | None = option(
        None, "Requests of one key in a minute, where the key does not say otherwise.", low=1
    )
    key_characters_per_minute: int | None = option(
        None, "Characters of one key in a minute, where the key does not say otherwise.", low=1
    )
    limits: Limits = field(default_factory=Limits)
    sessions: int = option(256, "WebSockets at once.", low=1)
    grace_s: float = option(30.0, "Seconds that live speech has to finish on shutdown.", low=0)
    retry_after_s: float = option(
        2.0, "Retry-After in seconds while nothing has been measured yet.", low=0
    )
    engine_stall_s: float = option(
        60.0, "Seconds without a sample for anybody after which the engine counts as hung.", low=0.1
    )
    body_timeout_s: float = option(
        30.0, "Seconds for a request's head to arrive; then for its body.", low=0.1
    )
    comment_every_s: float = option(
        15.0, "Seconds between the comments that keep server-sent events alive.", low=0.1
    )
    warm_text: str = option("Hello, I am ready.", "Spoken once before the server is ready.")
    legacy_tts_body: str = option(
        "wav",
        "What POST /tts answers: pcm is raw 24,000 Hz, for xiaozhi's index_stream.",
        choices=("wav", "pcm"),
    )
    metrics: bool = option(True, "Answer at /metrics.")
    log_format: str = option("text", "How log lines look.", choices=("text", "json"))
    log_level: str = option(
        "info", "Least severe log lines to write.", choices=("debug", "info", "warning", "error")
    )
    log_text: bool = option(False, "Let texts of users into the log.")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

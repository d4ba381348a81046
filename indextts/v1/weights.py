"""Official state-dict keys of IndexTTS 1.0 and 1.5 -> keys of our modules (specification 1)."""

from __future__ import annotations

from indextts.weights import GPT_RULES, Rules

PARTS: dict[str, Rules] = {
    "gpt": GPT_RULES,
    "bigvgan": (
        (r"\.filter$", None),
        (r"^ups\.(\d+)\.0\.", r"ups.\1."),
        (r"\.act\.(alpha|beta)$", r".\1"),
        (r"\.(conv|norm)\.\1\.", r".\1."),
        (r"\.(conv[12]|fc)\.conv\.", r".\1."),
        (r"\.asp_bn\.norm\.", ".asp_bn."),
    ),
}
"""Part of a checkpoint -> rules; BigVGAN's file holds its speaker encoder too."""

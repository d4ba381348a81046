"""The official names and storage of this family's parts, for its golden sets."""

from __future__ import annotations

from torch import Tensor, nn

from indextts.goldens import arrays
from indextts.goldens.arrays import GoldenContext, Naming
from indextts.v2.weights import PARTS

# What convert() renames, turned round: pattern on our key, replacement.
_OFFICIAL_NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "cfm": (
        (
            r"^(wavenet\.(?:cond_layer|(?:in|res_skip)_layers\.\d+)\.)(weight|bias)$",
            r"\1conv.conv.\2",
        ),
        (r"^", "estimator."),
    ),
    "bigvgan": (
        (r"^ups\.(\d+)\.", r"ups.\1.0."),
        (r"\.(alpha|beta)$", r".act.\1"),
    ),
}

# Official keys that are stored as a magnitude and a direction.
_WEIGHT_NORM: dict[str, str] = {
    "semantic_codec": r"\.(in|out)_project\.weight$",
    "cfm": r"^estimator\.(wavenet\..*|final_layer\.linear)\.weight$",
    "bigvgan": r"(^conv_pre|^conv_post|^ups\.\d+\.\d+|\.convs[12]\.\d+)\.weight$",
}


def naming(part: str) -> Naming:
    """How the official files name and store ``part``."""
    return Naming(
        rules=PARTS[part],
        official=_OFFICIAL_NAMES.get(part, ()),
        weight_norm=_WEIGHT_NORM.get(part),
        gpt2=part == "gpt",
    )


def official_tensors(part: str, module: nn.Module, prefix: str, salt: str) -> dict[str, Tensor]:
    """What an official file would hold for ``module``: tensors by official name."""
    return arrays.official_tensors(naming(part), module, prefix, salt)


def filled(part: str, module: nn.Module, prefix: str, salt: str) -> dict[str, Tensor]:
    """A state dict for ``module``, from official tensors."""
    return arrays.filled(naming(part), module, prefix, salt)


def load_filled(part: str, module: nn.Module, prefix: str, ctx: GoldenContext) -> None:
    """Give ``module`` the weights of the set, strictly, and put it in evaluation mode."""
    arrays.load_filled(naming(part), module, prefix, ctx)

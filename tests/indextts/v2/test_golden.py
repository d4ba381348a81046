"""The judge of golden arrays and the weights they were computed with."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch

from indextts.fill import fill, is_computed
from indextts.goldens.arrays import GoldenContext, capture, compare, judge
from indextts.goldens.v2 import filled
from indextts.v2.campplus import Campplus
from indextts.v2.config import CampplusConfig, SemanticCodecConfig
from indextts.v2.semantic import SemanticCodec
from indextts.v2.weights import map_key
from tests.indextts.v2.goldens import OFFICIAL


def context(**table: float) -> GoldenContext:
    manifest = {
        "tolerance_max_abs": {"one.npz": {"*": 0.1, **table}},
        "informative": {"one.npz": ["loose_*"]},
    }
    return GoldenContext(file="one.npz", config={}, manifest=manifest)


@pytest.mark.parametrize(
    ("key", "shape", "digest"),
    [
        ("gpt/final_norm.weight", (8,), "04e30aeb53e52790"),
        ("bigvgan/conv_pre.weight_v", (4, 3, 7), "ffcf5123dd207533"),
        ("campplus/head.bn1.running_var", (5,), "dbce84f6071bffcb"),
    ],
)
def test_fill_gives_the_published_values(key: str, shape: tuple[int, ...], digest: str) -> None:
    values = fill(key, shape)
    assert values.shape == shape and values.dtype == np.float32
    assert hashlib.sha256(values.tobytes()).hexdigest()[:16] == digest
    assert not np.array_equal(values, fill(key, shape, "salt"))


def test_computed_buffers_are_not_weights() -> None:
    assert is_computed("gpt/conditioning_encoder.embed.pos_enc.pe")
    with pytest.raises(KeyError):
        fill("bigvgan/activation_post.upsample.filter", (1, 1, 12))
    assert fill("campplus/head.bn1.num_batches_tracked", ()).dtype == np.int64


@pytest.mark.parametrize(
    ("got", "ok", "error"),
    [
        (np.array([1.0, 2.05]), True, 0.05),
        (np.array([1.0, 2.2]), False, 0.2),
        (np.array([1.0, np.nan]), False, np.nan),
        (np.array([[1.0, 2.0]]), False, np.inf),
    ],
)
def test_arrays_are_judged_by_the_largest_difference(
    got: np.ndarray, ok: bool, error: float
) -> None:
    check = compare("array", got, np.array([1.0, 2.0]), context())
    assert check.ok is ok and check.tolerance == 0.1
    assert check.max_error == pytest.approx(error, nan_ok=True)


def test_integers_are_exact() -> None:
    want = np.array([3, 4])
    assert compare("ids", torch.tensor([3, 4]), want, context()).ok
    assert not compare("ids", torch.tensor([3, 5]), want, context(ids=100.0)).ok


def test_the_longest_pattern_sets_the_tolerance() -> None:
    ctx = context(**{"mel*": 0.5, "mel_basis": 0.01})
    assert [ctx.tolerance(name) for name in ("mel_basis", "mel80", "x")] == [0.01, 0.5, 0.1]
    assert GoldenContext(file="two.npz", config={}, manifest={}).tolerance("x") == 0.0


def test_informative_arrays_are_never_failures() -> None:
    arrays = {"loose_a": np.ones(2), "loose_b": np.ones(2), "strict": np.ones(2), "x": np.ones(2)}
    checks = judge(arrays, {"loose_a": np.zeros(2)}, ["x"], context())
    assert {check.name: check.ok for check in checks} == {
        "one.npz:loose_a": True,
        "one.npz:loose_b": True,
        "one.npz:strict": False,
    }


def test_capture_leaves_no_hook_behind() -> None:
    layer = torch.nn.Linear(2, 2)
    with capture({"layer": layer}) as seen:
        out = layer(torch.ones(1, 2))
    assert torch.equal(seen["layer"], out)
    layer(torch.zeros(1, 2))
    assert torch.equal(seen["layer"], out)


@pytest.mark.official
@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("campplus", "campplus_cn_common.bin"),
        ("semantic_codec", "semantic_codec/model.safetensors"),
    ],
)
def test_the_modules_take_exactly_the_official_tensors(part: str, file: str) -> None:
    listing = OFFICIAL.parent / "state_dict.json"
    if not listing.is_file():
        pytest.skip("needs the list of official tensors beside INDEXTTS_OFFICIAL_DIR")
    names = json.loads(listing.read_text("utf-8"))[file]["tensors"]
    wanted = {key for key in names if map_key(part, key) is not None}
    module = (
        Campplus(**CampplusConfig().model_dump())
        if part == "campplus"
        else SemanticCodec(**SemanticCodecConfig().model_dump())
    )
    ours = set(filled(part, module, part, ""))
    folded = {key.removesuffix("_g") for key in wanted if not key.endswith("_v")}
    assert ours == folded

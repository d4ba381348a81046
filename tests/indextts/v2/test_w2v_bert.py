from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from indextts.goldens.arrays import capture
from indextts.goldens.v2_voice import check_w2v_bert
from indextts.v2.w2v_bert import W2vBert
from tests.indextts.v2.goldens import (
    failures,
    golden_arrays,
    golden_context,
    official_folder,
    with_unknown,
)

FILE = "w2v_bert_tiny.npz"


def tiny(used_layer: int = 2, num_hidden_layers: int = 4) -> W2vBert:
    torch.manual_seed(0)
    model = W2vBert(
        hidden_size=32,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=2,
        intermediate_size=48,
        left_max_position_embeddings=6,
        right_max_position_embeddings=3,
        conv_depthwise_kernel_size=5,
        used_layer=used_layer,
    )
    return model.eval()


@pytest.mark.official
def test_goldens() -> None:
    arrays = golden_arrays(FILE)
    checks = check_w2v_bert(arrays, golden_context(FILE, official=official_folder()))
    assert failures(checks) == {}
    assert len(checks) == len(arrays) - 3  # the three inputs


def test_goldens_without_the_statistics() -> None:
    checks = check_w2v_bert(with_unknown(golden_arrays(FILE)), golden_context(FILE))
    assert set(failures(checks)) == {"norm_out", "surprise"}


def test_a_set_deeper_than_the_used_layer_is_judged_to_its_end() -> None:
    ctx = golden_context("w2v_bert_tiny.npz", tolerance_max_abs={"w2v_bert_tiny.npz": {"*": 1e3}})
    deep = {**ctx.config, "w2v_bert": {**ctx.config["w2v_bert"], "num_hidden_layers": 18}}
    arrays = golden_arrays("w2v_bert_tiny.npz")
    del arrays["norm_out"]
    arrays["hidden_18"] = arrays["last_hidden_state"]
    assert failures(check_w2v_bert(arrays, replace(ctx, config=deep))) == {}


def test_wrong_weights_are_noticed() -> None:
    checks = check_w2v_bert(golden_arrays(FILE), golden_context(FILE, salt="other"))
    assert "hidden_1" in failures(checks)


@torch.no_grad()
def test_only_the_used_layers_exist() -> None:
    deep, shallow = tiny(used_layer=4), tiny(used_layer=2)
    kept = {k: v for k, v in deep.state_dict().items() if shallow.keeps(k)}
    shallow.load_state_dict(kept)
    assert len(shallow.encoder.layers) == 2
    assert not shallow.keeps("masked_spec_embed") and not shallow.keeps("encoder.layers.2.ffn1.w")
    x = torch.randn(1, 11, 160)
    with capture({"second": deep.encoder.layers[1]}) as seen:
        deep(x)
    assert torch.allclose(shallow(x), seen["second"], atol=1e-6)


@torch.no_grad()
def test_masked_frames_change_nothing_and_batch_equals_single() -> None:
    model, rows = tiny(), torch.randn(2, 13, 160)
    mask = torch.ones(2, 13, dtype=torch.int32)
    mask[1, 9:] = 0
    together = model(rows, mask)
    rows[1, 9:] = 100.0
    assert torch.allclose(model(rows, mask)[1, :9], together[1, :9], atol=1e-5)
    assert torch.allclose(model(rows[:1], mask[:1])[0], together[0], atol=1e-5)
    assert torch.allclose(model(rows[1:, :9])[0], together[1, :9], atol=1e-5)


@torch.no_grad()
def test_statistics_normalise() -> None:
    model, x = tiny(), torch.randn(1, 7, 160)
    plain = model(x)
    mean, var = torch.randn(32), torch.rand(32) + 0.5
    model.set_stats(mean, var)
    assert torch.allclose(model(x), (plain - mean) / var.sqrt(), atol=1e-5)
    assert not any("mean" in key or "var" in key for key in model.state_dict())
    with pytest.raises(ValueError, match="shape"):
        model.set_stats(torch.zeros(31), torch.ones(31))


def test_it_can_be_trained_and_drops_nothing_by_chance() -> None:
    model, x = tiny().train(), torch.randn(2, 9, 160)
    once = model(x)
    assert torch.equal(once, model(x))
    once.square().sum().backward()
    gradient = model.feature_projection.projection.weight.grad
    assert gradient is not None and gradient.abs().sum() > 0


def test_importing_the_module_does_not_import_transformers() -> None:
    code = (
        "import sys, indextts.v2.voice, indextts.v2.emotion; print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from indextts.blocks.codebook import FactorizedCodebook
from indextts.goldens.v2_voice import check_official_codec_lr, check_semantic_codec
from indextts.v2.semantic import SemanticCodec
from tests.indextts.v2.goldens import failures, golden_arrays, golden_context, with_unknown

TINY, OFFICIAL = "semantic_codec.npz", "official_codec_lr.npz"


def tiny() -> SemanticCodec:
    torch.manual_seed(0)
    codec = SemanticCodec(
        codebook_size=40,
        hidden_size=24,
        codebook_dim=4,
        vocos_dim=16,
        vocos_intermediate_dim=32,
        vocos_num_layers=2,
    )
    return codec.eval()


def test_goldens() -> None:
    arrays = golden_arrays(TINY)
    checks = check_semantic_codec(arrays, golden_context(TINY))
    assert failures(checks) == {}
    assert len(checks) == len(arrays) - 3  # the three inputs


def test_goldens_of_official_size() -> None:
    arrays = golden_arrays(OFFICIAL)
    checks = check_official_codec_lr(arrays, golden_context(OFFICIAL))
    assert failures(checks) == {}
    assert {c.name.partition(":")[2] for c in checks} >= {"ids", "lr_y", "vq2emb_slice"}


def test_wrong_weights_and_unknown_arrays_are_noticed() -> None:
    arrays = golden_arrays(TINY)
    assert "ids" in failures(check_semantic_codec(arrays, golden_context(TINY, salt="other")))
    checks = check_semantic_codec(with_unknown(arrays), golden_context(TINY))
    assert set(failures(checks)) == {"surprise"}


@torch.no_grad()
def test_batch_equals_single_both_ways() -> None:
    codec, rows = tiny(), torch.randn(3, 21, 24)
    ids, quantized = codec.quantize(rows)
    features = codec.vq2emb(ids)
    for row in range(3):
        alone, alone_quantized = codec.quantize(rows[row : row + 1])
        assert torch.equal(ids[row : row + 1], alone)
        assert torch.allclose(quantized[row : row + 1], alone_quantized, atol=1e-6)
        assert torch.allclose(features[row : row + 1], codec.vq2emb(alone), atol=1e-6)


@torch.no_grad()
def test_a_code_means_what_was_quantized() -> None:
    codec = tiny()
    ids, quantized = codec.quantize(torch.randn(1, 30, 24))
    assert len(set(ids[0].tolist())) > 5
    assert torch.allclose(codec.vq2emb(ids).transpose(1, 2), quantized, atol=1e-5)


@torch.no_grad()
def test_the_nearest_row_by_distance_on_the_sphere_is_chosen() -> None:
    torch.manual_seed(1)
    book = FactorizedCodebook(width=12, codebook_size=50, codebook_dim=6)
    x = torch.randn(1, 12, 80)
    ids, _ = book(x)
    frames = F.normalize(book.in_project(x)[0].t(), dim=-1)
    distance = torch.cdist(frames, F.normalize(book.codebook.weight, dim=-1))
    assert torch.equal(ids[0], distance.argmin(-1))


def test_a_zero_frame_has_a_code() -> None:
    book = FactorizedCodebook(width=12, codebook_size=50, codebook_dim=6)
    assert book.logits(torch.zeros(1, 6, 2)).isfinite().all()


@pytest.mark.parametrize("through_logits", [True, False])
def test_both_ways_of_training_reach_the_encoder(through_logits: bool) -> None:
    codec, x = tiny().train(), torch.randn(2, 10, 24)
    if through_logits:
        loss = F.cross_entropy(codec.logits(x).flatten(0, 1), torch.arange(20))
    else:
        loss = codec.quantize(x)[1].square().sum()
    first = next(codec.encoder.parameters())
    encoder, book = torch.autograd.grad(
        loss, [first, codec.codebook.codebook.weight], allow_unused=True
    )
    assert encoder is not None and encoder.abs().sum() > 0
    # Straight through, the choice of the row teaches the encoder and not the row.
    assert (book is not None) == through_logits

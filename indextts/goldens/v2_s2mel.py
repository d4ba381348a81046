"""Golden checks from latents to sound: regulator, flow estimator, sampler, vocoder."""

from __future__ import annotations

import re

import torch
import yaml
from torch import Tensor, nn

from indextts.blocks.alias_free import (
    AntiAliasedSnakeBeta,
    downsample2,
    kaiser_sinc_filter,
    snake_beta,
    upsample2,
)
from indextts.checks import Check
from indextts.goldens.arrays import Arrays, GoldenContext, capture, compare, judge, tensors, views
from indextts.goldens.v2 import load_filled
from indextts.tensors import Mel
from indextts.v2.config import (
    BigvganConfig,
    GptLayerConfig,
    InferenceConfig,
    LengthRegulatorConfig,
    S2melConfig,
)
from indextts.v2.dit import DiT
from indextts.v2.flow import FlowSampler, FlowState, time_span
from indextts.v2.regulator import GptLayer, LengthRegulator, nearest_index, target_length
from indextts.v2.vocoder import BigVGAN


def check_snake(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """The anti-aliased activation and its resamplings; Snake is SnakeBeta with one parameter."""
    x, short = tensors(arrays, "x", "short_x")
    taps = kaiser_sinc_filter()
    filters = dict.fromkeys(("filter_up", "filter_down"), taps.view(1, 1, -1))
    got = {"up": upsample2(x, taps), "down_of_up": downsample2(upsample2(x, taps), taps), **filters}
    inputs = ["x", "short_x"]
    for kind, names in {"snake": ("alpha", "alpha"), "snakebeta": ("alpha", "beta")}.items():
        keys = [f"{kind}_{name}" for name in names]
        inputs += keys
        alpha, beta = tensors(arrays, *keys)
        activation = AntiAliasedSnakeBeta(x.shape[1])
        activation.load_state_dict({"alpha": alpha, "beta": beta})
        got[f"{kind}_plain"] = snake_beta(x, alpha.exp()[:, None], (-beta).exp()[:, None])
        got[f"{kind}_antialiased"] = activation(x)
        got[f"short_{kind}_antialiased"] = activation(short)
    return judge(arrays, got, inputs, ctx)


@torch.no_grad()
def check_bigvgan(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """The vocoder at the set's sizes."""
    return _vocoder(arrays, BigvganConfig(**ctx.config["bigvgan"]), ctx)


@torch.no_grad()
def check_official_bigvgan(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """The vocoder at official size (specification 8)."""
    return _vocoder(arrays, BigvganConfig(), ctx)


def _vocoder(arrays: Arrays, config: BigvganConfig, ctx: GoldenContext) -> list[Check]:
    model = BigVGAN(config)
    load_filled("bigvgan", model, "bigvgan", ctx)
    watched: dict[str, nn.Module] = {f"up{i}": stage for i, stage in enumerate(model.ups)}
    watched |= {f"amp{i}": block for i, block in enumerate(model.resblocks)}
    watched |= {"conv_pre": model.conv_pre, "act_post": model.activation_post}
    with capture(watched) as seen:
        seen["wav"] = model(*tensors(arrays, "mel"))
    return judge(arrays, views(arrays, seen), ("mel",), ctx)


@torch.no_grad()
def check_length_regulator(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """The regulator for each ``ylens<n>``, its index, its batch and the table of lengths."""
    config = LengthRegulatorConfig(**ctx.config["s2mel"]["length_regulator"])
    model = LengthRegulator(config)
    load_filled("length_regulator", model, "s2mel/length_regulator", ctx)
    x, batch, batch_frames = tensors(arrays, "x", "batch_x", "batch_ylens")
    lengths = [name for name in arrays if re.fullmatch(r"ylens\d*", name)]
    got = {name.replace("lens", ""): model(x, *tensors(arrays, name)) for name in lengths}
    [frames] = tensors(arrays, "ylens")
    got["nearest_index"] = nearest_index(torch.tensor([x.shape[1]]), frames, int(frames))[0]
    codes = arrays["codelen"].tolist()
    got["target_len_of_codelen"] = torch.tensor([target_length(count) for count in codes])
    got["batch_y"] = model(batch, batch_frames)
    checks = []
    for row, length in enumerate(batch_frames.tolist()):
        want = model(batch[row : row + 1], batch_frames[row : row + 1])[0].numpy()
        if length == int(batch_frames.max()):
            want = arrays["batch_y"][row]
        checks.append(compare(f"batch_y[{row}]", got["batch_y"][row, :length], want, ctx))
    inputs = ("x", "batch_x", "batch_ylens", "codelen", *lengths)
    return judge(arrays, got, inputs, ctx) + checks


@torch.no_grad()
def check_gpt_layer(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """The three Linear layers, outer widths as the arrays have them."""
    [x] = tensors(arrays, "x")
    sizes = (x.shape[-1], arrays["y"].shape[-1])
    model = GptLayer(model_dim=sizes[0], hidden=GptLayerConfig().hidden, features=sizes[1])
    load_filled("gpt_layer", model, "s2mel/gpt_layer", ctx)
    return judge(arrays, {"y": model(x)}, ("x",), ctx)


@torch.no_grad()
def check_dit(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """The estimator at the set's sizes, alone, with an unconditional row and in a batch."""
    model = _estimator(S2melConfig(**ctx.config["s2mel"]), ctx)
    got = _estimate(model, arrays)
    rows = [
        torch.cat((part, part * keep)) for part, keep in zip(_inputs(arrays), _KEPT, strict=True)
    ]
    frames = rows[0].shape[-1]
    got["y_stacked"] = _run(model, rows, [frames, frames])
    sweep, lengths = tensors(arrays, "adaln_in_t_sweep", "batch_lens")
    got["t_emb_sweep"] = model.t_embedder(sweep)
    batch = _inputs(arrays, "batch_")
    got["batch_y"] = _run(model, batch, lengths.tolist())
    checks = []
    for row, length in enumerate(lengths.tolist()):
        x, prompt, t, mu, style = (part[row : row + 1] for part in batch)
        alone = [x[..., :length], prompt[..., :length], t, mu[:, :length], style]
        want = _run(model, alone, [length])[0].numpy()
        if length == batch[0].shape[-1]:
            want = arrays["batch_y"][row]
        checks.append(compare(f"batch_y[{row}]", got["batch_y"][row, :, :length], want, ctx))
    inputs = [*_INPUTS, *(f"batch_{name}" for name in _INPUTS), "batch_lens", "adaln_in_t_sweep"]
    return judge(arrays, got, inputs, ctx) + checks


@torch.no_grad()
def check_official_dit(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """The estimator at the sizes of the official config.yaml, and Euler steps with it."""
    path = ctx.official / "config.yaml" if ctx.official is not None else None
    inputs = [*_INPUTS, "z"]
    if path is None or not path.is_file():
        return judge(arrays, {}, inputs, ctx)
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    model = _estimator(S2melConfig(**config["s2mel"]), ctx)
    got = _estimate(model, arrays)
    prompt, mu, style, noise = tensors(arrays, "prompt_x", "mu", "style", "z")
    prompt_frames = int(prompt.abs().sum(dim=1).count_nonzero())
    for name in arrays:
        if match := re.fullmatch(r"euler(\d+)_cfg([\d.]+)", name):
            sampler = FlowSampler(model, steps=int(match[1]), cfg_rate=float(match[2]))
            start = sampler.start(mu, Mel(prompt[..., :prompt_frames]), style, noise)
            got[name] = _sample(sampler, start).x
    return judge(arrays, got, inputs, ctx)


@torch.no_grad()
def check_cfm(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """Euler sampling; rate, steps and cache interval are read from the arrays' names."""
    model = _estimator(S2melConfig(**ctx.config["s2mel"]), ctx)
    noise, prompt, mu, style = tensors(arrays, "z", "prompt", "mu", "style")
    steps = len(arrays["t_span"]) - 1

    def run(rate: float, match: re.Match[str]) -> FlowState:
        sampler = FlowSampler(
            model,
            steps=int(match[2] or steps),
            cfg_rate=rate,
            cfg_cache_interval=int(match[3] or 1),
        )
        return _sample(sampler, sampler.start(mu, Mel(prompt), style, noise))

    got = {"t_span": time_span(steps)}
    for name, want in arrays.items():
        match = _SAMPLED.fullmatch(name)
        if match is None:
            continue
        states = [run(rate, match) for rate in _rates(arrays, match[1])]
        if name.startswith("rows"):
            got[name] = torch.tensor(states[0].rows)
        else:
            differences = [(state.x - torch.from_numpy(want)).abs().max() for state in states]
            got[name] = states[int(torch.stack(differences).argmin())].x
    return judge(arrays, got, ("z", "prompt", "mu", "style"), ctx)


_SAMPLED = re.compile(r"(?:y|rows)(?:_cfg([\d.]+))?(?:_steps(\d+))?(?:_cache(\d+)(?:_diff)?)?")


def _rates(arrays: Arrays, stated: str | None) -> list[float]:
    """The guidance rate that a name states; else what it may be: the set's rates, or the usual."""
    if stated is not None:
        return [float(stated)]
    named = {float(match[1]) for match in map(_SAMPLED.fullmatch, arrays) if match and match[1]}
    return sorted(named - {0.0}) or [InferenceConfig().cfg_rate]


_INPUTS = ("x", "prompt_x", "t", "mu", "style")
_KEPT = (1, 0, 1, 0, 0)  # of the inputs by the unconditional row


def _inputs(arrays: Arrays, prefix: str = "") -> list[Tensor]:
    return tensors(arrays, *(prefix + name for name in _INPUTS))


def _run(model: DiT, inputs: list[Tensor], lengths: list[int]) -> Tensor:
    x, prompt, t, mu, style = inputs
    velocity: Tensor = model(x, prompt, lengths, t, mu, style)
    return velocity


def _estimate(model: DiT, arrays: Arrays) -> dict[str, Tensor]:
    """One evaluation and everything inside it that the arrays ask for."""
    watched: dict[str, nn.Module] = {f"layer{i}": b for i, b in enumerate(model.transformer.layers)}
    watched |= {
        "t_emb": model.t_embedder,
        "t_emb2": model.t_embedder2,
        "transformer_out": model.transformer,
        "wavenet_out": model.wavenet,
        "final_layer_out": model.final_layer,
    }
    if model.skip_linear is not None:
        watched["long_skip"] = model.skip_linear
    entering: list[Tensor] = []
    handle = model.transformer.register_forward_pre_hook(
        lambda _module, inputs: entering.append(inputs[0])
    )
    inputs = _inputs(arrays)
    with capture(watched) as seen:
        seen["y"] = _run(model, inputs, [inputs[0].shape[-1]])
    handle.remove()
    seen["merged"] = entering[0]
    seen["wavenet_out"] = seen["wavenet_out"].transpose(1, 2)
    return views(arrays, seen)


def _estimator(config: S2melConfig, ctx: GoldenContext) -> DiT:
    model = DiT(config)
    load_filled("cfm", model, "s2mel/cfm", ctx)
    return model


def _sample(sampler: FlowSampler, state: FlowState) -> FlowState:
    while not sampler.done(state):
        state = sampler.step(state)
    return state

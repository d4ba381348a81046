"""A fused kernel for the anti-aliased SnakeBeta: the vocoder trains about twice as fast with it."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from indextts.blocks import alias_free

SOURCE = Path(__file__).with_name("snake.cpp")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")


def compiler() -> str | None:
    """The machine's C++ compiler."""
    return shutil.which("c++") or shutil.which("g++")


@cache
def _library(folder: Path) -> ctypes.CDLL:
    """The compiled kernel, built once into ``folder``."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    built = folder / f"snake-{digest}.so"
    if not built.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = built.with_suffix(".part")
        command = [compiler() or "c++", *FLAGS, str(SOURCE), "-o", str(part), "-lmvec", "-lm"]
        subprocess.run(command, check=True)
        part.rename(built)
    return ctypes.CDLL(str(built))


def _pointers(*tensors: Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


def _fused(library: ctypes.CDLL) -> Any:
    class Fused(torch.autograd.Function):
        """``[B, C, T] -> [B, C, T]`` with gradients for the input, frequency and inverse gain."""

        @staticmethod
        def forward(ctx: Any, x: Tensor, a: Tensor, g: Tensor, taps: Tensor) -> Tensor:
            x, a, g = x.contiguous(), a.contiguous(), g.contiguous()
            ctx.save_for_backward(x, a, g, taps)
            out = torch.empty_like(x)
            batch, channels, length = x.shape
            inputs = _pointers(x, a, g, taps)
            library.snake_forward(*inputs, batch * channels, channels, length, *_pointers(out))
            return out

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Any:
            x, a, g, taps = ctx.saved_tensors
            batch, channels, length = x.shape
            by_x = torch.empty_like(x)
            by_a, by_g = torch.empty(2, batch, channels)
            inputs = _pointers(x, grad.contiguous(), a, g, taps)
            sizes = (batch * channels, channels, length)
            library.snake_gradient(*inputs, *sizes, *_pointers(by_x, by_a, by_g))
            return by_x, by_a.sum(0).view_as(a), by_g.sum(0).view_as(g), None

    return Fused


@contextmanager
def fused_snake(folder: Path) -> Iterator[None]:
    """Let BigVGAN's activations run through the kernel, which is built in ``folder``.

    Without a C++ compiler nothing changes, and the vocoder trains at half the speed.
    """
    if compiler() is None:
        yield
        return
    fused, plain = _fused(_library(folder)), alias_free.antialiased_snake_beta
    taps = alias_free.kaiser_sinc_filter()

    def activation(x: Tensor, frequency: Tensor, inverse_gain: Tensor, phases: Tensor) -> Tensor:
        result: Tensor = fused.apply(x.float(), frequency, inverse_gain, taps)
        return result

    alias_free.antialiased_snake_beta = activation
    try:
        yield
    finally:
        alias_free.antialiased_snake_beta = plain

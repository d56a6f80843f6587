"""What a GPU does at most: products of matrices, attention by each of torch's kernels, copies within it and from the host.
Knows no model; gpu.py runs it beside the models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from turns import timed


def ceilings(device: torch.device) -> Iterator[dict[str, float | str]]:
    """What is known so far, again and again: TFLOP/s and GB/s, or why there is no figure."""
    n = 8192 if device.type == "cuda" else 256
    a, b = (torch.randn(n, n, device=device).bfloat16() for _ in range(2))
    found = {"matmul_bf16_tflops": 2 * n**3 / best(lambda: a @ b) / 1e12}
    if device.type == "cuda":
        one = torch.ones((), device=device)
        small = [x.to(torch.float8_e4m3fn) for x in (a, b)]
        found["matmul_fp8_tflops"] = 2 * n**3 / best(
            lambda: torch._scaled_mm(small[0], small[1].t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
        ) / 1e12  # fmt: skip
    size = 1 << (30 if device.type == "cuda" else 24)
    source, target = (torch.empty(size, dtype=torch.uint8, device=device) for _ in range(2))
    found["device_copy_gb_s"] = 2 * size / best(lambda: target.copy_(source)) / 1e9
    if device.type == "cuda":
        seconds, _, pinned = timed(lambda: torch.empty(size, dtype=torch.uint8, pin_memory=True))
        plain = torch.ones(size, dtype=torch.uint8)
        found |= {
            "pinning_gb_s": size / seconds / 1e9,
            "pinned_to_device_gb_s": size / best(lambda: target.copy_(pinned, non_blocking=True)) / 1e9,
            "device_to_pinned_gb_s": size / best(lambda: pinned.copy_(source, non_blocking=True)) / 1e9,
            "plain_to_device_gb_s": size / best(lambda: target.copy_(plain), 2) / 1e9,
        }
    yield found
    heads, tokens, width = (40, 21 * 30 * 52, 128) if device.type == "cuda" else (2, 64, 16)
    q, k, v = (torch.randn(1, heads, tokens, width, device=device).bfloat16() for _ in range(3))
    for name in ("", "FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):  # 14B's self-attention
        try:
            with sdpa_kernel(getattr(SDPBackend, name)) if name else nullcontext():
                seconds = best(lambda: F.scaled_dot_product_attention(q, k, v), 3)
            found[f"attention_{name.lower() or 'default'}_tflops"] = 4 * heads * tokens**2 * width / seconds / 1e12
        except RuntimeError as error:
            found[f"attention_{name.lower()}"] = str(error).splitlines()[0][:120]
    yield found


def best(work, runs: int = 5) -> float:
    work()
    return min(timed(work)[0] for _ in range(runs))

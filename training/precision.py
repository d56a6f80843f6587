"""Whether this machine computes in bfloat16: where the processor lacks it, it is emulated, many times slower than
float32."""

from __future__ import annotations

from functools import cache

import torch


@cache
def has_bfloat16() -> bool:
    found = torch.cpu.get_capabilities()
    return bool(found.get("amx_bf16") or found.get("avx512_bf16") or found.get("bf16"))  # the last: Arm


def autocast(device: torch.device | str = "cpu") -> torch.autocast:
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or has_bfloat16())


def autocast_backward(device: torch.device | str) -> torch.autocast:
    """For convolutions that learn: on processors with AMX torch 2.13 crashes in their backward pass in bfloat16, and
    without AMX float32 is faster. So bfloat16 on a GPU only."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu")

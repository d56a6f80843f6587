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

"""LoRA files in every spelling in circulation, as low-rank additions to a module's parameters, put on and taken off.

Knows no family: how else a family's parameters are called in such files is a table that it brings along. The weights
themselves are never written to, so that a module without its LoRAs is the one that was loaded, to the bit.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpoint import KeyMap, open_checkpoint, rename
from .errors import CheckpointError

log = logging.getLogger(__name__)

# What stands before the name of a parameter: ComfyUI and the official tools, diffusers, peft, kohya, SimpleTuner.
PREFIX = re.compile(
    r"base_model\.model\.|model\.diffusion_model\.|diffusion_model\.|transformer\.|unet\.|model\."
    r"|lora_unet_+|lora_transformer_+|lycoris_+"
)
# What stands behind it -> which part of the addition the tensor is. Spellings: ComfyUI comfy/weight_adapter/lora.py.
ROLES = tuple((re.compile(pattern), role) for pattern, role in (
    (r"(.+?)[._]lora(?:_linear_layer)?[._](?:down|A)(?:\.default)?(?:\.weight)?", "down"),
    (r"(.+?)[._]lora(?:_linear_layer)?[._](?:up|B)(?:\.default)?(?:\.weight)?", "up"),
    (r"(.+)\.alpha", "alpha"),
    (r"(.+)\.diff", "diff"),
    (r"(.+)\.diff_b", "bias"),
    (r"(.+)\.diff_m", "modulation"),
))  # fmt: skip
OTHER_KINDS = ("lora_mid", "dora_scale", "lokr_", "hada_", "oft_", "glora", "set_weight", "reshape_weight")


@dataclass(frozen=True)
class Patch:
    """What is added to one parameter: up @ down * scale, or `diff` as it is.

    up: [rows, rank, 1 …]; down: [rank, columns, kernel …]; diff: of the parameter's shape.
    """

    down: Tensor | None = None
    up: Tensor | None = None
    scale: float = 1.0
    diff: Tensor | None = None

    def shape(self) -> tuple[int, ...]:
        return tuple(self.diff.shape) if self.diff is not None else (self.up.shape[0], *self.down.shape[1:])

    def delta(self, like: Tensor) -> Tensor:
        """The addition as one tensor of the parameter's shape, in float32 on its device."""
        if self.diff is not None:
            return self.diff.to(like.device, torch.float32).reshape(like.shape)
        up, down = (factor.to(like.device, torch.float32).flatten(1) for factor in (self.up, self.down))
        return (up @ down).reshape(like.shape) * self.scale


@dataclass(frozen=True)
class Lora:
    """One file's additions, by parameter name, `strength` times."""

    name: str
    strength: float
    patches: Mapping[str, Patch] = field(repr=False)


def read_lora(path, module: nn.Module, key_map: KeyMap = (), strength: float = 1.0) -> Lora:
    """The additions of a LoRA file to `module`.

    key_map: (pattern, replacement) pairs from other names of its parameters. Keys for layers that the module does not
    have, and single layers of another width (the patch embedding of a text-to-video LoRA), are left out and named in
    the log. CheckpointError naming file and keys where none fits, where more have another width than fit, or where the
    file is of another kind.
    """
    path = Path(path)
    checkpoint = open_checkpoint(path)
    names = spellings(module)
    shapes = {name: tuple(value.shape) for name, value in module.named_parameters()}
    found, unknown = collect(checkpoint, names, key_map)
    patches, wrong = {}, []
    for name, parts in found.items():
        patch = patch_of(parts, name, path)
        if trimmed(patch.shape()) == trimmed(shapes[name]):
            patches[name] = patch
        else:
            wrong.append(f"{name} ({list(patch.shape())} to {list(shapes[name])})")
    if not patches or len(wrong) > len(patches):
        raise CheckpointError(misfit(path, checkpoint, unknown, wrong, type(module).__name__))
    for keys, what in ((unknown, "for layers that this model does not have"), (wrong, "of another width")):
        if keys:
            log.warning("%s: %d keys %s are left out: %s", path.name, len(keys), what, some(keys))
    return Lora(path.name, strength, patches)


def spellings(module: nn.Module) -> dict[str, str]:
    """Parameter names by what files call them: without '.weight', and with '_' in place of dots (kohya's tools)."""
    names = {}
    for name, _ in module.named_parameters():
        short = name.removesuffix(".weight").replace(".", "_")
        if short in names:
            raise ValueError(f"{name} and {names[short]} are both called {short}.")
        names[short] = name
    return names


def collect(checkpoint, names: Mapping[str, str], key_map: KeyMap) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """({parameter: {role: tensor}}, keys that belong to no parameter)"""
    found, unknown = {}, []
    for key in checkpoint:
        base, role = split(key, checkpoint.path)
        name = parameter(base, names, key_map) if base is not None else None
        if role == "bias":
            name, role = bias_beside(name, names), "diff"
        elif role == "modulation":
            name, role = names.get(f"{base}.modulation".replace(".", "_")), "diff"
        if name is None:
            unknown.append(key)
        else:
            found.setdefault(name, {})[role] = checkpoint[key]
    return found, unknown


def split(key: str, path: Path) -> tuple[str | None, str]:
    """A key's base name without prefixes, and its role; (None, '') for a key that is no part of a LoRA."""
    other = next((kind for kind in OTHER_KINDS if kind in key), None)
    if other is not None:
        raise CheckpointError(
            f"{path}: {key!r} is of another kind of addition than a plain LoRA ({other.strip('_')}), which is not "
            "read. "
            "Use a plain LoRA, or merge it into the model."
        )
    for pattern, role in ROLES:
        match = pattern.fullmatch(key)
        if match:
            base = match[1]
            while prefix := PREFIX.match(base):
                base = base[prefix.end() :]
            return base.replace(".processor.", "."), role
    return None, ""


def parameter(base: str, names: Mapping[str, str], key_map: KeyMap) -> str | None:
    """The parameter that a base name means: the module's own names first, since two families use some alike."""
    for name in (base, rename(base, key_map), rename(f"{base}.weight", key_map).removesuffix(".weight")):
        if name.replace(".", "_") in names:
            return names[name.replace(".", "_")]
    return None


def bias_beside(weight: str | None, names: Mapping[str, str]) -> str | None:
    """The bias of the layer that a weight belongs to."""
    return weight and names.get(weight.removesuffix(".weight").replace(".", "_") + "_bias")


def patch_of(parts: Mapping[str, Tensor], name: str, path: Path) -> Patch:
    if "diff" in parts:
        return Patch(diff=parts["diff"])
    missing = [role for role in ("down", "up") if role not in parts]
    if missing:
        raise CheckpointError(f"{path} holds only a part of {name}: its {missing[0]} matrix is missing.")
    down, up = parts["down"], parts["up"]
    rank = down.shape[0]
    if up.shape[1] != rank:
        raise CheckpointError(f"{path}: the two matrices of {name} have ranks {rank} and {up.shape[1]}.")
    return Patch(down, up, parts["alpha"].item() / rank if "alpha" in parts else 1.0)


def trimmed(shape: tuple[int, ...]) -> list[int]:
    """A shape without the axes of length one: files keep biases and modulations with or without them."""
    return [size for size in shape if size != 1]


def misfit(path: Path, checkpoint, unknown: list[str], wrong: list[str], model: str) -> str:
    if wrong:
        return (
            f"{path} is a LoRA for a model of another size: it does not fit a {model} in {len(wrong)} layers "
            f"({some(wrong)}). Use the one that was made for this model's size."
        )
    if any(split(key, path)[0] is not None for key in unknown):
        return (
            f"{path} is a LoRA for another model: none of its {len(checkpoint)} keys belongs to a {model} "
            f"({some(unknown)}). Use one that was made for this model."
        )
    return f"{path} is not a LoRA: its keys are {some(list(checkpoint))}. Choose a file from models/loras."


def some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


@contextmanager
def applied(module: nn.Module, loras: Iterable[Lora]) -> Iterator[None]:
    """Inside the block, `module` computes with its LoRAs.

    Beside a Linear weight, whatever it is stored as, the low-rank product is added to what the layer gives; small
    parameters (norms, biases, a patch embedding) are replaced and put back.
    """
    hooks, replaced = [], []
    wanted: dict[str, list[tuple[float, Patch]]] = {}
    for lora in loras:
        for name, patch in lora.patches.items():
            if lora.strength:
                wanted.setdefault(name, []).append((lora.strength, patch))
    try:
        for name, patches in wanted.items():
            owner, _, leaf = name.rpartition(".")
            owner = module.get_submodule(owner)
            if isinstance(owner, nn.Linear) and leaf == "weight":
                hooks.append(owner.register_forward_hook(Addition(patches)))
                continue
            value = owner._parameters[leaf]
            total = sum((strength * patch.delta(value) for strength, patch in patches), torch.zeros(()))
            replaced.append((owner, leaf, value))
            sum_of = (value.detach().float() + total.to(value.device)).to(value.dtype)
            owner._parameters[leaf] = nn.Parameter(sum_of, requires_grad=False)
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for owner, leaf, value in replaced:
            owner._parameters[leaf] = value


class Addition:
    """A hook that adds the LoRAs of one Linear layer to its output. The factors of all of them are joined to one pair,
    which is kept in the width and on the device of what the layer computes."""

    def __init__(self, patches: list[tuple[float, Patch]]):
        self.patches = patches
        self.joined: tuple[Tensor | None, Tensor | None, Tensor | None] | None = None

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = inputs[0]
        if self.joined is None:
            self.joined = self.join(output)
        down, up, diff = self.joined
        if up is not None:
            output = output + F.linear(F.linear(x, down), up)
        return output if diff is None else output + F.linear(x, diff)

    def join(self, like: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        def cast(tensors: list[Tensor]) -> list[Tensor]:
            return [tensor.to(like.device, torch.float32) for tensor in tensors]

        low = [(strength, patch) for strength, patch in self.patches if patch.diff is None]
        full = [strength * patch.diff.to(like.device, torch.float32) for strength, patch in self.patches
                if patch.diff is not None]  # fmt: skip
        down = up = None
        if low:
            down = torch.cat(cast([patch.down.flatten(1) for _, patch in low])).to(like.dtype)
            scales = [strength * patch.scale for strength, patch in low]
            ups = cast([patch.up.flatten(1) for _, patch in low])
            up = torch.cat([scale * part for scale, part in zip(scales, ups)], dim=1).to(like.dtype)
        return down, up, sum(full[1:], full[0]).to(like.dtype) if full else None

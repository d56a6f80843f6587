"""The dtype policy, applied from outside to finished modules: what weights are stored and computed in, fp8 cast on use.
Knows plain torch layers only: no family, no file, no device policy beyond a default."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .errors import CheckpointError, ModelError
from .onednn import PLAIN, use_onednn
from .pieces import PIECE

E4M3 = torch.float8_e4m3fn
FP8 = (E4M3, torch.float8_e5m2)
NAMES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16,
         "fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}  # fmt: skip
DTYPES = ("auto", *NAMES)
# Weights that stay out of fp8, by parts of their names:
# kijai/ComfyUI-WanVideoWrapper nodes_model_loading.py (params_to_keep).
SENSITIVE = ("norm", "bias", "time_in", "patch_embedding", "time_", "img_emb", "modulation", "text_embedding",
             "adapter", "add", "ref_conv", "audio_proj", "head")  # fmt: skip
# Below this size 16-bit weights are widened once on loading where the computation is in float32, above it on use.
WIDEN_BELOW = 2 * 2**30  # bytes after widening


class CastLinear(nn.Linear):
    """A Linear layer whose weight is stored in another dtype than its input's, times its `scale_weight` if any."""

    converted: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        weight = real_weight(self, x.dtype) if self.converted is None else self.converted
        return F.linear(x, weight, None if self.bias is None else self.bias.to(x.dtype))

    @contextmanager
    def converted_once(self, x: Tensor) -> Iterator[None]:
        """Within: the weight as it is for inputs like x, which come in pieces."""
        self.converted = real_weight(self, x.dtype)
        try:
            yield
        finally:
            self.converted = None


class CastEmbedding(nn.Embedding):
    """An embedding table stored in another dtype than the rows it gives."""

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids).to(self.compute)


class ScaledLinear(CastLinear):
    """A Linear layer whose fp8 weight is multiplied as it is, with inputs that are brought to fp8 on the way in."""

    converted_once = None  # it is not converted

    def forward(self, x: Tensor) -> Tensor:
        small, scale = scaled_down(x.reshape(-1, x.shape[-1]))
        own = self._buffers.get("scale_weight")
        own = torch.ones((), device=x.device) if own is None else own.float().reshape(())
        width = torch.bfloat16 if x.dtype == torch.float32 else x.dtype
        bias = None if self.bias is None else self.bias.to(width)
        product = torch._scaled_mm(small, self.weight.t(), scale_a=scale, scale_b=own, bias=bias, out_dtype=width)
        return product.to(x.dtype).reshape(*x.shape[:-1], -1)


def scaled_down(rows: Tensor) -> tuple[Tensor, Tensor]:
    """[rows, columns] as fp8 and the factor that is left out of it, some rows at a time: in float32 all of them would
    be the largest tensor of a step."""
    largest = torch.finfo(E4M3).max
    scale = torch.stack(rows.aminmax()).abs().amax().float() / largest
    scale = scale.clamp(min=torch.finfo(torch.float32).tiny)
    small = torch.empty(rows.shape, dtype=E4M3, device=rows.device)
    for part, wide in zip(*(y.split(max(1, PIECE // (4 * rows.shape[1]))) for y in (small, rows))):
        part.copy_((wide.float() / scale).clamp_(-largest, largest))
    return small, scale


def multiplies_fp8(device: torch.device) -> bool:
    """Whether fp8 matrix products are done by the hardware: NVIDIA Ada (8.9) and newer."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)


def use_fp8_products(module: nn.Module) -> int:
    """Lets the Linear layers that hold fp8 weights with one scale multiply them as such; gives how many."""
    count = 0
    for layer in module.modules():
        if type(layer) is CastLinear and layer.weight.dtype in FP8 and not any(n % 16 for n in layer.weight.shape):
            scale = layer._buffers.get("scale_weight")
            if scale is None or scale.numel() == 1:
                layer.__class__ = ScaledLinear
                count += 1
    return count


def real_weight(layer: nn.Linear, dtype: torch.dtype) -> Tensor:
    """The layer's weight as a number in `dtype`, with the scale of scaled fp8 files applied (rounded once)."""
    scale = layer._buffers.get("scale_weight")
    if scale is None:
        return layer.weight.to(dtype)
    rows = scale.reshape(()) if scale.numel() == 1 else scale.reshape(-1, 1)
    return layer.weight.to(dtype, copy=True).mul_(rows)


def resolve_dtype(name: str, device="cpu") -> tuple[torch.dtype | str, torch.dtype]:
    """(storage, compute) for one of DTYPES. "auto" stores what the file holds; it and fp8 compute in float32 on a CPU
    and in bfloat16 elsewhere (float16 on GPUs without it)."""
    if name not in DTYPES:
        raise ModelError(f"There is no dtype {name!r}; choose one of {', '.join(DTYPES)}.")
    kind = torch.device(device).type
    usual = torch.float32
    if kind != "cpu":
        usual = torch.float16 if kind == "cuda" and not torch.cuda.is_bf16_supported() else torch.bfloat16
    storage = NAMES.get(name, "auto")
    return storage, usual if name == "auto" or storage in FP8 else storage


def prepare(module: nn.Module, dtype: str, device, keep: Sequence[str] = SENSITIVE) -> torch.dtype:
    """Settles a loaded module's dtypes by one of DTYPES for use on `device`; returns what it computes in."""
    storage, compute = resolve_dtype(dtype, device)
    apply_dtype(module, storage, compute, keep)
    if compute == torch.float32 and torch.device(device).type == "cpu":
        use_onednn(module)
    return compute


def apply_dtype(
    module: nn.Module,
    storage: torch.dtype | str = "auto",
    compute: torch.dtype = torch.float32,
    keep: Sequence[str] = SENSITIVE,
) -> nn.Module:
    """Settles every floating-point tensor of a loaded module, layer by layer, never holding it twice.

    storage: of the weights of Linear layers and large embedding tables. "auto" is what the file holds: fp8 stays fp8,
    and 16-bit weights are widened to `compute` once where that is cheap, else on use. An fp8 dtype casts the large
    Linear weights, `keep` excepted (see `store_fp8`). Everything else (norms, biases, modulation, convolutions) is in
    `compute`.
    """
    widen = storage == "auto" and _elements(module) * compute.itemsize <= WIDEN_BELOW
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            _check_scale(layer)
            _settle_linear(layer, storage, compute, widen)
        elif isinstance(layer, nn.Embedding) and not widen and storage != compute:
            layer.__class__, layer.compute = CastEmbedding, compute
            _convert(layer, compute, except_for=("weight",))
        else:
            _convert(layer, compute)
    if storage in FP8:
        store_fp8(module, storage, keep)
    return module


def store_fp8(
    module: nn.Module, dtype: torch.dtype = torch.float8_e4m3fn, keep: Sequence[str] = SENSITIVE
) -> nn.Module:
    """Casts Linear weights to fp8, each with its own scale so that its largest value is the largest that fp8 has.

    keep: parts of the names of weights to leave as they are. Layers already in fp8 are left too.
    """
    if dtype not in FP8:
        raise ModelError(f"{dtype} is not an fp8 dtype; choose torch.float8_e4m3fn or torch.float8_e5m2.")
    largest = torch.finfo(dtype).max
    for name, layer in module.named_modules():
        if not _is_plain_linear(layer) or layer.weight.dtype in FP8 or any(part in f"{name}.weight" for part in keep):
            continue
        weight = real_weight(layer, torch.float32)
        scale = (weight.abs().amax() / largest).clamp(min=torch.finfo(torch.float32).tiny)
        layer.weight = nn.Parameter((weight / scale).clamp_(-largest, largest).to(dtype), requires_grad=False)
        layer.register_buffer("scale_weight", scale)
        layer.__class__ = CastLinear
    return module


def _settle_linear(layer: nn.Linear, storage: torch.dtype | str, compute: torch.dtype, widen: bool) -> None:
    scaled = layer._buffers.get("scale_weight") is not None
    stored = layer.weight.dtype
    target = storage
    if storage == "auto":
        narrow = stored in FP8 or scaled or (stored.itemsize < compute.itemsize and not widen)
        target = stored if narrow else compute
    elif storage in FP8:
        target = stored
    if target != stored or (scaled and storage != "auto" and storage not in FP8):
        layer.weight = nn.Parameter(real_weight(layer, target), requires_grad=False)
        layer._buffers.pop("scale_weight", None)
    _convert(layer, compute, except_for=("weight", "scale_weight"))
    if layer.weight.dtype != compute or layer._buffers.get("scale_weight") is not None:
        if not _is_plain_linear(layer):
            raise ModelError(f"{type(layer).__name__} cannot hold {layer.weight.dtype} weights; only nn.Linear can.")
        layer.__class__ = CastLinear


def _convert(layer: nn.Module, dtype: torch.dtype, except_for: Sequence[str] = ()) -> None:
    for name, value in layer._parameters.items():
        if value is not None and name not in except_for and value.is_floating_point() and value.dtype != dtype:
            layer._parameters[name] = nn.Parameter(value.detach().to(dtype), requires_grad=False)
    for name, value in layer._buffers.items():
        if value is not None and name not in except_for and value.is_floating_point() and value.dtype != dtype:
            layer._buffers[name] = value.to(dtype)


def _is_plain_linear(layer: nn.Module) -> bool:
    return type(layer) in (*PLAIN, CastLinear)


def _check_scale(layer: nn.Linear) -> None:
    scale = layer._buffers.get("scale_weight")
    if scale is not None and scale.numel() not in (1, layer.out_features):
        raise CheckpointError(
            f"An fp8 scale has {scale.numel()} values for {layer.out_features} rows; one, or "
            "one a row, is understood. Use another fp8 version of the model, or the 16-bit one."
        )


def _elements(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters() if value.dtype not in FP8)

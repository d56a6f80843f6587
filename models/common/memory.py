"""How much memory a model takes while it runs, told before it is loaded: the same code runs on tensors without
contents, and what they would take is added up. Knows no family."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .attention import use_attention
from .options import SMALLEST_SWAP, Options
from .pieces import hollow_as_on_a_cpu

SETTLED = 6  # latent frames after which a VAE holds all that it ever remembers
TILES = (512, 384, 256)  # sides in pixels of the tiles that a VAE works in where whole frames do not fit
CARDS = (8, 12, 16, 24)  # GB of the graphics cards that suggestions are made for
# Bytes. What a GPU holds beside tensors: the CUDA context, the libraries' workspaces.
OVERHEAD = 800_000_000
# What torch's allocator holds and cannot hand out while blocks are swapped, and by how much the prediction was short: 1.2
# and 0.5 GB on an H100 (benchmarks/LOG.md), of which OVERHEAD has 0.3. Swapping a few blocks more costs little time.
SCATTERED = 1.4e9


class LiveBytes(TorchDispatchMode):
    """Inside the block: `now` bytes of the tensors that came into being there and still live, and their `peak`.

    twice: operations that hold their result twice while they run, in a layout of their own first.
    """

    def __init__(self, twice: Sequence = ()):
        super().__init__()
        self.twice = twice
        self.now = self.peak = 0
        self.seen: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        leaves = tree_leaves((args, kwargs or {}))
        given = {leaf.untyped_storage()._cdata for leaf in leaves if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in given:
                self.count(leaf.untyped_storage())
                if func in self.twice:
                    self.peak = max(self.peak, self.now + leaf.nbytes)
        return result

    def count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen and self.seen[key]() is not None:
            return

        def gone(_: weakref.ref) -> None:
            self.now -= size
            self.seen.pop(key, None)

        self.seen[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


class FusedAttention(TorchFunctionMode):
    """Inside the block torch's attention keeps its result alone, as its fused kernels do: tensors without contents are
    given to the one that keeps the scores."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Memory:
    """Bytes. weights: of the whole model as it is kept; blocks: of each swappable block; work: the most that one step
    takes beside them."""

    weights: int
    blocks: tuple[int, ...]
    work: int

    def on_device(self, options: Options) -> int:
        """The peak on the device that computes, without what the device itself takes."""
        resident = options.blocks_on_device
        if not 0 < resident < len(self.blocks):
            return self.weights + self.work
        slots = min(options.prefetch + 1, len(self.blocks) - resident + 1) * max(self.blocks)
        return self.weights - sum(self.blocks) + max(self.blocks) * (resident - 1) + slots + self.work

    def needed(self, options: Options) -> float:
        """Bytes of a GPU that must be free."""
        swapping = 0 < options.blocks_on_device < len(self.blocks)
        return self.on_device(options) + OVERHEAD + (SCATTERED if swapping else 0)

    def most_blocks(self, free: float, prefetch: int = 1) -> int | None:
        """How many blocks may stay on a GPU with that many bytes free: 0 for all, None where not even the fewest fit."""
        if self.needed(Options()) <= free:
            return 0
        for count in range(len(self.blocks) - 1, SMALLEST_SWAP - 1, -1):
            if self.needed(Options(blocks_on_device=count, prefetch=prefetch)) <= free:
                return count
        return None


def no_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """In place of attention: its result alone, since no fused backend keeps the scores."""
    return q.new_empty(q.shape[0], q.shape[2], q.shape[1] * v.shape[3])


@torch.no_grad()
def measure(model, width: int, height: int, frames: int) -> Memory:
    """What `model`, loaded without contents (on the meta device), would take for a clip of that size, with guidance, on
    the device that it names and by its options: those that change what lives at once are batched guidance, fp8 products
    and TeaCache. ModelError where TeaCache knows no figures of it. What compiled blocks take is not known."""
    text, inputs = model.example_inputs(width, height, frames)
    shape, options = model.latent_shape(width, height, frames), model.options
    own = sum(value.nbytes for value in (*model.module.parameters(), *model.module.buffers()))
    blocks = tuple(
        sum(value.nbytes for module in group for value in (*module.parameters(), *module.buffers()))
        for group in model.groups()
    )
    on_cpu = model.device.type == "cpu"
    use_attention(model.module, no_attention)
    model.device = torch.device("meta")
    count, halves = (2, 1) if options.guidance == "batched" else (1, 2)
    cached = options.step_cache == "teacache"
    caches = [model.step_cache(options.step_cache_threshold, 2) if cached else None for _ in range(halves)]
    twice = (torch.ops.aten.convolution.default,) if on_cpu else ()  # oneDNN
    with LiveBytes(twice) as live, hollow_as_on_a_cpu() if on_cpu else nullcontext():
        x, t = torch.empty(count, *shape, device="meta"), torch.empty(count, device="meta")
        prompts = [torch.empty(count, *text, dtype=model.dtype, device="meta") for _ in range(halves)]
        cast = {
            name: torch.empty(count, *size[1:], dtype=model.dtype, device="meta") if size
            else torch.empty((), dtype=model.dtype, device="meta") for name, size in inputs.items()
        }  # fmt: skip
        kept = model.kept_at(width, height, frames, halves)
        for _ in range(2 if cached else 1):  # in the second, everything that is kept is there
            predictions = []
            for prompt, cache, known in zip(prompts, caches, kept):
                more = {name: value for name, value in (("cache", cache), ("kept", known)) if value is not None}
                predictions.append(model.predict(x, t, prompt, cast, **more).float())
                if cache is not None:
                    cache.step = 0  # the first step compares no numbers, of which there are none here
    return Memory(own, blocks, live.peak)


def measure_coding(vae, direction: str, width: int, height: int, frames: int, tile: int | None = None) -> int:
    """Bytes that a VideoVAE takes beside its weights while it encodes or decodes a clip of that size, on the device that
    it names. direction: 'encode' or 'decode'; tile: side in pixels of the tiles that it works in."""
    on_cpu, module = vae.device.type == "cpu", vae.module
    latents = (frames - 1) // vae.temporal + 1
    counted = latents if latents <= SETTLED else SETTLED - latents % 2  # CogVideoX works on two at a time
    across, down = (min(side, tile or side) for side in (width, height))
    work = count_coding(type(module), module.config, vae.channels, vae.dtype, direction, (counted, down, across), on_cpu)
    pixels = 3 * vae.dtype.itemsize  # bytes each
    if direction == "encode":
        return work + (0 if on_cpu and vae.dtype == torch.float32 else frames * height * width * pixels)
    work += (latents - counted) * vae.temporal * down * across * pixels  # what was made stays
    return work + (2 * frames * height * width * pixels if tile and vae.keeps_tiles else 0)


@cache
@torch.no_grad()
def count_coding(
    kind, config, channels: int, dtype: torch.dtype, direction: str, size: tuple[int, int, int], on_cpu: bool
) -> int:  # fmt: skip
    """The most bytes beside the weights and what is given. kind, config: of the VAE's module; channels: of a latent;
    size: latent frames, height and width in pixels."""
    with torch.device("meta"):
        module = kind(config).to(dtype).requires_grad_(False)
        latents, *sides = size
        shape = (
            (3, (latents - 1) * module.temporal + 1, *sides) if direction == "encode"
            else (channels, latents, *(side // module.spatial for side in sides))
        )  # fmt: skip
        given = torch.empty(1, *shape, dtype=dtype)
    twice = (torch.ops.aten.convolution.default,) if on_cpu else ()  # oneDNN
    with LiveBytes(twice) as live, FusedAttention(), hollow_as_on_a_cpu() if on_cpu else nullcontext():
        getattr(module, direction)(given)
    return live.peak


def advice(name: str, memory: Memory, options: Options, free: float) -> str | None:
    """What to change where a model does not fit into `free` bytes of a device; None where it does."""
    needed = memory.needed(options)
    if needed <= free:
        return None
    count = memory.most_blocks(free, options.prefetch)
    remedy = (
        f"Let it hold {count} of the {len(memory.blocks)} blocks (blocks_on_device)" if count
        else "Keep the weights in fp8 (storage), or make a smaller or shorter video"
    )  # fmt: skip
    return (
        f"{name} needs about {needed / 1e9:.1f} GB on the device for a clip of its usual size, and {free / 1e9:.1f} GB are "
        f"free. {remedy}: Trajectory Memory Options, or the same options of the command line."
    )


def suggestions(as_asked: Memory, in_fp8: Memory | None, asked: Options = Options()) -> dict[int, Options | None]:
    """For each of CARDS (GB) the options that a model fits with, `asked` with another storage or with swapped blocks,
    the most exact ones first; None where it does not."""
    found = {}
    for card in CARDS:
        counts = [(asked.storage, as_asked.most_blocks(card * 1e9, asked.prefetch))]
        if in_fp8 is not None:
            counts.append(("fp8_e4m3fn", in_fp8.most_blocks(card * 1e9, asked.prefetch)))
        whole = [(storage, count) for storage, count in counts if count == 0]
        swapped = [(storage, count) for storage, count in counts if count]
        best = (whole or sorted(swapped, key=lambda pair: -pair[1]) or [None])[0]
        found[card] = None if best is None else replace(asked, storage=best[0], blocks_on_device=best[1])
    return found

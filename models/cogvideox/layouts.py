"""Other layouts of CogVideoX and Tora weights, as a plan of where each parameter comes from: the original SAT release,
and Tora's parts in files of their own. Knows names and rows; reads no tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..common.checkpoint import Checkpoint
from ..common.description import Shapes
from ..common.readers import Entry


@dataclass(frozen=True)
class Source:
    """Where a parameter comes from: the tensor `key`, of whose `count` equal parts along dim 0 those in `parts` are
    used. A single number, the scale of a fused fp8 weight, holds for each part."""

    key: str
    parts: tuple[int, ...] = (0,)
    count: int = 1

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        whole = self.count == 1 or not shape
        return shape if whole else (shape[0] // self.count * len(self.parts), *shape[1:])

    def take(self, tensor: Tensor) -> Tensor:
        if self.count == 1 or not tensor.ndim:
            return tensor
        parts = tensor.chunk(self.count)
        return parts[self.parts[0]] if len(self.parts) == 1 else torch.cat([parts[i] for i in self.parts])


# The SAT release: alibaba/Tora sat/dit_video_concat.py:DiffusionTransformer -> diffusers. (pattern, ((name, parts), …),
# equal parts in all). In adaLN: shift, scale, gate of the attention, then of the feed-forward, for video and then for
# text.
BLOCK = r"transformer_blocks.\1"
SAT = tuple((re.compile(pattern), targets, count) for pattern, targets, count in (
    (r"transformer\.layers\.(\d+)\.attention\.query_key_value\.(\w+)",
     tuple((rf"{BLOCK}.attn1.to_{name}.\2", (i,)) for i, name in enumerate("qkv")), 3),
    (r"mixins\.adaln_layer\.adaLN_modulations\.(\d+)\.1\.(\w+)",
     ((rf"{BLOCK}.norm1.linear.\2", (0, 1, 2, 6, 7, 8)), (rf"{BLOCK}.norm2.linear.\2", (3, 4, 5, 9, 10, 11))), 12),
    *((pattern, ((name, (0,)),), 1) for pattern, name in (
        (r"(traj_extractor\..*)", r"\1"),
        (r"mixins\.adaln_layer\.fuser_list\.(.*)", r"fuser.\1"),
        (r"time_embed\.0\.(\w+)", r"time_embedding.linear_1.\1"),
        (r"time_embed\.2\.(\w+)", r"time_embedding.linear_2.\1"),
        (r"mixins\.patch_embed\.(.*)", r"patch_embed.\1"),
        (r"transformer\.layers\.(\d+)\.input_layernorm\.(\w+)", rf"{BLOCK}.norm1.norm.\2"),
        (r"transformer\.layers\.(\d+)\.post_attention_layernorm\.(\w+)", rf"{BLOCK}.norm2.norm.\2"),
        (r"transformer\.layers\.(\d+)\.attention\.dense\.(\w+)", rf"{BLOCK}.attn1.to_out.0.\2"),
        (r"transformer\.layers\.(\d+)\.mlp\.dense_h_to_4h\.(\w+)", rf"{BLOCK}.ff.net.0.proj.\2"),
        (r"transformer\.layers\.(\d+)\.mlp\.dense_4h_to_h\.(\w+)", rf"{BLOCK}.ff.net.2.\2"),
        (r"mixins\.adaln_layer\.query_layernorm_list\.(\d+)\.(\w+)", rf"{BLOCK}.attn1.norm_q.\2"),
        (r"mixins\.adaln_layer\.key_layernorm_list\.(\d+)\.(\w+)", rf"{BLOCK}.attn1.norm_k.\2"),
        (r"transformer\.final_layernorm\.(\w+)", r"norm_final.\1"),
        (r"mixins\.final_layer\.norm_final\.(\w+)", r"norm_out.norm.\1"),
        (r"mixins\.final_layer\.adaLN_modulation\.1\.(\w+)", r"norm_out.linear.\1"),
        (r"mixins\.final_layer\.linear\.(\w+)", r"proj_out.\1"),
    )),
))  # fmt: skip
# Tables that are computed, leftovers of the framework, and the learned positions: the release's code makes a table of
# them but never adds it (sat/dit_video_concat.py:Rotary3DPositionEmbeddingMixin.position_embedding_forward gives None).
SAT_UNUSED = re.compile(
    r"mixins\.pos_embed\.(freqs_sin|freqs_cos|pos_embedding)|transformer\.(position|word)_embeddings\.weight"
)
# The VAE of the SAT release, 3d-vae.pt -> diffusers; levels of the decoder are counted from the other end.
SAT_VAE = (
    (r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets."),
    (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.up\.(\d+)\.block\.", r".up_blocks.\1.resnets."),
    (r"\.up\.(\d+)\.upsample\.", r".up_blocks.\1.upsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"nin_shortcut", "conv_shortcut"),
)  # fmt: skip

IGNORED = (r"traj_extractor\..*\.num_batches_tracked",)


def is_sat(shapes: Shapes) -> bool:
    return "mixins.patch_embed.proj.weight" in shapes


def is_sat_vae(shapes: Shapes) -> bool:
    return "decoder.mid.block_1.norm1.conv_y.conv.weight" in shapes


def plan(shapes: Shapes) -> dict[str, Source]:
    """Parameter names of diffusers -> where each comes from, for a transformer or VAE in any layout."""
    if is_sat(shapes):
        return sat_plan(shapes)
    if is_sat_vae(shapes):
        return sat_vae_plan(shapes)
    return {key: Source(key) for key in shapes}


def sat_plan(shapes: Shapes) -> dict[str, Source]:
    found = {}
    for key in shapes:
        if SAT_UNUSED.fullmatch(key):
            continue
        for pattern, targets, count in SAT:
            match = pattern.fullmatch(key)
            if match:
                found |= {match.expand(name): Source(key, parts, count) for name, parts in targets}
                break
        else:
            found[key] = Source(key)
    return found


def sat_vae_plan(shapes: Shapes) -> dict[str, Source]:
    levels = 1 + max(int(match[1]) for key in shapes if (match := re.match(r"decoder\.up\.(\d+)\.", key)))
    found = {}
    for key in shapes:
        if key.startswith("loss"):
            continue
        name = re.sub(r"(?<=\.up\.)\d+", lambda match: str(levels - 1 - int(match[0])), key)
        for pattern, replacement in SAT_VAE:
            name = re.sub(pattern, replacement, name)
        found[name] = Source(key)
    return found


def shapes_by_plan(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """`shapes` under the parameter names of diffusers."""
    return {name: source.shape(tuple(shapes[source.key])) for name, source in plan(shapes).items()}


def by_plan(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint under the parameter names of diffusers; nothing is read before it is used."""
    entries = {}
    for name, source in plan(checkpoint.shapes).items():
        shape, dtype = source.shape(checkpoint.shapes[source.key]), checkpoint.dtypes[source.key]
        entries[name] = Entry(shape, dtype, lambda source=source: source.take(checkpoint[source.key]))
    return Checkpoint(checkpoint.path, checkpoint.files, entries, checkpoint.metadata)


def joined(base: Checkpoint, parts: Mapping[str, Checkpoint]) -> Checkpoint:
    """`base` with the tensors of `parts` below their prefixes."""
    entries = {key: base.entry(key) for key in base}
    files = list(base.files)
    for prefix, part in parts.items():
        entries |= {prefix + key: part.entry(key) for key in part}
        files += part.files
    return Checkpoint(base.path, files, entries, base.metadata)

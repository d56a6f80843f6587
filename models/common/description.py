"""What a checkpoint was recognised as, and the names of well-known files that are not ours, for errors that help.
Knows keys and shapes only; nothing is loaded here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from .errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

KINDS = {  # kind: its name in a sentence, the folder of ComfyUI/models for such files, the node that loads them
    "diffusion model": ("diffusion model", "diffusion_models", "Trajectory Model Loader"),
    "vae": ("VAE", "vae", "Trajectory VAE Loader"),
    "text encoder": ("text encoder", "text_encoders", "Trajectory Text Encoder Loader"),
    "image encoder": ("image encoder", "clip_vision", "Trajectory Image Encoder Loader"),
}


@dataclass(frozen=True)
class Description:
    """config: the sizes, a dataclass or the arguments of one. working_bytes: activations of one clip of the usual size
    in 16 bit, an estimate. problem: why this one cannot be run and what to use instead; None where it can."""

    kind: str
    family: str
    variant: str
    config: object
    working_bytes: int = 0
    problem: str | None = None


def with_stated(cls, measured: dict, guessed: dict, stated: Mapping) -> object:
    """A config dataclass from the tensors' shapes (`measured`), a rule of thumb (`guessed`) and what the file's header
    or the caller states. CheckpointError where the statement contradicts the shapes, or nothing says a value."""
    values = {}
    for name in (field.name for field in fields(cls)):
        said = stated.get(name)
        said = tuple(said) if isinstance(said, list) else said
        if said is not None and name in measured and measured[name] != said:
            raise CheckpointError(f"its configuration says {name} = {said}, its tensors say {measured[name]}")
        if said is not None:
            values[name] = said
        elif name in measured or name in guessed:
            values[name] = measured.get(name, guessed.get(name))
            if values[name] is None:
                raise CheckpointError(f'its tensors do not tell {name}: the header needs a "config" entry that does')
    return cls(**values)


def count_blocks(shapes: Shapes, pattern: str) -> int:
    """How many different numbers the first group of `pattern` takes at the start of the keys."""
    return len({match.group(1) for key in shapes if (match := re.match(pattern, key))})


# (what it is, patterns of keys that must all occur). The first that fits is named; specific ones stand first.
FOREIGN = (
    (
        "a LoRA (it belongs to models/loras and is added to a model by the LoRA node)",
        (r".*[._]lora[._](A|B|up|down|a|b)\b.*|.*\.lora_(up|down|A|B)\..*|.*lokr_w1.*|.*hada_w1_a",),
    ),
    ("an SDXL checkpoint", (r"(.*\.)?label_emb\.0\.0\.weight", r"(.*\.)?input_blocks\.0\.0\.weight")),
    ("a Stable Diffusion checkpoint", (r"(.*\.)?input_blocks\.0\.0\.weight",)),
    ("a ControlNet", (r"(.*\.)?(control_model|input_hint_block|zero_convs)\..*",)),
    ("a diffusers UNet", (r"down_blocks\.0\.(resnets|attentions)\.0\..*", r"conv_in\.weight", r"time_embedding\..*")),
    ("a Flux model", (r"(.*\.)?double_blocks\.0\.img_attn\..*",)),
    ("an SD3 model", (r"(.*\.)?joint_blocks\.0\..*",)),
    ("an LTX-Video model", (r"(.*\.)?transformer_blocks\.0\..*", r"(.*\.)?patchify_proj\.weight")),
    (
        "a VAE of Stable Diffusion, SDXL or Flux",
        (r"(.*\.)?encoder\.(down\.0\.block\.0|down_blocks\.0\.resnets\.0)\..*",),
    ),
    ("a small preview VAE (TAESD or TAEHV)", (r"(.*\.)?decoder\.\d+\.(weight|conv\.0\.weight|conv\.weight)",)),
    ("a CLIP text encoder", (r"(.*\.)?text_model\.encoder\.layers\.0\..*",)),
    ("a SigLIP image encoder", (r"(.*\.)?vision_model\.embeddings\.patch_embedding\.bias",)),
    ("a language model", (r"(.*\.)?layers\.0\.self_attn\.q_proj\.weight",)),
)


def seems_to_be(keys: Iterable[str]) -> str | None:
    """The name of a well-known kind of file that is not one of ours."""
    keys = list(keys)
    for what, patterns in FOREIGN:
        if all(any(re.fullmatch(pattern, key) for key in keys) for pattern in patterns):
            return what
    return None

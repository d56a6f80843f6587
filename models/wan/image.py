"""CLIP ViT-H, which shows Wan's i2v models the start image: its file layouts and the release's preprocessing.
The maths is transformers'; the video model is unknown here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.checkpoint import Checkpoint, assign
from ..common.description import Description
from ..common.errors import ModelError
from ..common.ops import prepare
from ..common.placed import Placed

# OpenAI CLIP's statistics: wan/modules/clip.py:_clip (mean, std).
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

LAYER = "vision_model.encoder.layers"
# wan/modules/clip.py:VisionTransformer -> transformers CLIPVisionModel (which ComfyUI's repackaged file uses).
OFFICIAL = (
    (r"visual\.cls_embedding", r"vision_model.embeddings.class_embedding"),
    (r"visual\.pos_embedding", r"vision_model.embeddings.position_embedding.weight"),
    (r"visual\.patch_embedding\.weight", r"vision_model.embeddings.patch_embedding.weight"),
    (r"visual\.pre_norm\.(\w+)", r"vision_model.pre_layrnorm.\1"),
    (r"visual\.post_norm\.(\w+)", r"vision_model.post_layernorm.\1"),
    (r"visual\.transformer\.(\d+)\.norm([12])\.(\w+)", LAYER + r".\1.layer_norm\2.\3"),
    (r"visual\.transformer\.(\d+)\.attn\.to_qkv\.(\w+)", tuple(LAYER + rf".\1.self_attn.{n}_proj.\2" for n in "qkv")),
    (r"visual\.transformer\.(\d+)\.attn\.proj\.(\w+)", LAYER + r".\1.self_attn.out_proj.\2"),
    (r"visual\.transformer\.(\d+)\.mlp\.0\.(\w+)", LAYER + r".\1.mlp.fc1.\2"),
    (r"visual\.transformer\.(\d+)\.mlp\.2\.(\w+)", LAYER + r".\1.mlp.fc2.\2"),
)  # fmt: skip
# The text half of CLIP and the projection into the space shared with it.
NOT_VISION = (r"textual\..*", r"text_model\..*", r"log_scale", r"logit_scale", r"visual\.head",
              r"visual_projection\.weight", r"text_projection\.weight",
              r"vision_model\.embeddings\.position_ids")  # fmt: skip


class ImageEncoder(Placed):
    """CLIP's vision transformer. `config`: transformers' CLIPVisionConfig; `width`: of the tokens it gives."""

    def __init__(self, module: nn.Module, path=None):
        self.module, self.path = module, path
        self.config = module.config
        self.width: int = module.config.hidden_size

    def encode(self, image: Tensor) -> Tensor:
        """image [batch, height, width, 3] (or without batch) in 0..1 -> [batch, 1 + patches, dim]: what the last
        block but one gives, without a final norm."""
        return self.hidden_states(image)[-2].float()

    @torch.no_grad()
    def hidden_states(self, image: Tensor) -> tuple[Tensor, ...]:
        """What goes into the first block, and what each block gives: [batch, 1 + patches, dim] each."""
        return self.module(pixel_values=self.preprocess(image), output_hidden_states=True).hidden_states

    def preprocess(self, image: Tensor) -> Tensor:
        """[batch, 3, size, size] normalised. The whole image is squeezed into the square, bicubic without antialias,
        not clamped: wan/modules/clip.py:CLIPModel.visual, which the models were trained with."""
        image = image[None] if image.ndim == 3 else image
        if image.ndim != 4 or image.shape[-1] != 3 or not image.is_floating_point():
            raise ModelError(
                f"The image encoder takes float images [batch, height, width, 3] in 0..1, not "
                f"{image.dtype} {list(image.shape)}."
            )
        image = image.to(self.device, torch.float32).movedim(-1, 1)
        image = F.interpolate(image, size=(self.config.image_size,) * 2, mode="bicubic", align_corners=False)
        mean, std = (torch.tensor(values, device=image.device).view(3, 1, 1) for values in (MEAN, STD))
        return (image - mean) / std


def load(checkpoint: Checkpoint, found: Description, dtype: str = "auto", device="cpu") -> ImageEncoder:
    """CLIP vision from the official file (whole or visual only), ComfyUI's clip_vision_h, or any of that layout,
    recognised as `found`. CheckpointError where the file is incomplete."""
    module = build(found.config)
    vision = nn.Module()
    vision.vision_model = inner(module)  # files say vision_model.; transformers 5 does not
    assign(vision, checkpoint.part(found.kind), key_map=OFFICIAL, ignore=NOT_VISION)
    embeddings = vision.vision_model.embeddings
    embeddings.position_ids = torch.arange(embeddings.num_positions)[None]
    prepare(module, dtype, device, keep=("norm", "embedding"))
    return ImageEncoder(module, checkpoint.path)


def build(sizes: dict) -> nn.Module:
    """transformers' CLIPVisionModel on the meta device."""
    try:
        from transformers import CLIPVisionConfig, CLIPVisionModel
    except ImportError as error:
        raise ModelError(f"CLIP vision needs the package transformers ({error}): pip install transformers") from error
    with torch.device("meta"):
        module = CLIPVisionModel(CLIPVisionConfig(**sizes, layer_norm_eps=1e-5))
    return module.eval().requires_grad_(False)


def inner(module: nn.Module) -> nn.Module:
    return getattr(module, "vision_model", module)

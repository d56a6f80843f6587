"""The embedded text and image encoders: their sizes, their first weights, and prompts to hear of. Knows no video model.

They have transformers' own layouts (UMT5EncoderModel, T5EncoderModel, Qwen2Model, CLIPVisionModel), so the files are read like the real ones. The
text encoders keep their random weights: synthetic clips say nothing that a prompt could be about, and the transformer
only learns that any text leaves the motion alone. The image encoder is trained along with the transformer.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor, nn

from ..models.common import t5
from ..models.common.tokens import QWEN_WORDS
from ..models.easyanimate import text as qwen
from ..models.wan import image as clip

TEXT = {
    "vocab_size": 512, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2,
    "relative_attention_num_buckets": 32,
}  # fmt: skip
T5 = {**TEXT, "num_layers": 2}  # only of two layers or more can T5 be told from umT5
QWEN = {  # the last layer is in the file and is not used, as in the release
    "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1,
}  # fmt: skip
# Tokens that the transformers of ATI, Tora and EasyAnimate take; longer prompts are cut. Twenty are a chat's template.
TEXT_LENGTH, SHORT, LONG = 32, 16, 40
IMAGE = {
    "hidden_size": 48, "intermediate_size": 96, "patch_size": 16, "image_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 3, "hidden_act": "gelu",
}  # fmt: skip

THINGS = (
    "a bird", "the cat", "a red ball", "two boats", "a leaf", "the moon", "a flower", "a person in a coat", "a car",
    "white clouds", "the cup", "a fish", "a dog", "the sun", "a train", "an astronaut", "a balloon", "children",
)  # fmt: skip
MOVES = (
    "moves to the left", "moves to the right", "flies up", "falls slowly", "turns round", "waves",
    "runs along the path",
    "follows the curve", "drifts away", "comes closer", "stands still", "jumps", "rolls down the hill", "swings",
)  # fmt: skip
PLACES = (
    "in the evening light", "over the sea", "in a garden", "on a wooden table", "above the mountains", "in the city",
    "in the snow", "under a blue sky", "in the forest", "at night", "on the street", "in a room with a window",
)  # fmt: skip
STYLES = ("cinematic", "high quality", "realistic", "slow motion", "sharp", "best quality, 4k", "a photograph", "")
NEGATIVE = (
    "Overexposed, static, blurred details, subtitles, paintings, worst quality, low quality, JPEG compression residue, "
    "ugly, incomplete, deformed, messy background, walking backwards"
)


def prompts(count: int = 256, seed: int = 5) -> list[str]:
    """Random descriptions, the empty prompt and a usual negative one."""
    rng = np.random.default_rng(seed)
    made = [", ".join(filter(None, (f"{rng.choice(THINGS)} {rng.choice(MOVES)} {rng.choice(PLACES)}",
    rng.choice(STYLES))))
            for _ in range(count - 2)]  # fmt: skip
    return ["", NEGATIVE, *made]


def tokenizer() -> bytes:
    """A sentencepiece model that can spell any text: byte pieces, and pieces of our prompts. </s> is 1, as in umT5."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(prompts(4000)), model_writer=model, vocab_size=TEXT["vocab_size"], model_type="unigram",
        byte_fallback=True, hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, num_threads=1,
        character_coverage=1.0, minloglevel=2, normalization_rule_name="identity",
    )  # fmt: skip
    return model.getvalue()


def bpe_tokenizer() -> bytes:
    """A tokenizer.json like Qwen2's that can spell any text: bytes, their merges in our prompts, control tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.normalizer, made.decoder = normalizers.NFC(), decoders.ByteLevel()
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    trainer = trainers.BpeTrainer(
        vocab_size=QWEN["vocab_size"], special_tokens=list(qwen.SPECIAL), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    made.train_from_iterator((qwen.TEMPLATE.format(prompt) for prompt in prompts(4000)), trainer)
    return made.to_str().encode()


def qwen_encoder(seed: int = 7) -> nn.Module:
    """The text half of Qwen2-VL with random weights, its last layer included."""
    torch.manual_seed(seed)
    module = qwen.build(QWEN).to_empty(device="cpu")
    for p in module.parameters():
        p.data.normal_(0, 0.5 / p.shape[-1] ** 0.5) if p.ndim > 1 else p.data.fill_(1.0)
    module.embed_tokens.weight.data.normal_()
    return module


def text_encoder(name: str = "UMT5", sizes: dict = TEXT, seed: int = 1) -> nn.Module:
    """UMT5EncoderModel or T5EncoderModel with random weights."""
    torch.manual_seed(seed)
    module = t5.build(name, sizes).to_empty(device="cpu")
    for name, p in module.named_parameters():
        p.data.normal_(0, 0.5 / p.shape[-1] ** 0.5) if p.ndim > 1 else p.data.fill_(1.0)
    module.shared.weight.data.normal_()
    return module


def encode_all(encoder, texts: list[str]) -> Tensor:
    """[texts, length, width] of those that are not too long, zeros after the last token: what the transformer is
    given."""
    texts = [text for text in texts if len(encoder.tokenizer(text)) <= encoder.length]
    out = torch.zeros(len(texts), encoder.length, encoder.width)
    for row, text in zip(out, texts):
        tokens = encoder.encode(text)
        row[: len(tokens)] = tokens
    return out


def image_encoder(seed: int = 2) -> nn.Module:
    """CLIPVisionModel with random weights, trainable."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(seed)
    return CLIPVisionModel(CLIPVisionConfig(**IMAGE, layer_norm_eps=1e-5)).train()


def image_tokens(module: nn.Module, pixels: Tensor) -> Tensor:
    """What the last layer but one gives of preprocessed pictures [batch, 3, 64, 64]: [batch, 17, 48]."""
    return module(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]


def preprocess(module: nn.Module, pictures: Tensor) -> Tensor:
    """uint8 [batch, height, width, 3] -> [batch, 3, 64, 64], as the image encoder of the pack does."""
    return clip.ImageEncoder(module).preprocess(pictures.float() / 255)

"""The one attention function of all families. Which backend runs is decided here, not in the models."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention without mask.

    q: [batch, heads, tokens, head_dim]; k, v: [batch, heads, keys, head_dim] -> [batch, tokens, heads * head_dim]
    """
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

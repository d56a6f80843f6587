"""How diffusers calls the parameters of a Wan transformer. A dot may be an underscore, as in kohya's LoRA files."""

from __future__ import annotations

# huggingface/diffusers models/transformers/transformer_wan.py -> bytedance/ATI wan/modules/model.py. The official
# norm2 has no parameters; diffusers' norm2 is norm3.
DIFFUSERS = (
    (r"blocks[._](\d+)[._]attn1[._]to_out[._]0", r"blocks.\1.self_attn.o"),
    (r"blocks[._](\d+)[._]attn2[._]to_out[._]0", r"blocks.\1.cross_attn.o"),
    (r"blocks[._](\d+)[._]attn1[._](?:to_)?(q|k|v|norm_q|norm_k)", r"blocks.\1.self_attn.\2"),
    (r"blocks[._](\d+)[._]attn2[._](?:to_)?(q|k|v|norm_q|norm_k)", r"blocks.\1.cross_attn.\2"),
    (r"blocks[._](\d+)[._]attn2[._]add_([kv])_proj", r"blocks.\1.cross_attn.\2_img"),
    (r"blocks[._](\d+)[._]attn2[._]norm_added_k", r"blocks.\1.cross_attn.norm_k_img"),
    (r"blocks[._](\d+)[._]ffn[._]net[._]0[._]proj", r"blocks.\1.ffn.0"),
    (r"blocks[._](\d+)[._]ffn[._]net[._]2", r"blocks.\1.ffn.2"),
    (r"blocks[._](\d+)[._]norm2", r"blocks.\1.norm3"),
    (r"blocks[._](\d+)[._]scale_shift_table", r"blocks.\1.modulation"),
    (r"condition_embedder[._]time_embedder[._]linear_1", "time_embedding.0"),
    (r"condition_embedder[._]time_embedder[._]linear_2", "time_embedding.2"),
    (r"condition_embedder[._]time_proj", "time_projection.1"),
    (r"condition_embedder[._]text_embedder[._]linear_1", "text_embedding.0"),
    (r"condition_embedder[._]text_embedder[._]linear_2", "text_embedding.2"),
    (r"condition_embedder[._]image_embedder[._]norm1", "img_emb.proj.0"),
    (r"condition_embedder[._]image_embedder[._]ff[._]net[._]0[._]proj", "img_emb.proj.1"),
    (r"condition_embedder[._]image_embedder[._]ff[._]net[._]2", "img_emb.proj.3"),
    (r"condition_embedder[._]image_embedder[._]norm2", "img_emb.proj.4"),
    (r"scale_shift_table", "head.modulation"),
    (r"proj_out", "head.head"),
)

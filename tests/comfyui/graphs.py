"""Graphs in API format for the tiny model: a picture and a track become a saved video. It knows no host."""

from __future__ import annotations

TRACK = '[{"x": 8, "y": 8}, {"x": 24, "y": 20}]'


def tracks_to_video(**changes) -> dict:
    """Every step from files to a video and its frames. changes: `node__input=value`, such as sampler__steps=8."""
    graph = {
        "model": ("TrajectoryModelLoader", {"model_name": "tiny_transformer.safetensors", "weight_dtype": "auto"}),
        "vae": ("TrajectoryVAELoader", {"vae_name": "tiny_vae.safetensors", "weight_dtype": "auto"}),
        "words": ("TrajectoryTextEncoderLoader",
                  {"text_encoder_name": "tiny_text_encoder.safetensors", "weight_dtype": "auto"}),
        "eye": ("TrajectoryImageEncoderLoader",
                {"image_encoder_name": "tiny_image_encoder.safetensors", "weight_dtype": "auto"}),
        "picture": ("LoadImage", {"image": "picture.png"}),
        "tracks": ("TrajectoryFromCoordinates", {"coordinates": TRACK, "canvas_width": 32, "canvas_height": 32}),
        "text": ("TrajectoryTextEncode", {"text_encoder": ["words", 0], "positive": "a red car", "negative": ""}),
        "encode": ("TrajectoryEncode",
                   {"model": ["model", 0], "vae": ["vae", 0], "width": 32, "height": 32, "frames": 5, "fit": "crop",
                    "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "method": "auto", "expand_points": 1,
                    "expand_radius": 4.0, "tracks": ["tracks", 0], "start_image": ["picture", 0],
                    "image_encoder": ["eye", 0]}),
        "sampler": ("TrajectorySampler",
                    {"model": ["model", 0], "text": ["text", 0], "motion": ["encode", 0], "steps": 4, "cfg": 2.0,
                     "shift": 3.0, "scheduler": "unipc", "seed": 7, "denoise": 1.0}),
        "decode": ("TrajectoryDecode", {"vae": ["vae", 0], "latent": ["sampler", 0], "tile": 0}),
        "frames": ("SaveImage", {"images": ["decode", 0], "filename_prefix": "frames"}),
        "video": ("CreateVideo", {"images": ["decode", 0], "fps": 8.0}),
        "saved": ("SaveVideo", {"video": ["video", 0], "filename_prefix": "video", "format": "auto", "codec": "auto"}),
    }  # fmt: skip
    graph = {name: {"class_type": kind, "inputs": dict(inputs)} for name, (kind, inputs) in graph.items()}
    for key, value in changes.items():
        node, _, name = key.partition("__")
        graph[node]["inputs"][name] = value
    return graph


def without(graph: dict, *nodes: str) -> dict:
    return {name: node for name, node in graph.items() if name not in nodes}

"""What the user sees: one file per step of the graph. This file collects the node classes; it holds no maths."""

import re

from . import aliases, camera, decode, editor, encode, evaluate, load, options, renamed, sample, tracks, video

NODE_CLASS_MAPPINGS: dict[str, type] = {
    name: cls
    for module in (load, options, editor, video, tracks, camera, encode, sample, decode, evaluate)
    for name, cls in vars(module).items()
    if isinstance(cls, type) and name.startswith("Trajectory") and hasattr(cls, "FUNCTION")
}


def display_name(node_id: str) -> str:
    """TrajectoryVAELoader -> Trajectory VAE Loader"""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", node_id)


NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {name: display_name(name) for name in NODE_CLASS_MAPPINGS}

for name, words in aliases.ALIASES.items():
    NODE_CLASS_MAPPINGS[name].SEARCH_ALIASES = words

NODE_CLASS_MAPPINGS |= renamed.former(NODE_CLASS_MAPPINGS)  # without a display name: not offered, only found

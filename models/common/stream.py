"""The memory of a causal video network that is fed a clip chunk by chunk. Knows no layer."""

from __future__ import annotations


class Stream(dict):
    """What each layer remembers of the frames before: {module: its last input frames}. `first`: at frame 0."""

    first = True

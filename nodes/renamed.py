"""Former ids of nodes, under which saved workflows still find them. ComfyUI marks such a node and offers it no more.

An id stays here for as long as the first number of the version does: CHANGELOG.md.
"""

from __future__ import annotations

RENAMED: dict[str, str] = {}  # former id: id


def former(classes: dict[str, type], renamed: dict[str, str] = RENAMED) -> dict[str, type]:
    """{former id: class} of the nodes in `classes` that were called otherwise; with the same inputs and outputs."""
    return {
        old: type(old, (classes[new],), {"DEPRECATED": True, "__doc__": f"The former name of {new}."})
        for old, new in renamed.items()
    }

"""What the user sees: one file per step of the graph. This file collects the node classes; it holds no maths."""

NODE_CLASS_MAPPINGS: dict[str, type] = {}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {}

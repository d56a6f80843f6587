"""The errors of the model core. They carry a sentence for the user: what was wrong, where, and what to do.
Knows no model, no file format and no ComfyUI."""


class ModelError(ValueError):
    """A model was asked for something that it cannot do; the message says what it can do instead."""


class CheckpointError(ModelError):
    """A checkpoint file cannot be used; the message names the file, what is wrong with it and what to do."""

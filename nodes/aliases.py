"""Other words under which people look for a node in ComfyUI's search: what other packs call it, what it is for.

ComfyUI reads them from the classes (server.py:node_info, SEARCH_ALIASES); older ones leave them unread.
"""

ALIASES: dict[str, list[str]] = {
    "TrajectoryModelLoader": ["load ati", "load tora", "load easyanimate", "wan model", "cogvideox", "diffusion model"],
    "TrajectoryLora": ["load lora", "lora loader", "distill", "lightx2v"],
    "TrajectoryMemoryOptions": ["block swap", "offload", "low vram", "fp8"],
    "TrajectorySpeedOptions": ["teacache", "easycache", "sage attention", "torch compile", "faster"],
    "TrajectoryVAELoader": ["load vae", "wan vae", "cogvideox vae"],
    "TrajectoryTextEncoderLoader": ["load clip", "umt5", "t5", "qwen2-vl"],
    "TrajectoryImageEncoderLoader": ["load clip vision", "clip vision h"],
    "TrajectoryExampleImage": ["sample picture", "test image"],
    "TrajectorySplineEditor": ["draw path", "motion path", "drag", "points editor", "keyframes", "motion brush"],
    "TrajectoryFromVideo": ["point tracking", "optical flow", "cotracker", "track points"],
    "TrajectoryFromMask": ["motion brush", "region motion", "segment"],
    "TrajectoryFlowFromVideo": ["optical flow", "motion transfer"],
    "TrajectoryFromCoordinates": ["spline coordinates", "parse tracks", "json tracks", "kjnodes"],
    "TrajectoryLoadTracks": ["import tracks", "open trajectory", "npz", "pth"],
    "TrajectorySaveTracks": ["export tracks", "write trajectory", "npz", "pth"],
    "TrajectoryMerge": ["join tracks", "combine", "concat"],
    "TrajectoryTransform": ["move tracks", "scale tracks", "rotate tracks", "delay", "resample"],
    "TrajectoryCameraMotion": ["pan", "zoom", "orbit", "camera control", "ken burns"],
    "TrajectoryPreview": ["draw tracks", "visualize tracks", "show path"],
    "TrajectoryCameraPoses": ["cameractrl", "camera control", "pluecker", "pan", "zoom"],
    "TrajectorySaveCameraPoses": ["export camera", "cameractrl"],
    "TrajectoryTextEncode": ["prompt", "clip text encode", "negative prompt"],
    "TrajectoryTextFromConditioning": ["convert conditioning", "wan text"],
    "TrajectoryEncode": ["ati", "wan image to video", "motion control", "trajectory control", "wan track to video"],
    "TrajectorySampler": ["ksampler", "generate video", "denoise", "sample"],
    "TrajectoryDecode": ["vae decode", "latent to video", "latent to image"],
    "TrajectoryScore": ["evaluate", "tracking error", "metric", "measure motion"],
}

"""The photographs that the embedded models are made from: where they come from, which are held out. No tensors.

All lie in packages under free licences (the table is in training/README.md) and are fetched into a cache that git
ignores. The held-out ones are seen by no stage of training, the VAE's included.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)

CACHE = Path(__file__).parent / "runs" / "photos"
LONG_SIDE = 1024  # pixels that are kept of a photograph

# Debian package -> names of the pictures in it (file stems or, for KDE's, the folder of the wallpaper).
DEBIAN = {
    "lomiri-wallpapers-16.04": (
        "Bridge_by_Sander_Klootwijk", "Dragonfly_by_Bolly", "Picture_0B_by_freespace", "Picture_1A_by_freespace",
        "Wine_by_Jakkub_Mede", "aitzgorri_by_Aitzol_Berasategi", "free_by_Peter_Nerlich",
        "friends_by_Aitzol_Berasategi",
        "greentock_by_Peter_Nerlich", "life_by_Aitzol_Berasategi", "picosdeeuropa_by_Aitzol_Berasategi",
        "seeding_by_Clements_Engelhardt", "sunset_by_Aitzol_Berasategi",
    ),
    "lomiri-wallpapers-20.04": ("Kleiber_by_Lukas_Baubkus",),
    "mate-backgrounds": (
        "Aqua", "Blinds", "Dune", "Garden", "GreenMeadow", "LadyBird", "RainDrops", "Storm", "TwoWings", "Wood",
        "YellowFlower",
        "Elephants",
    ),
    "plasma-workspace-wallpapers": (
        "BytheWater", "ColdRipple", "ColorfulCups", "DarkestHour", "EveningGlow", "FallenLeaf", "Grey", "Kite",
        "OneStandsOut", "Path", "summer_1am", "SafeLanding", "FlyingKonqui", "Autumn", "Shell", "Flow",
    ),
    "ukui-wallpapers": ("calla", "goldfish", "rhythm"),
}  # fmt: skip
# Python package -> pictures below its folder.
PYTHON = {
    "skimage": (
        "data/astronaut.png", "data/chelsea.png", "data/coffee.png", "data/rocket.jpg", "data/motorcycle_left.png",
    ),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}  # fmt: skip
HELD_OUT = frozenset({
    "astronaut", "chelsea", "coffee", "rocket", "motorcycle_left", "china", "flower",
    "Picture_0B_by_freespace", "picosdeeuropa_by_Aitzol_Berasategi", "YellowFlower", "EveningGlow", "FallenLeaf",
})  # fmt: skip


def load(held_out: bool, cache: Path = CACHE) -> dict[str, np.ndarray]:
    """{name: uint8 RGB [height, width, 3]} of the training or of the held-out photographs; fetched at the first
    call."""
    import cv2

    chosen = sorted(name for name in ensure(cache) if (name in HELD_OUT) == held_out)
    return {name: cv2.imread(str(cache / f"{name}.png"))[..., ::-1].copy() for name in chosen}


def ensure(cache: Path = CACHE) -> set[str]:
    """The names of all photographs, which are fetched where one is missing: once, before processes ask for them."""
    names = {name for pictures in DEBIAN.values() for name in pictures}
    names |= {Path(file).stem for files in PYTHON.values() for file in files}
    if not all((cache / f"{name}.png").exists() for name in names):
        fetch(cache)
    return names


def fetch(cache: Path) -> None:
    """Copies every photograph into `cache` at most LONG_SIDE pixels wide, as <name>.png."""
    from importlib.util import find_spec

    cache.mkdir(parents=True, exist_ok=True)
    for package, files in PYTHON.items():
        spec = find_spec(package)
        if spec is None:
            raise RuntimeError(f"The Python package {package} is needed for its photographs: pip install -e '.[train]'")
        for file in files:
            keep(Path(spec.origin).parent / file, cache)
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise RuntimeError(
            f"apt-get and dpkg are needed to fetch {', '.join(DEBIAN)}; elsewhere put their pictures into {cache} by "
            "hand."
        )
    for package, names in DEBIAN.items():
        folder = cache / "packages" / package
        folder.mkdir(parents=True, exist_ok=True)
        log.info("fetching the photographs of %s", package)
        subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
        subprocess.run(["dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder)], check=True)
        for name in names:
            keep(largest(folder, name), cache, name)


def largest(folder: Path, name: str) -> Path:
    """The biggest file of a picture, which may lie as <name>.jpg or as <name>/contents/images/<size>.jpg."""
    found = [p for p in folder.rglob("*") if p.suffix in (".jpg", ".png") and name in (p.stem, p.parts[-4])]
    if not found:
        raise RuntimeError(f"{folder.name} no longer holds a picture called {name}")
    return max(found, key=lambda p: p.stat().st_size)


def keep(source: Path, cache: Path, name: str | None = None) -> None:
    import cv2

    picture = cv2.imread(str(source))
    if picture is None:
        raise RuntimeError(f"{source} cannot be read as a picture")
    scale = LONG_SIDE / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(cache / f"{name or source.stem}.png"), picture)

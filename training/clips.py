"""Synthetic clips with known tracks: parts of photographs, and cut-outs of others, that move along drawn paths.

Everything is made from a photograph set and a random generator; the same seed gives the same clip. No tensors, no
models.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

FRAMES = 17
LEG = 16  # frames of a path of one kind; longer clips have several, one after the other
SIZES = ((96, 96), (112, 80), (80, 112))  # width, height
HOLD = 5.0  # salience from which a part of a scene can be moved visibly
SPREAD = (
    9,
    8.0,
)  # points for each drawn one and how far from it, in % of the short side: as the encode node spreads them


@dataclass(frozen=True)
class Mix:
    """What scenes are made of. counts: probabilities of 0, 1, 2, … things where the camera stands still; own: share of
    things that are parts of the photograph itself; radius: of a thing, shares of the short side, from and to; points:
    probabilities that it has some on a circle, some anywhere, or one; reach: of a path in a LEG, shares of the short
    side, from and to; top_speed: pixels a frame (four frames share one latent, and faster things are smeared by the
    VAE)."""

    counts: tuple[float, ...] = (0.08, 0.57, 0.25, 0.1)
    own: float = 0.35
    radius: tuple[float, float] = (0.13, 0.24)
    points: tuple[float, float, float] = (0.6, 0.3, 0.1)
    reach: tuple[float, float] = (0.25, 0.65)
    top_speed: float = 4.0


JUDGED = Mix()
TAUGHT = Mix((0.05, 0.35, 0.35, 0.25), 0.6, (0.11, 0.32))  # more of what is hard
# Of long clips: as people draw them for Tora, one point that crosses the picture again and again.
LONG = Mix((0.05, 0.6, 0.25, 0.1), 0.6, (0.13, 0.3), points=(0.4, 0.2, 0.4), reach=(0.25, 1.3), top_speed=7.0)


@dataclass
class Clip:
    """video: uint8 [frames, height, width, 3]; path: float32 [frames, tracks, 2] pixels; visible: bool [frames,
    tracks].

    owners: int [tracks], the thing that the track belongs to, from 1; 0 for the background; the first track of a thing
    is the middle of it. motion: float32 [frames, height, width], 1 where the picture differs from the still background.
    """

    video: np.ndarray
    path: np.ndarray
    visible: np.ndarray
    owners: np.ndarray
    motion: np.ndarray
    camera: bool


@dataclass
class Scene:
    """A photograph and the things on it that may move: what all clips with one first frame have in common.

    background: what is left when the things are taken away, uint8 [.., .., 3]; larger than the clip where the camera
    moves.
    """

    background: np.ndarray
    things: list[Thing]
    camera: bool
    size: tuple[int, int]
    mix: Mix = JUDGED

    def still_view(self) -> np.ndarray:
        """[3, 3] matrix from the background into the first frame."""
        view = np.eye(3)
        view[:2, 2] = (self.size[0] - self.background.shape[1]) / 2, (self.size[1] - self.background.shape[0]) / 2
        return view


def make_clip(photos: dict[str, np.ndarray], rng: np.random.Generator, size=(96, 96), frames=FRAMES) -> Clip:
    """One clip: a photograph of which 0 to 3 parts move, or that is panned, zoomed and turned as a whole."""
    return animate(make_scene(photos, rng, size), rng, frames)


def make_scene(photos: dict[str, np.ndarray], rng: np.random.Generator, size=(96, 96), mix: Mix = JUDGED) -> Scene:
    names = list(photos)
    camera = rng.random() < 0.15
    margin = 1.5 if camera else 1.0
    wide = round(size[0] * margin), round(size[1] * margin)
    scene = Scene(jitter(crop(photos[names[rng.integers(len(names))]], rng, *wide), rng), [], camera, size, mix)
    counts = (0.5, 0.4, 0.1) if camera else mix.counts
    for _ in range(rng.choice(len(counts), p=counts)):
        thing = make_thing(photos, names, rng, *size, scene.background, scene.still_view(), scene.things, mix)
        scene.things += [thing] if thing else []
    return scene


def animate(scene: Scene, rng: np.random.Generator, frames=FRAMES) -> Clip:
    """The scene in motion; the first frame is the same for every generator."""
    width, height = scene.size
    views = [scene.still_view()] * frames
    if scene.camera:
        views = camera_views(rng, frames, width, height, scene.background.shape[1], scene.background.shape[0])
    moves = [make_move(thing, rng, frames, width, height, scene.mix) for thing in scene.things]
    video = np.empty((frames, height, width, 3), np.uint8)
    motion = np.zeros((frames, height, width), np.float32)
    depth = np.zeros((frames, height, width), np.int8)  # which thing is on top, 0 for the background
    for f in range(frames):
        picture = warp(scene.background, views[f], width, height).astype(np.float32)
        for index, (thing, places) in enumerate(zip(scene.things, moves)):
            alpha = warp(thing.alpha, places[f], width, height)
            picture += (warp(thing.texture, places[f], width, height) - picture) * alpha[..., None]
            depth[f][alpha > 0.5] = index + 1
            motion[f] = np.maximum(motion[f], alpha)
        video[f] = picture
    motion = np.ones_like(motion) if scene.camera else np.maximum(motion, motion[:1])

    paths, owners = [], []
    for index, (thing, places) in enumerate(zip(scene.things, moves)):
        for point in make_points(thing, rng, min(width, height), scene.mix):
            paths.append([place @ (*point, 1) for place in places])
            owners.append(index + 1)
    for x, y in still_points(scene, rng):
        if depth[0, int(y), int(x)] == 0:
            anchor = np.linalg.solve(views[0], (x, y, 1))
            paths.append([view @ anchor for view in views])
            owners.append(0)
    path = np.array(paths, np.float32).reshape(-1, frames, 3)[..., :2].transpose(1, 0, 2)
    owners = np.array(owners, int)
    x, y = path[..., 0], path[..., 1]
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    column, row = np.clip(x, 0, width - 1).round().astype(int), np.clip(y, 0, height - 1).round().astype(int)
    on_top = depth[np.arange(frames)[:, None], row, column] <= owners
    return Clip(video, path, inside & on_top, owners, motion, scene.camera)


def still_points(scene: Scene, rng) -> list[tuple[float, float]]:
    """(x, y) of the first frame that get a track of the background's: for a camera mostly a grid, as the camera node
    makes it."""
    width, height = scene.size
    if scene.camera and rng.random() < 0.75:
        columns, rows = rng.integers(3, 7, 2)
        return [((i + 0.5) * width / columns, (j + 0.5) * height / rows) for j in range(rows) for i in range(columns)]
    count = rng.integers(3, 8) if scene.camera else rng.choice([0, 0, 1, 2, 4])
    wanted = scene.things or scene.camera or rng.random() < 0.3
    return [(rng.uniform(0, width), rng.uniform(0, height)) for _ in range(count if wanted else 0)]


def make_still(photos: dict[str, np.ndarray], rng: np.random.Generator, size=(96, 96)) -> np.ndarray:
    """One picture, uint8 [height, width, 3]: a crop of a photograph, often with cut-outs of others on it."""
    width, height = size
    names = list(photos)
    picture = jitter(crop(photos[names[rng.integers(len(names))]], rng, width, height), rng)
    for _ in range(rng.choice([0, 1, 2, 3], p=(0.4, 0.3, 0.2, 0.1))):
        thing = make_thing(photos, names, rng, width, height, picture, np.eye(3), mix=Mix(own=0))
        place = thing.first_place()
        alpha = warp(thing.alpha, place, width, height)[..., None]
        picture = (picture + (warp(thing.texture, place, width, height) - picture) * alpha).astype(np.uint8)
    return picture


@dataclass
class Thing:
    """texture [h, w, 3] and alpha [h, w] float32, their middle at `start` (x, y) of the first frame; radius in
    pixels."""

    texture: np.ndarray
    alpha: np.ndarray
    start: np.ndarray
    radius: float

    @property
    def middle(self) -> np.ndarray:
        return np.array([self.alpha.shape[1] // 2, self.alpha.shape[0] // 2])

    def first_place(self) -> np.ndarray:
        """[3, 3] matrix from the texture into the first frame."""
        place = np.eye(3)
        place[:2, 2] = self.start - self.middle
        return place


def make_thing(photos, names, rng, width, height, background, view, others=(), mix: Mix = JUDGED) -> Thing | None:
    """A part of the scene itself (cut out of `background`, whose hole is filled) or a cut-out of another photograph;
    None where the other things leave no room."""
    radius = min(width, height) * rng.uniform(*mix.radius)
    side = int(radius * 2.6) | 1
    half = side // 2
    padded = cv2.copyMakeBorder(background, half, half, half, half, cv2.BORDER_REFLECT_101)

    def find(own: bool) -> tuple:
        """(salience, start, place in the background, texture): of a few, the thing that has most to hold on to."""
        best = (-1.0, None, None, None)
        for _ in range(8):
            start = np.array([rng.uniform(0.15, 0.85) * width, rng.uniform(0.15, 0.85) * height]).round()
            if any(np.linalg.norm(start - thing.start) < radius + thing.radius for thing in others):
                continue
            here = np.linalg.solve(view, (*start, 1))[:2].round().astype(int)
            around = padded[here[1] : here[1] + side, here[0] : here[0] + side]
            if own:
                texture = around.copy()
            elif rng.random() < 0.2:
                texture = painted(rng, side)
            else:
                texture = jitter(crop(photos[names[rng.integers(len(names))]], rng, side, side), rng)
            best = max(best, (salience(texture, around, radius), start, here, texture), key=lambda found: found[0])
        return best

    own = rng.random() < mix.own
    found, start, here, texture = find(own)
    if own and found < HOLD:  # people take hold of things, not of empty sky
        own = False
        found, start, here, texture = find(own)
    if start is None:
        return None
    alpha = outline(rng, side, radius, texture if rng.random() < 0.2 else None)
    if own:
        mask = np.zeros(background.shape[:2], np.uint8)
        paste(mask, (alpha > 0.03).astype(np.uint8), int(here[1] - half), int(here[0] - half))
        mask = cv2.dilate(mask, np.ones((3, 3), np.uint8))
        background[:] = cv2.inpaint(background, mask, 3, cv2.INPAINT_TELEA)
    return Thing(texture.astype(np.float32), alpha, start, radius)


def make_move(thing: Thing, rng, frames: int, width: int, height: int, mix: Mix) -> list[np.ndarray]:
    """A [3, 3] matrix a frame from the thing's texture into the video."""
    path = make_path(rng, thing.start, frames, width, height, thing.radius, mix)
    angle = rng.normal(0, 0.5) * (rng.random() < 0.3)
    growth = np.exp(rng.normal(0, 0.2)) if rng.random() < 0.3 else 1.0
    places = []
    progress = np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum()
    progress = np.concatenate([[0], progress / max(progress[-1], 1e-6)])
    for (x, y), share in zip(path, progress):
        cos, sin = np.cos(angle * share), np.sin(angle * share)
        turn = growth**share * np.array([[cos, -sin], [sin, cos]])
        places.append(np.vstack([np.column_stack([turn, (x, y) - turn @ thing.middle]), (0, 0, 1)]))
    return places


def make_points(thing: Thing, rng, short: int, mix: Mix) -> np.ndarray:
    """[1 to 9, 2] in the texture: the middle, and often more: on a circle as the encode node adds them, or anywhere on
    it."""
    inside = np.argwhere(thing.alpha > 0.9)[:, ::-1].astype(np.float64)
    if not len(inside):
        return thing.middle[None].astype(np.float64)
    centre = inside[np.linalg.norm(inside - inside.mean(0), axis=1).argmin()]
    kind = rng.choice(["circle", "anywhere", "middle"], p=mix.points)
    if kind == "middle":
        return centre[None]
    count = rng.choice([5, SPREAD[0]])
    if kind == "anywhere":
        return np.vstack([centre, inside[rng.integers(len(inside), size=count - 1)]])
    angle = np.arange(count - 1) * 2 * np.pi / (count - 1)
    reach = short * rng.choice([SPREAD[1] / 100, rng.uniform(0.04, 0.12)])
    circle = centre + reach * np.column_stack([np.cos(angle), np.sin(angle)])
    column, row = np.clip(circle.round().astype(int), 0, thing.alpha.shape[0] - 1).T
    return np.vstack([centre, circle[thing.alpha[row, column] > 0.3]])


def salience(texture, around, radius) -> float:
    """How much a disc of `texture` has to hold on to, [side, side, 3] each: the coarse slopes within it, along the
    direction where they are least (Shi and Tomasi 1994), and how much it differs from the picture `around` it."""
    yy, xx = np.mgrid[: texture.shape[0], : texture.shape[1]] - texture.shape[0] // 2
    disc, ring = np.hypot(xx, yy) < radius * 0.8, np.hypot(xx, yy) > radius
    smooth = cv2.GaussianBlur(texture, (0, 0), 1.5).astype(np.float32)
    down, across = (slope[disc].ravel() for slope in np.gradient(smooth, axis=(0, 1)))
    least = np.linalg.eigvalsh(np.cov(np.stack([across, down]), bias=True))[0]
    differs = np.abs(texture[disc].mean(0) - around[ring].mean(0)).mean()
    return float(np.sqrt(max(least, 0)) + 0.1 * min(differs, 60))


def make_path(rng, start, frames, width, height, radius, mix: Mix) -> np.ndarray:
    """[frames, 2]: from `start` (x, y) one leg after another, each of LEG frames."""
    path = make_leg(rng, start, min(LEG + 1, frames), width, height, radius, mix)
    while len(path) < frames:
        leg = make_leg(rng, path[-1], min(LEG + 1, frames + 1 - len(path)), width, height, radius, mix)
        path = np.concatenate([path, path[-1] + leg[1:] - leg[0]])
    return path


def make_leg(rng, start, frames, width, height, radius, mix: Mix) -> np.ndarray:
    """[frames, 2]: line, arc, wave, loop or free curve from `start` (x, y), at an eased speed."""
    short = min(width, height)
    reach = short * rng.uniform(*mix.reach)
    to = np.array([width, height]) * rng.uniform(0.1, 0.9, 2) - start
    heading = np.arctan2(*to[::-1]) + rng.normal(0, 0.3)
    t = np.linspace(0, 1, 65)
    kind = rng.choice(["line", "arc", "wave", "loop", "free"], p=(0.3, 0.2, 0.15, 0.1, 0.25))
    if kind == "line":
        shape = np.column_stack([t, 0 * t])
    elif kind == "arc":
        bend = rng.uniform(-2.5, 2.5)
        shape = np.cumsum(np.column_stack([np.cos(bend * t), np.sin(bend * t)]), axis=0) / len(t)
    elif kind == "wave":
        shape = np.column_stack([t, rng.uniform(0.1, 0.3) * np.sin(2 * np.pi * t * rng.uniform(0.6, 1.6))])
    elif kind == "loop":
        turn = 2 * np.pi * t * rng.uniform(0.5, 1.0) * rng.choice([-1, 1])
        shape = np.column_stack([np.sin(turn), 1 - np.cos(turn)]) * 0.3
    else:
        knots = np.cumsum(rng.normal((0.33, 0), 0.25, (4, 2)), axis=0)
        knots -= knots[0]
        shape = np.column_stack([np.polyval(np.polyfit(np.linspace(0, 1, 4), knots[:, i], 3), t) for i in (0, 1)])
        shape -= shape[0]
    cos, sin = np.cos(heading), np.sin(heading)
    curve = start + reach * shape @ np.array([[cos, sin], [-sin, cos]])
    if rng.random() < 0.8:  # mostly stay in sight
        low, high = np.array([0.3 * radius] * 2), np.array([width, height]) - 0.3 * radius
        curve = np.clip(curve, low, high)
    ease = rng.choice(["even", "in-out", "in", "out", "pause"], p=(0.45, 0.25, 0.1, 0.1, 0.1))
    u = np.linspace(0, 1, frames)
    u = {
        "even": u,
        "in-out": u * u * (3 - 2 * u),
        "in": u * u,
        "out": 1 - (1 - u) ** 2,
        "pause": np.clip(u * 1.6 - 0.3, 0, 1),
    }[ease]
    path = np.column_stack([np.interp(u, t, curve[:, i]) for i in (0, 1)])
    fastest = np.linalg.norm(np.diff(path, axis=0), axis=1).max()
    return path[0] + (path - path[0]) * min(1, mix.top_speed / max(fastest, 1e-6))


def camera_views(rng, frames, width, height, scene_width, scene_height) -> list[np.ndarray]:
    """A [3, 3] matrix a frame from the scene into the video: pan, zoom and turn, together or alone."""
    kind = rng.choice(["pan", "zoom", "both"], p=(0.5, 0.15, 0.35))
    shift = rng.uniform(-0.22, 0.22, 2) * (width, height) * (kind != "zoom")
    zoom = np.exp(rng.choice([-1, 1]) * rng.uniform(0.1, 0.3)) if kind != "pan" else 1.0
    angle = rng.uniform(-0.25, 0.25) * (rng.random() < 0.3)
    views = []
    for u in np.linspace(0, 1, frames):
        u = u * u * (3 - 2 * u) if frames % 2 else u
        scale, (cos, sin) = zoom**u, (np.cos(angle * u), np.sin(angle * u))
        turn = scale * np.array([[cos, -sin], [sin, cos]])
        centre = np.array([width, height]) / 2 + shift * u
        views.append(
            np.vstack([np.column_stack([turn, centre - turn @ (scene_width / 2, scene_height / 2)]), (0, 0, 1)])
        )
    return views


def outline(rng, side, radius, texture) -> np.ndarray:
    """Soft-edged alpha [side, side]: ellipse, blob, polygon, or what has the colour of the middle."""
    yy, xx = np.mgrid[:side, :side] - side // 2
    angle, distance = np.arctan2(yy, xx), np.hypot(xx, yy)
    kind = rng.choice(["ellipse", "blob", "polygon"])
    if kind == "ellipse":
        squeeze, turn = rng.uniform(0.6, 1), rng.uniform(0, np.pi)
        edge = radius * squeeze / np.sqrt((squeeze * np.cos(angle - turn)) ** 2 + np.sin(angle - turn) ** 2)
    elif kind == "blob":
        edge = radius * (0.85 + sum(rng.normal(0, 0.12) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 4)))
    else:
        corners = rng.integers(3, 7)
        sector = 2 * np.pi / corners
        edge = radius * np.cos(sector / 2) / np.cos((angle + rng.uniform(0, 6.3)) % sector - sector / 2)
    alpha = np.clip(edge - distance + 0.5, 0, 1).astype(np.float32)
    if texture is not None:
        lab = cv2.GaussianBlur(
            cv2.cvtColor(np.ascontiguousarray(texture), cv2.COLOR_RGB2LAB).astype(np.float32), (0, 0), 1.2
        )
        core = lab[distance < radius * 0.35].mean(0)
        near = np.exp(-(np.linalg.norm(lab - core, axis=-1) / rng.uniform(25, 50)) ** 2)
        inside = ((near > 0.45) & (alpha > 0.5)) | (distance < radius * 0.35)
        kept = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        _, labels = cv2.connectedComponents(kept)
        label = labels[side // 2, side // 2]
        if label and (labels == label).sum() > 0.25 * (alpha > 0.5).sum():
            alpha = (labels == label).astype(np.float32)
    return cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.5, 1.0))


def painted(rng, side) -> np.ndarray:
    """A saturated texture, so that no hue is rare."""
    base = rng.uniform(0, 180)
    hue = (base + rng.normal(0, 8) * np.linspace(-1, 1, side)[:, None] + np.zeros((side, side))) % 180
    value = np.clip(
        rng.uniform(120, 255) + rng.normal(0, 40) * np.linspace(-1, 1, side)[None] + np.zeros((side, side)), 40, 255
    )
    hsv = np.dstack([hue, np.full((side, side), rng.uniform(120, 255)), value]).astype(np.uint8)
    picture = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    for _ in range(rng.integers(2, 7)):
        colour = rng.integers(0, 256, 3).tolist()
        centre = rng.integers(0, side, 2).tolist()
        cv2.circle(picture, centre, int(rng.integers(1, max(2, side // 4))), colour, -1, cv2.LINE_AA)
    return picture


def crop(photo: np.ndarray, rng, width: int, height: int) -> np.ndarray:
    """A random part of the photograph with random scale and side, [height, width, 3]."""
    most = min(photo.shape[1] / width, photo.shape[0] / height)
    scale = min(np.exp(rng.uniform(np.log(1.0), np.log(max(1.01, most)))), most)
    w, h = int(width * scale), int(height * scale)
    left, top = rng.integers(photo.shape[1] - w + 1), rng.integers(photo.shape[0] - h + 1)
    part = photo[top : top + h, left : left + w]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    return cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=cv2.INTER_AREA)


def jitter(picture: np.ndarray, rng) -> np.ndarray:
    """Another hue, saturation and brightness, half of the time."""
    if rng.random() < 0.5:
        return picture
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(0, 180) * (rng.random() < 0.6)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.6, 1.5), 0, 255)
    hsv[..., 2] = np.clip(hsv[..., 2] * rng.uniform(0.7, 1.3) + rng.uniform(0, 25), 0, 255)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)


def warp(picture: np.ndarray, place: np.ndarray, width: int, height: int) -> np.ndarray:
    border = cv2.BORDER_CONSTANT if picture.ndim == 2 else cv2.BORDER_REFLECT_101
    return cv2.warpAffine(picture, place[:2], (width, height), flags=cv2.INTER_LINEAR, borderMode=border)


def paste(target: np.ndarray, part: np.ndarray, top: int, left: int) -> None:
    """Maximum of `part` into `target` at (top, left), clipped to it."""
    height, width = target.shape
    y, x = max(0, top), max(0, left)
    bottom, right = min(height, top + part.shape[0]), min(width, left + part.shape[1])
    if y < bottom and x < right:
        piece = part[y - top : bottom - top, x - left : right - left]
        target[y:bottom, x:right] = np.maximum(target[y:bottom, x:right], piece)

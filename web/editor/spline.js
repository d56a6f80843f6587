// The maths of the spline editor: control points -> curve -> arc length -> position and visibility at a frame.
// Mirrors trajectory/spline.py, which is the source of truth; both meet tests/vectors/spline.json within 0.01 px.
// Pure functions over the document of document.js: no DOM, no state but a cache keyed by (never mutated) track objects.

/**
 * @typedef {[number, number]} Pair
 * @typedef {{x: number, y: number, in?: Pair, out?: Pair, t?: number}} Point  in, out: Bézier handles relative to it
 * @typedef {"linear"|"ease-in"|"ease-out"|"ease-in-out"|[Pair, Pair]} Speed  the pairs: handles of CSS cubic-bezier
 * @typedef {{start: number, end: number, curve: Speed, before: "hold"|"hidden", after: "hold"|"hidden"}} Timing  frames
 * @typedef {{id: string, kind: string, points: Point[], interpolation: string, tension: number, closed: boolean,
 *   radius?: Pair, spokes?: number, grid?: object, timing: Timing, visibility?: Pair[]|null, hidden?: boolean}} Track
 * @typedef {{xy: Float64Array, lengths: Float64Array, total: number, knots: Float64Array, count: number}} Curve
 *   xy: the flattened curve, x0 y0 x1 y1 …; lengths: arc length at each of its `count` samples; total: the last of
 *   them; knots: arc length at each control point (a closed curve has one more, the first point again).
 */

/** Straight pieces that a segment is flattened into. */
export const SAMPLES = 64;
/** Points round a circle where a track does not say. */
export const SPOKES = 8;
/** CSS easing presets (CSS Easing Functions Level 1) as cubic-bezier control points. */
export const PRESETS = Object.freeze({
  "ease-in": [[0.42, 0], [1, 1]],
  "ease-out": [[0, 0], [0.58, 1]],
  "ease-in-out": [[0.42, 0], [0.58, 1]],
});

// Time

/** Eased share of a motion at share `u` (0..1) of its time; handles beyond 0..1 overshoot. @param {Speed} speed */
export function ease(speed, u) {
  if (!(u > 0)) return 0;
  if (u >= 1) return 1;
  const handles = typeof speed === "string" ? PRESETS[speed] : speed;
  if (!handles) return u;
  const [[x1, y1], [x2, y2]] = handles;
  let low = 0;
  let high = 1;
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2;
    if (bezier(0, x1, x2, 1, middle) < u) low = middle;
    else high = middle;
  }
  return bezier(0, y1, y2, 1, (low + high) / 2);
}

/** A timing with what it leaves out filled in. @param {{timing?: Partial<Timing>}} owner @returns {Timing} */
export function timingOf(owner, frames) {
  return { start: 0, end: frames - 1, curve: "linear", before: "hold", after: "hold", ...owner.timing };
}

/** Eased share of the motion done at a (real) frame: 0 before the start, 1 after the end. @param {Timing} timing */
export function shareAt(timing, frame) {
  const { start, end, curve } = timing;
  if (!(end > start)) return frame < start ? 0 : 1;
  return ease(curve, (frame - start) / (end - start));
}

/**
 * Whether a track shows at a frame: the nearest whole frame is in one of its ranges, and it is not hidden before its
 * start or after its end. @param {Track} track
 */
export function visibleAt(track, frames, frame) {
  const timing = timingOf(track, frames);
  if (timing.before === "hidden" && frame < timing.start) return false;
  if (timing.after === "hidden" && frame > timing.end) return false;
  const nearestFrame = Math.floor(frame + 0.5);
  return !track.visibility || track.visibility.some(([first, last]) => first <= nearestFrame && nearestFrame <= last);
}

// The curve

function bezier(a, b, c, d, t) {
  const s = 1 - t;
  return s * s * s * a + 3 * s * s * t * b + 3 * s * t * t * c + t * t * t * d;
}

/** Whether the path returns to its first point; recorded strokes never do. @param {Track} track */
export function isClosed(track) {
  return Boolean(track.closed) && track.kind !== "freehand" && track.points.length > 1;
}

/**
 * The cubic Bézier segments of a track's curve, whatever its interpolation: [x0, y0, cx0, cy0, cx1, cy1, x1, y1] each.
 * `step` gives the straight lines between its stations. One point has none.
 * @param {Track} track @returns {number[][]}
 */
export function segments(track) {
  const points = track.kind === "point" ? track.points.slice(0, 1) : track.points;
  const count = isClosed(track) ? points.length : points.length - 1;
  const result = [];
  const tangents = TANGENTS[track.interpolation]?.(points, isClosed(track), track.tension ?? 0);
  for (let i = 0; i < count; i++) {
    const p = points[i];
    const q = points[(i + 1) % points.length];
    let ax = (q.x - p.x) / 3;
    let ay = (q.y - p.y) / 3;
    let bx = ax;
    let by = ay;
    if (track.interpolation === "bezier") {
      [ax, ay] = p.out ?? [0, 0];
      [bx, by] = (q.in ?? [0, 0]).map((value) => -value);
    } else if (tangents) {
      [ax, ay, bx, by] = tangents(i);
    }
    result.push([p.x, p.y, p.x + ax, p.y + ay, q.x - bx, q.y - by, q.x, q.y]);
  }
  return result;
}

// Each: (points, closed, tension) -> (segment i -> a third of its end tangents [ax, ay, bx, by]).
const TANGENTS = {
  /** (1 - tension) (p[i+1] - p[i-1]) / 2; tension 0 is Catmull-Rom, 1 is straight; one-sided at open ends. */
  cardinal(points, closed, tension) {
    const n = points.length;
    const tangent = points.map((point, i) => {
      const before = points[closed ? (i + n - 1) % n : Math.max(i - 1, 0)];
      const after = points[closed ? (i + 1) % n : Math.min(i + 1, n - 1)];
      const weight = (1 - tension) / (!closed && (i === 0 || i === n - 1) ? 1 : 2) / 3;
      return [weight * (after.x - before.x), weight * (after.y - before.y)];
    });
    return (i) => [...tangent[i], ...tangent[(i + 1) % n]];
  },

  /** Fritsch and Carlson (1980): x and y each a monotone cubic over the cumulative chord length. */
  monotone(points, closed) {
    const n = points.length;
    const steps = closed ? n : n - 1;
    const chord = [];
    for (let i = 0; i < steps; i++) {
      const q = points[(i + 1) % n];
      chord.push(Math.hypot(q.x - points[i].x, q.y - points[i].y));
    }
    const moving = [...chord.keys()].filter((i) => chord[i] > 0); // coincident points do not steer
    const x = monotoneSlopes(moving.map((i) => (points[(i + 1) % n].x - points[i].x) / chord[i]), closed);
    const y = monotoneSlopes(moving.map((i) => (points[(i + 1) % n].y - points[i].y) / chord[i]), closed);
    const place = new Map(moving.map((i, k) => [i, k]));
    return (i) => {
      const k = place.get(i);
      if (k === undefined) return [0, 0, 0, 0];
      const after = closed ? (k + 1) % moving.length : k + 1;
      const third = chord[i] / 3;
      return [x[k] * third, y[k] * third, x[after] * third, y[after] * third];
    };
  },
};

/** Slopes at the knots of a monotone cubic from those of its secants; one more than secants, or as many when closed. */
function monotoneSlopes(secants, closed) {
  const n = secants.length;
  if (!n) return [];
  const knots = closed ? n : n + 1;
  const slopes = [];
  for (let i = 0; i < knots; i++) {
    const before = secants[closed ? (i + n - 1) % n : i - 1] ?? secants[0];
    const after = secants[i] ?? secants[n - 1];
    slopes.push(before * after > 0 ? (before + after) / 2 : 0);
  }
  if (!closed) {
    slopes[0] = secants[0];
    slopes[n] = secants[n - 1];
  }
  for (let i = 0; i < n; i++) {
    const next = (i + 1) % knots;
    if (secants[i] === 0) {
      slopes[i] = 0;
      slopes[next] = 0;
      continue;
    }
    const a = slopes[i] / secants[i];
    const b = slopes[next] / secants[i];
    const size = a * a + b * b;
    if (size > 9) {
      slopes[i] = (3 / Math.sqrt(size)) * a * secants[i];
      slopes[next] = (3 / Math.sqrt(size)) * b * secants[i];
    }
  }
  return slopes;
}

/** @type {WeakMap<Track, Curve>} */
const curves = new WeakMap();

/**
 * The curve of a track flattened into SAMPLES pieces a segment; the same object for the same track.
 * @param {Track} track @returns {Curve}
 */
export function curve(track) {
  let found = curves.get(track);
  if (!found) curves.set(track, (found = flatten(track)));
  return found;
}

/** The weights of a cubic Bézier's four points at 1 / SAMPLES, 2 / SAMPLES … 1, one after another. */
const WEIGHTS = Float64Array.from({ length: 4 * SAMPLES }, (_, i) => {
  const unit = [0, 0, 0, 0];
  unit[i % 4] = 1;
  return bezier(...unit, (Math.floor(i / 4) + 1) / SAMPLES);
});

function flatten(track) {
  const parts = segments(track);
  const count = parts.length * SAMPLES + 1;
  const xy = new Float64Array(2 * count);
  const lengths = new Float64Array(count);
  const knots = new Float64Array(parts.length + 1);
  let { x: px, y: py } = track.points[0];
  [xy[0], xy[1]] = [px, py];
  let total = 0;
  let at = 1;
  for (let i = 0; i < parts.length; i++) { // loops and plain numbers: eight times as fast as forEach and Math.hypot
    const [x0, y0, cx0, cy0, cx1, cy1, x1, y1] = parts[i];
    for (let k = 0; k < WEIGHTS.length; k += 4, at++) {
      const x = WEIGHTS[k] * x0 + WEIGHTS[k + 1] * cx0 + WEIGHTS[k + 2] * cx1 + WEIGHTS[k + 3] * x1;
      const y = WEIGHTS[k] * y0 + WEIGHTS[k + 1] * cy0 + WEIGHTS[k + 2] * cy1 + WEIGHTS[k + 3] * y1;
      total += Math.sqrt((x - px) * (x - px) + (y - py) * (y - py));
      xy[2 * at] = px = x;
      xy[2 * at + 1] = py = y;
      lengths[at] = total;
    }
    knots[i + 1] = total;
  }
  return { xy, lengths, total, knots, count };
}

/** The place on a flattened curve at an arc length. @param {Curve} line @returns {{x: number, y: number}} */
export function atLength(line, length) {
  const { xy, lengths, count } = line;
  let low = 0;
  let high = count - 1;
  if (!(length > 0)) high = 0;
  else if (length >= line.total) low = high;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (lengths[middle] <= length) low = middle;
    else high = middle;
  }
  const gap = lengths[high] - lengths[low];
  const weight = gap > 0 ? (length - lengths[low]) / gap : 0;
  return {
    x: xy[2 * low] + (xy[2 * high] - xy[2 * low]) * weight,
    y: xy[2 * low + 1] + (xy[2 * high + 1] - xy[2 * low + 1]) * weight,
  };
}

/** Recorded times of a freehand track as 0..1, one a point; null where it has none. @param {Track} track */
export function recordedTimes(track) {
  const { kind, points } = track;
  if (kind !== "freehand" || points.some((point) => point.t === undefined)) return null;
  const first = points[0].t;
  const span = points.at(-1).t - first;
  return span > 0 ? points.map((point) => (point.t - first) / span) : null;
}

/** The last index whose (rising) value is <= `wanted`, at least 0. */
function lastAtOrBelow(values, wanted) {
  let low = 0;
  let high = values.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (values[middle] <= wanted) low = middle;
    else high = middle;
  }
  return low;
}

/**
 * The place on a track's path when the share `s` (clamped to 0..1) of its motion is done.
 * @param {Track} track @returns {{x: number, y: number}}
 */
export function pointAt(track, s) {
  const { points } = track;
  s = Math.min(Math.max(s, 0), 1);
  if (points.length < 2 || track.kind === "point" || s === 0) return { x: points[0].x, y: points[0].y };
  const times = recordedTimes(track);
  if (track.interpolation === "step") {
    const stations = points.length + (isClosed(track) ? 1 : 0);
    const index = times ? lastAtOrBelow(times, s) : Math.min(Math.floor(s * stations), stations - 1) % points.length;
    return { x: points[index].x, y: points[index].y };
  }
  const line = curve(track);
  if (!times) return atLength(line, s * line.total);
  const i = Math.min(lastAtOrBelow(times, s), points.length - 2);
  const gap = times[i + 1] - times[i];
  const weight = gap > 0 ? Math.min((s - times[i]) / gap, 1) : 1;
  return atLength(line, line.knots[i] + (line.knots[i + 1] - line.knots[i]) * weight);
}

/**
 * The place on a track's curve nearest to (x, y): on segment `segment` (before control point segment + 1) at its
 * parameter `u` 0..1, at `share` 0..1 of the arc length. @param {Track} track
 * @returns {{segment: number, u: number, x: number, y: number, share: number, distance: number}}
 */
export function nearest(track, x, y) {
  const line = curve(track);
  const { xy, lengths } = line;
  let best = { index: 0, weight: 0, x: xy[0], y: xy[1], distance: Math.hypot(x - xy[0], y - xy[1]) };
  for (let i = 0; i + 1 < line.count; i++) {
    const [ax, ay] = [xy[2 * i], xy[2 * i + 1]];
    const [dx, dy] = [xy[2 * i + 2] - ax, xy[2 * i + 3] - ay];
    const size = dx * dx + dy * dy;
    const weight = size > 0 ? Math.min(Math.max(((x - ax) * dx + (y - ay) * dy) / size, 0), 1) : 0;
    const distance = Math.hypot(x - ax - weight * dx, y - ay - weight * dy);
    if (distance < best.distance) best = { index: i, weight, x: ax + weight * dx, y: ay + weight * dy, distance };
  }
  const segment = Math.min(Math.floor(best.index / SAMPLES), Math.max(line.knots.length - 2, 0));
  const u = Math.min((best.index - segment * SAMPLES + best.weight) / SAMPLES, 1);
  const next = Math.min(best.index + 1, line.count - 1);
  const length = lengths[best.index] + (lengths[next] - lengths[best.index]) * best.weight;
  return { segment, u, x: best.x, y: best.y, share: line.total > 0 ? length / line.total : 0, distance: best.distance };
}

// Expansion: one drawn track may give several

/**
 * Offsets [dx, dy] from the path of the tracks that one drawn track gives, at share `s` of its motion.
 * @param {Track} track @returns {Pair[]}
 */
export function offsets(track, s) {
  if (track.kind === "circle") {
    const [from, to] = track.radius ?? [0, 0];
    const radius = from + (to - from) * Math.min(Math.max(s, 0), 1);
    const spokes = track.spokes ?? SPOKES;
    const round = Array.from({ length: spokes }, (_, k) => (k * 2 * Math.PI) / spokes);
    return [[0, 0], ...round.map((angle) => [radius * Math.cos(angle), radius * Math.sin(angle)])];
  }
  if (track.kind === "grid" && track.grid) return gridOffsets(track.grid);
  return [[0, 0]];
}

/** The place (u, v), 0..1 of a grid's rectangle, as an offset from its middle: turned by `angle` degrees clockwise. @returns {Pair} */
export function gridPlace({ width, height, angle = 0 }, u, v) {
  const [x, y] = [(u - 0.5) * width, (v - 0.5) * height];
  const turn = (angle * Math.PI) / 180;
  return [x * Math.cos(turn) - y * Math.sin(turn), x * Math.sin(turn) + y * Math.cos(turn)];
}

/** Row by row, edge to edge of the rectangle (the middle where there is one column or row), inside the mask polygon. */
export function gridOffsets(grid) {
  const { columns, rows, mask } = grid;
  const found = [];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const u = columns > 1 ? column / (columns - 1) : 0.5;
      const v = rows > 1 ? row / (rows - 1) : 0.5;
      if (!mask || inPolygon(mask, u, v)) found.push(gridPlace(grid, u, v));
    }
  }
  return found;
}

/** Even-odd rule; points exactly on an edge fall on either side. @param {Pair[]} polygon */
export function inPolygon(polygon, u, v) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ux, uy] = polygon[i];
    const [vx, vy] = polygon[j];
    if (uy > v !== vy > v && u < ((vx - ux) * (v - uy)) / (vy - uy) + ux) inside = !inside;
  }
  return inside;
}

// The camera

const IDENTITY = Object.freeze([1, 0, 0, 1, 0, 0]);

/**
 * What the camera does to a track's positions at a frame, as an affine map [a, b, c, d, e, f] in the order of
 * DOMMatrix and canvas setTransform: x' = a x + c y + e, y' = b x + d y + f.
 */
export function cameraMatrix(document, trackId, frame) {
  let matrix = IDENTITY;
  for (const move of document.camera ?? []) {
    if (move.tracks && !move.tracks.includes(trackId)) continue;
    matrix = compose(moveMatrix(move, document, frame), matrix);
  }
  return matrix;
}

function moveMatrix(move, document, frame) {
  const s = shareAt(timingOf(move, document.frames), frame);
  if (move.kind === "pan") return [1, 0, 0, 1, s * move.x, s * move.y];
  const [x, y] = move.center ?? [document.canvas.width / 2, document.canvas.height / 2];
  let [a, b] = [1, 0];
  if (move.kind === "zoom") a = move.factor ** s;
  else {
    const angle = (s * move.degrees * Math.PI) / 180;
    [a, b] = [Math.cos(angle), Math.sin(angle)];
  }
  return [a, b, -b, a, x - a * x + b * y, y - b * x - a * y];
}

/** The map that does `first`, then `second`. */
function compose(second, first) {
  const [a, b, c, d, e, f] = second;
  const [g, h, i, j, k, l] = first;
  return [a * g + c * h, b * g + d * h, a * i + c * j, b * i + d * j, a * k + c * l + e, b * k + d * l + f];
}

// Everything

/**
 * All output tracks of a document, in order: hidden ones left out, circles and grids expanded, the camera applied.
 * @param document a valid document (document.js: parse)
 * @param {number[]} [times] frames (may be fractional) to evaluate at; default every frame 0 … frames - 1. Give
 *   `[frame]` to draw one frame.
 * @returns {{paths: {x: number, y: number, visible: boolean}[][], owners: {id: string, index: number, part: number}[]}}
 *   paths[track][time]; owners[track]: the drawn track (id, place in document.tracks) and which of its points this is.
 */
export function evaluate(document, times) {
  const moments = times ?? Array.from({ length: document.frames }, (_, frame) => frame);
  const paths = [];
  const owners = [];
  const camera = (document.camera ?? []).map((move) => ({
    applies: (id) => !move.tracks || move.tracks.includes(id),
    matrices: moments.map((frame) => moveMatrix(move, document, frame)),
  }));
  document.tracks.forEach((track, index) => {
    if (track.hidden || !track.points.length) return;
    const timing = timingOf(track, document.frames);
    const moves = camera.filter((move) => move.applies(track.id));
    const columns = moments.map((frame, time) => {
      const s = shareAt(timing, frame);
      const { x, y } = pointAt(track, s);
      const [a, b, c, d, e, f] = moves.reduce((matrix, move) => compose(move.matrices[time], matrix), IDENTITY);
      const visible = visibleAt(track, document.frames, frame);
      return offsets(track, s).map(([dx, dy]) => ({
        x: a * (x + dx) + c * (y + dy) + e,
        y: b * (x + dx) + d * (y + dy) + f,
        visible,
      }));
    });
    const parts = columns[0]?.length ?? 0;
    for (let part = 0; part < parts; part++) {
      paths.push(columns.map((column) => column[part]));
      owners.push({ id: track.id, index, part });
    }
  });
  return { paths, owners };
}

// A stroke drawn in real time becomes the points of a freehand track: few of them, with the hand's speed kept. Pure.

/** Pixels of the canvas: a hand is not surer than this. */
export const TOLERANCE = 1;

/**
 * Recorded samples -> control points {x, y, t}, t from 0 to 1. Points are left out where the position at that time,
 * between the points that stay, is nearer than `tolerance`: Douglas and Peucker's algorithm with the distance taken at
 * equal time (Meratnia and de By 2004), so that the speed is kept and not only the shape.
 * @param {{x: number, y: number, time: number}[]} samples time in any unit, rising
 * @returns {{x: number, y: number, t: number}[]}
 */
export function simplifyStroke(samples, tolerance = TOLERANCE) {
  if (!samples.length) return [];
  const first = samples[0].time;
  const span = samples.at(-1).time - first;
  const share = (sample, index) => (span > 0 ? (sample.time - first) / span : index / Math.max(samples.length - 1, 1));
  const points = samples.map((sample, index) => ({ x: sample.x, y: sample.y, t: share(sample, index) }));
  for (let i = 1; i < points.length; i++) points[i].t = Math.min(Math.max(points[i].t, points[i - 1].t), 1);
  const keep = new Set([0, points.length - 1]);
  const open = [[0, points.length - 1]];
  while (open.length) {
    const [a, b] = open.pop();
    let furthest = -1;
    let most = tolerance;
    for (let i = a + 1; i < b; i++) {
      const distance = distanceInTime(points[i], points[a], points[b]);
      if (distance > most) [furthest, most] = [i, distance];
    }
    if (furthest > 0) {
      keep.add(furthest);
      open.push([a, furthest], [furthest, b]);
    }
  }
  return points.filter((_, index) => keep.has(index));
}

/** How far a point is from where the straight way from a to b is at its time. */
function distanceInTime(point, a, b) {
  const span = b.t - a.t;
  const weight = span > 0 ? (point.t - a.t) / span : 0;
  return Math.hypot(a.x + (b.x - a.x) * weight - point.x, a.y + (b.y - a.y) * weight - point.y);
}

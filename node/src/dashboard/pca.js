// The two directions in which a set of vectors differs most, found by power iteration.

const ROUNDS = 60;

/** Numbers between -1 and 1 that are the same every time, so that a picture is. */
function draws(seed) {
  return () => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return seed / 1073741824 - 1;
  };
}

const dot = (a, b) => { let sum = 0; for (let i = 0; i < a.length; i++) sum += a[i] * b[i]; return sum; };

function normalize(v) {
  const length = Math.sqrt(dot(v, v));
  if (length > 0) for (let i = 0; i < v.length; i++) v[i] /= length;
  return length;
}

/** n vectors of d numbers → n pairs, and what share of the variance the pairs keep (0 to 1). */
export function pca(vectors) {
  const n = vectors.length, d = vectors[0]?.length ?? 0;
  const mean = new Float64Array(d);
  for (const v of vectors) for (let i = 0; i < d; i++) mean[i] += v[i] / n;
  const rows = vectors.map((v) => Float64Array.from(v, (x, i) => x - mean[i]));
  const total = rows.reduce((sum, row) => sum + dot(row, row), 0);
  const next = draws(7);
  const found = [];
  let kept = 0;
  for (let k = 0; k < 2; k++) {
    let axis = Float64Array.from({ length: d }, next);
    normalize(axis);
    let spread = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const product = new Float64Array(d);
      for (const row of rows) {
        const along = dot(row, axis);
        for (let i = 0; i < d; i++) product[i] += along * row[i];
      }
      for (const other of found) {
        const along = dot(product, other);
        for (let i = 0; i < d; i++) product[i] -= along * other[i];
      }
      spread = normalize(product);
      if (!spread) break;
      axis = product;
    }
    found.push(axis);
    kept += spread;
  }
  const pairs = rows.map((row) => found.map((axis) => dot(row, axis)));
  return { pairs, kept: total > 0 ? Math.min(kept / total, 1) : 0 };
}

"""Synthetic sets. Each block of rows has a seed of its own, so that a smaller set is the beginning of a larger one."""
from pathlib import Path

import numpy as np

BLOCK = 10_000
QUERY_BLOCK = 2**31


class Mixture:
    """Clusters of unequal size, each a Gaussian that is wide in few directions and thin in the others, as embeddings are.

    The widths within a cluster fall as a power of their rank; a point's distance to its centre is Student-t with
    `freedom` degrees, so that some points lie far out (none: Gaussian).
    """

    def __init__(self, name: str, dim: int, clusters: int, rank: int, fall: float, spread: float, noise: float, freedom: float | None, unit: bool):
        self.name, self.dim, self.freedom, self.unit, self.noise = name, dim, freedom, unit, noise
        rng = np.random.default_rng([128, dim, clusters])
        weights = 1 / np.arange(1, clusters + 1)
        self.weights = weights / weights.sum()
        widths = (np.arange(1, rank + 1) ** -fall).astype(np.float32)[:, None]
        # Centres share directions too: topics are not scattered evenly.
        shared = rng.standard_normal((rank, dim), np.float32) * widths
        self.centres = unit_rows(rng.standard_normal((clusters, rank), np.float32) @ shared)
        self.bases = rng.standard_normal((clusters, rank, dim), np.float32) * widths
        self.bases *= spread / np.sqrt((self.bases**2).sum((1, 2), keepdims=True))
        self.sizes = np.exp(rng.standard_normal(clusters, np.float32) * 0.25)

    def block(self, number: int, count: int) -> np.ndarray:
        rng = np.random.default_rng([self.dim, number])
        of = rng.choice(len(self.weights), count, p=self.weights)
        scale = self.sizes[of]
        if self.freedom:
            scale = scale * np.sqrt(self.freedom / rng.chisquare(self.freedom, count)).astype(np.float32)
        inner = rng.standard_normal((count, self.bases.shape[1]), np.float32)
        rest = rng.standard_normal((count, self.dim), np.float32) * np.float32(self.noise / np.sqrt(self.dim))
        for cluster in np.unique(of):
            rest[of == cluster] += inner[of == cluster] @ self.bases[cluster]
        points = self.centres[of] + rest * scale[:, None]
        return unit_rows(points) if self.unit else points

    def write(self, path: Path, rows: int) -> None:
        part = path.with_name(path.name + ".part")
        out = np.lib.format.open_memmap(part, "w+", np.float32, (rows, self.dim))
        for number, start in enumerate(range(0, rows, BLOCK)):
            # Whole blocks, or the last rows would depend on how many are asked for.
            out[start : start + BLOCK] = self.block(number, BLOCK)[: rows - start]
        out.flush()
        part.rename(path)

    def queries(self, count: int) -> np.ndarray:
        return self.block(QUERY_BLOCK, count)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# A name stands for its parameters: the files made once carry it. Change one, change the other.
MIXTURES = {
    "g128": lambda: Mixture("g128-v1-c1000-r64-f50-s60-n10-t4", 128, 1000, 64, 0.5, 0.6, 0.1, 4.0, False),
    "g1536": lambda: Mixture("g1536-v1-c500-r96-f40-s75-n55", 1536, 500, 96, 0.4, 0.75, 0.55, None, True),
}

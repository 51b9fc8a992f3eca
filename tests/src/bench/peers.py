"""The peers, each behind the same few calls. Every one searches with one thread; builds take the threads they are given."""
import importlib

import numpy as np


class Peer:
    """`module` is imported in the worker only, so that a peer that is missing or can't run here harms nobody else."""

    module = ""

    def load(self) -> None:
        self.lib = importlib.import_module(self.module)

    def build(self, vectors: np.ndarray, payloads, request: dict, clock) -> None:
        raise NotImplementedError

    def prepare(self, queries: np.ndarray, k: int, ef: int, filters, filter_of):
        """What searches all queries when called: only that is measured."""
        raise NotImplementedError

    def ids(self, found) -> list[list[int]]:
        return np.asarray(found).astype(np.int64).tolist()


class Hnswlib(Peer):
    module = "hnswlib"

    def build(self, vectors, payloads, request, clock):
        self.index = self.lib.Index("cosine" if request["distance"] == "Cosine" else "l2", vectors.shape[1])
        with clock:
            self.index.init_index(len(vectors), M=request["m"], ef_construction=request["ef_construct"])
            self.index.add_items(vectors, num_threads=request["threads"])

    def append(self, vectors, first, payloads, clock):
        with clock:
            self.index.resize_index(first + len(vectors))
            self.index.add_items(vectors, np.arange(first, first + len(vectors)))

    def prepare(self, queries, k, ef, filters, filter_of):
        self.index.set_ef(ef)
        return lambda: self.index.knn_query(queries, k, num_threads=1)[0]


class Faiss(Peer):
    module = "faiss"

    def build(self, vectors, payloads, request, clock):
        metric = self.lib.METRIC_INNER_PRODUCT if request["distance"] == "Cosine" else self.lib.METRIC_L2
        self.lib.omp_set_num_threads(request["threads"])
        self.index = self.lib.IndexHNSWSQ(vectors.shape[1], self.lib.ScalarQuantizer.QT_8bit, request["m"], metric)
        self.index.hnsw.efConstruction = request["ef_construct"]
        with clock:
            self.index.train(vectors)
            self.index.add(vectors)

    def append(self, vectors, first, payloads, clock):
        with clock:
            self.index.add(vectors)

    def prepare(self, queries, k, ef, filters, filter_of):
        self.lib.omp_set_num_threads(1)
        self.index.hnsw.efSearch = ef
        return lambda: self.index.search(queries, k)[1]


class Usearch(Peer):
    """bf16 for unit vectors; f32 for others, whose differences bf16 would lose without a second look at the vectors."""

    module = "usearch.index"

    def build(self, vectors, payloads, request, clock):
        unit, self.threads = request["distance"] == "Cosine", request["threads"]
        self.index = self.lib.Index(
            ndim=vectors.shape[1], metric="ip" if unit else "l2sq", dtype="bf16" if unit else "f32", connectivity=request["m"],
            expansion_add=request["ef_construct"],
        )
        self.append(vectors, 0, None, clock)

    def append(self, vectors, first, payloads, clock):
        with clock:
            self.index.add(np.arange(first, first + len(vectors)), vectors, threads=self.threads)

    def prepare(self, queries, k, ef, filters, filter_of):
        self.index.expansion_search = ef
        return lambda: self.index.search(queries, k, threads=1).keys


class Svs(Peer):
    """Vamana over f16, the form of SVS that runs on every processor. Its degree is HNSW's at the lowest level."""

    module = "svs"

    def build(self, vectors, payloads, request, clock):
        unit = request["distance"] == "Cosine"
        parameters = self.lib.VamanaBuildParameters(alpha=0.95 if unit else 1.2, graph_max_degree=2 * request["m"], window_size=request["ef_construct"])
        halves = vectors.astype(np.float16)
        with clock:
            self.index = self.lib.Vamana.build(parameters, halves, self.lib.DistanceType.MIP if unit else self.lib.DistanceType.L2, request["threads"])

    def prepare(self, queries, k, ef, filters, filter_of):
        self.index.num_threads = 1
        self.index.search_window_size = ef
        return lambda: self.index.search(queries, k)[0]


class Rabitq(Peer):
    """SymphonyQG of rabitqlib. On unit vectors L2 and cosine give the same order."""

    module = "rabitqlib"

    def build(self, vectors, payloads, request, clock):
        self.index = self.lib.SymqgIndex(vectors.shape[1], 2 * request["m"], "l2")
        with clock:
            self.index.build(vectors, request["ef_construct"], request["threads"])

    def prepare(self, queries, k, ef, filters, filter_of):
        return lambda: self.index.search_batch(queries, k, ef, 1)[0]


class Edge(Peer):
    """Qdrant without its server. All queries go in one batch, which spares it the interpreter."""

    module = "qdrant_edge"
    BATCH = 1000

    def quantization(self):
        return self.lib.ScalarQuantizationConfig(self.lib.ScalarType.Int8, quantile=0.99, always_ram=True)

    def build(self, vectors, payloads, request, clock):
        q = self.lib
        config = q.EdgeConfig(
            vectors=q.EdgeVectorParams(vectors.shape[1], getattr(q.Distance, request["distance"])), quantization_config=self.quantization(),
            hnsw_config=q.HnswIndexConfig(request["m"], request["ef_construct"], full_scan_threshold=10_000, max_indexing_threads=request["threads"]),
            optimizers=q.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1000, max_segment_size=2**30), max_search_threads=1,
        )
        self.shard = q.EdgeShard.create(request["folder"], config)
        before = request.get("indexes_when") != "after"
        if before:
            self.index_fields(request, clock)
        self.append(vectors, (request.get("rows") or [0])[0], payloads, clock)
        if not before:
            self.index_fields(request, clock)
            with clock:
                self.shard.optimize()
        self.shard.flush()

    def index_fields(self, request, clock):
        with clock:
            for field, kind in request.get("indexes") or []:
                self.shard.update(self.lib.UpdateOperation.create_field_index(field, getattr(self.lib.PayloadSchemaType, kind.capitalize())))

    def append(self, vectors, first, payloads, clock):
        for start in range(0, len(vectors), self.BATCH):
            part = vectors[start : start + self.BATCH].tolist()
            points = [self.lib.Point(first + start + i, v, payloads[start + i] if payloads else {}) for i, v in enumerate(part)]
            update = self.lib.UpdateOperation.upsert_points(points)
            with clock:
                self.shard.update(update)
        with clock:
            self.shard.optimize()

    def open(self, folder):
        self.shard = self.lib.EdgeShard.load(folder)

    def close(self):
        self.shard.close()

    def condition(self, part: dict):
        match = self.lib.MatchValue(part["match"]["value"]) if "match" in part else None
        return self.lib.FieldCondition(part["key"], match=match, range=self.lib.RangeFloat(**part["range"]) if "range" in part else None)

    def prepare(self, queries, k, ef, filters, filter_of):
        q = self.lib
        made = [q.Filter(must=[self.condition(c) for c in f["must"]]) if f else None for f in filters or [None]]
        params = q.SearchParams(hnsw_ef=ef, quantization=q.QuantizationSearchParams(rescore=True, oversampling=2.0) if self.quantization() else None)
        which = filter_of or [0] * len(queries)
        requests = [q.QueryRequest(k, query=q.Query.Nearest(v), filter=made[f], params=params, with_payload=False) for v, f in zip(queries.tolist(), which)]
        batch = q.QueryBatchRequest(requests)
        return lambda: self.shard.query_batch(batch)

    def ids(self, found):
        return [[point.id for point in points] for points in found]


class EdgeTurbo(Edge):
    def quantization(self):
        return self.lib.TurboQuantQuantizationConfig(always_ram=True, bits=self.lib.TurboQuantBitSize.Bits4)


class EdgePlain(Edge):
    def quantization(self):
        return None


UNQUANTIZED = "qdrant-edge-f32"
PEERS = {
    "qdrant-edge-int8": Edge, "qdrant-edge-turbo4": EdgeTurbo, UNQUANTIZED: EdgePlain, "hnswlib": Hnswlib, "faiss-sq8": Faiss, "usearch": Usearch, "svs-f16": Svs, "rabitqlib": Rabitq,
}

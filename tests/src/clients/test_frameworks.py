"""Frameworks that people put in front of a vector database, each through create, index, upsert, filtered search, scroll and delete."""
import os
import subprocess

import numpy as np
import pytest
from harness.dataset import DataSet
from qdrant_client import QdrantClient, models

WORDS = ["apple", "pear", "plum", "car", "train", "ship", "red", "blue"]


@pytest.fixture(scope="module")
def client(shared_node):
    return QdrantClient(url=shared_node.url, timeout=60)


def embed(text: str) -> list[float]:
    """Deterministic: one number for each known word, one for the length."""
    return [1.0 if w in text.lower().split() else 0.05 for w in WORDS] + [len(text) / 100]


TEXTS = ["an apple and a pear", "a plum", "a red car", "a blue train", "a ship", "a red apple"]
KINDS = ["fruit", "fruit", "vehicle", "vehicle", "vehicle", "fruit"]


def test_langchain(client):
    from langchain_core.embeddings import Embeddings
    from langchain_qdrant import QdrantVectorStore

    class Fake(Embeddings):
        def embed_documents(self, texts):
            return [embed(t) for t in texts]

        def embed_query(self, text):
            return embed(text)

    client.create_collection("langchain", vectors_config=models.VectorParams(size=len(WORDS) + 1, distance=models.Distance.COSINE))
    client.create_payload_index("langchain", "metadata.kind", models.PayloadSchemaType.KEYWORD)
    store = QdrantVectorStore(client=client, collection_name="langchain", embedding=Fake())
    ids = store.add_texts(TEXTS, metadatas=[{"kind": k, "n": i} for i, k in enumerate(KINDS)])
    assert len(ids) == len(TEXTS)
    assert store.similarity_search("red car", k=1)[0].page_content == "a red car"
    fruit = models.Filter(must=[models.FieldCondition(key="metadata.kind", match=models.MatchValue(value="fruit"))])
    found = store.similarity_search_with_score("red", k=3, filter=fruit)
    assert found[0][0].page_content == "a red apple" and {d.metadata["kind"] for d, _ in found} == {"fruit"}
    assert {d.page_content for d in store.get_by_ids(ids[:2])} == set(TEXTS[:2])
    assert len(store.max_marginal_relevance_search("apple", k=2, fetch_k=4)) == 2
    store.delete(ids[:2])
    assert len(client.scroll("langchain", limit=100)[0]) == len(TEXTS) - 2
    again = QdrantVectorStore.from_existing_collection(embedding=Fake(), collection_name="langchain", url=client._client.rest_uri)
    assert again.similarity_search("ship", k=1)[0].page_content == "a ship"
    client.delete_collection("langchain")


def test_llama_index(client):
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
    from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters, VectorStoreQuery
    from llama_index.vector_stores.qdrant import QdrantVectorStore

    store = QdrantVectorStore("llama", client=client, payload_indexes=[{"field_name": "kind", "field_schema": models.PayloadSchemaType.KEYWORD}])
    nodes = [TextNode(text=t, metadata={"kind": k, "n": i}, embedding=embed(t), relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc-{i}")})
             for i, (t, k) in enumerate(zip(TEXTS, KINDS))]
    assert len(store.add(nodes)) == len(TEXTS)
    assert store.query(VectorStoreQuery(query_embedding=embed("red car"), similarity_top_k=1)).nodes[0].get_content() == "a red car"
    wanted = MetadataFilters(filters=[MetadataFilter(key="kind", value="fruit"), MetadataFilter(key="n", value=3, operator=FilterOperator.LT)])
    found = store.query(VectorStoreQuery(query_embedding=embed("apple"), similarity_top_k=10, filters=wanted))
    assert {n.get_content() for n in found.nodes} == {TEXTS[0], TEXTS[1]}
    assert len(store.get_nodes(filters=MetadataFilters(filters=[MetadataFilter(key="kind", value="vehicle")]))) == 3
    store.delete("doc-0")
    assert len(store.get_nodes(node_ids=[n.node_id for n in nodes])) == len(TEXTS) - 1
    store.delete_nodes([nodes[1].node_id])
    assert client.count("llama").count == len(TEXTS) - 2
    # A second store on the same collection finds it made already.
    QdrantVectorStore("llama", client=client).add([TextNode(text="a plum again", embedding=embed("plum"))])
    assert client.count("llama").count == len(TEXTS) - 1
    client.delete_collection("llama")


def test_haystack(shared_node):
    from haystack import Document
    from haystack.document_stores.types import DuplicatePolicy
    from haystack_integrations.components.retrievers.qdrant import QdrantEmbeddingRetriever
    from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

    store = QdrantDocumentStore(url=shared_node.url, index="haystack", embedding_dim=len(WORDS) + 1, similarity="cosine", recreate_index=True, wait_result_from_api=True,
                                payload_fields_to_index=[{"field_name": "meta.kind", "field_schema": {"type": "keyword"}}])
    documents = [Document(id=f"d{i}", content=t, embedding=embed(t), meta={"kind": k, "n": i}) for i, (t, k) in enumerate(zip(TEXTS, KINDS))]
    assert store.write_documents(documents) == len(TEXTS)
    assert store.write_documents(documents[:1], policy=DuplicatePolicy.OVERWRITE) == 1
    assert store.count_documents() == len(TEXTS)
    fruit = {"operator": "AND", "conditions": [{"field": "meta.kind", "operator": "==", "value": "fruit"}, {"field": "meta.n", "operator": ">=", "value": 1}]}
    assert {d.content for d in store.filter_documents(fruit)} == {TEXTS[1], TEXTS[5]}
    found = QdrantEmbeddingRetriever(document_store=store, top_k=2).run(query_embedding=embed("red apple"), filters=fruit)["documents"]
    assert found[0].content == "a red apple" and len(found) == 2
    store.delete_documents(["d0", "d1"])
    assert store.count_documents() == len(TEXTS) - 2


def test_real_embeddings_through_langchain(client):
    """Three thousand real vectors; the exact answers are part of the repository."""
    from langchain_core.embeddings import Embeddings
    from langchain_qdrant import QdrantVectorStore

    data = DataSet.committed()
    vectors, queries = (list(v.tolist() for v in part / np.linalg.norm(part, axis=1, keepdims=True)) for part in (data.vectors, data.queries))

    class Looked(Embeddings):
        """Gives the stored vector of a gloss."""

        known = {p["gloss"]: v for p, v in zip(data.payloads, vectors)}

        def embed_documents(self, texts):
            return [self.known.get(t, vectors[0]) for t in texts]  # the store asks with a text of its own once

        def embed_query(self, text):
            return queries[int(text)]

    client.create_collection("real", vectors_config=models.VectorParams(size=384, distance=models.Distance.COSINE))
    client.create_payload_index("real", "metadata.pos", "keyword")
    store = QdrantVectorStore(client=client, collection_name="real", embedding=Looked())
    store.add_texts([p["gloss"] for p in data.payloads], metadatas=data.payloads, ids=[p["id"] for p in data.payloads], batch_size=500)
    noun = models.Filter(must=[models.FieldCondition(key="metadata.pos", match=models.MatchValue(value="n"))])
    for kind, condition in (("none", None), ("pos n", noun)):
        same = [len({d.metadata["id"] for d in store.similarity_search(str(q), k=10, filter=condition)} & set(map(int, data.neighbours[kind][q]))) for q in range(50)]
        assert sum(same) / 500 >= 0.97, kind
    client.delete_collection("real")


def test_javascript(shared_node):
    folder = os.environ["QUIVER_JAVASCRIPT"]
    done = subprocess.run(["node", "client.mjs", shared_node.url], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warn" not in done.stderr.lower(), done.stderr

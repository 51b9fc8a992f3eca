// The JavaScript client through create, index, upsert, filtered search, scroll and delete. usage: node client.mjs URL
import assert from "node:assert/strict";
import { QdrantClient } from "@qdrant/js-client-rest";

const client = new QdrantClient({ url: process.argv[2] });
const name = "javascript";

await client.createCollection(name, { vectors: { size: 4, distance: "Cosine" }, optimizers_config: { indexing_threshold: 20000 } });
assert.equal((await client.collectionExists(name)).exists, true);
assert.ok((await client.getCollections()).collections.some((c) => c.name === name));
await client.createPayloadIndex(name, { field_name: "city", field_schema: "keyword", wait: true });

const cities = ["Berlin", "London", "Moscow", "Rome", "Rome", "Rome"];
const points = cities.map((city, i) => ({ id: i + 1, vector: [1, i, i * i, 0.5], payload: { city, n: i } }));
const big = { id: "98a9a4b1-4ef2-46fb-8315-a97d874fe1d7", vector: [0, 0, 0, 1], payload: { city: "Oslo" } };
const written = await client.upsert(name, { wait: true, points: [...points, big] });
assert.equal(written.status, "completed");
assert.equal((await client.upsert(name, { wait: false, points: [points[0]] })).status, "acknowledged");

const rome = { must: [{ key: "city", match: { value: "Rome" } }, { key: "n", range: { gte: 4 } }] };
const hits = (await client.query(name, { query: [1, 5, 25, 0.5], filter: rome, limit: 10, with_payload: true })).points;
assert.deepEqual(hits.map((h) => h.id), [6, 5]);
assert.ok(hits[0].score > hits[1].score && hits[0].payload.city === "Rome");
const [first, second] = await client.queryBatch(name, { searches: [{ query: 1, limit: 2 }, { query: [1, 0, 0, 0.5], limit: 1 }] });
assert.ok(!first.points.some((p) => p.id === 1), "a query by id leaves that point out");
assert.equal(second.points[0].id, 1);

const page = await client.scroll(name, { limit: 4, with_vector: true });
assert.deepEqual(page.points.map((p) => p.id), [1, 2, 3, 4]);
const rest = await client.scroll(name, { limit: 10, offset: page.next_page_offset });
assert.deepEqual(rest.points.map((p) => p.id), [5, 6, big.id]);
assert.equal(rest.next_page_offset, null);
assert.equal((await client.count(name, { filter: rome, exact: true })).count, 2);

await client.setPayload(name, { payload: { seen: true }, points: [2], wait: true });
assert.deepEqual((await client.retrieve(name, { ids: [2], with_payload: true }))[0].payload, { city: "London", n: 1, seen: true });
await client.deletePayload(name, { keys: ["seen"], points: [2], wait: true });
await client.clearPayload(name, { points: [3], wait: true });
assert.deepEqual((await client.retrieve(name, { ids: [3], with_payload: true }))[0].payload, {});
await client.updateCollectionAliases({ actions: [{ create_alias: { collection_name: name, alias_name: "js" } }] });
assert.equal((await client.count("js")).count, 7);

const snapshot = await client.createSnapshot(name);
assert.deepEqual((await client.listSnapshots(name)).map((s) => s.name), [snapshot.name]);
await client.deleteSnapshot(name, snapshot.name);

await client.delete(name, { wait: true, filter: { must: [{ key: "city", match: { value: "Rome" } }] } });
assert.equal((await client.count(name)).count, 4);
await assert.rejects(() => client.getCollection("nowhere"), (error) => error.status === 404);
assert.equal(await client.deleteCollection(name), true);

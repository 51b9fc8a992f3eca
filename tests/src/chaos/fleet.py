"""A fleet of clients that write and read registers, and the history of what they saw.

Every shard has writers and a reader of its own, so that one that stands still stops nobody else. A register is a point; each write has
a value of its own. Some registers are upserted and get payloads set, others are upserted and at last deleted, once.
"""
import itertools
import threading
import time
import traceback
from collections import Counter, defaultdict
from random import Random

from history import ABSENT, Op
from points import SIZE, Mixed, distance, encode, patch_value, read_point, upsert, upsert_value
from rest import Client, Refused, Targets, Unknown

WRITERS, REGISTERS = 4, 12  # for each shard
WRITES_PER_SECOND = 330  # of the whole fleet, while nothing is wrong
READ_IDS = 4
SEARCHERS, SEARCH_PERIOD = 2, 0.25
# A mortal register lives for about that many writes.
LIFE = 40


class Register:
    def __init__(self, point: int, dice: Random):
        self.point, self.mortal = point, dice.random() < 0.5
        self.again = dice.random() < 0.5  # whether it is written again after it was deleted
        self.picks, self.deleted, self.lock = 0, False, threading.Lock()

    def may_delete(self, dice: Random) -> bool:
        """True for one caller only: a second deletion would write the same value."""
        with self.lock:
            if not self.mortal or self.deleted or dice.random() > 1 / LIFE:
                return False
            self.deleted = True
            return True


class Fleet:
    def __init__(self, collection: str, shards: int, ranges, targets: Targets, strong: bool, seed: int):
        self.path, self.shards, self.ranges, self.targets, self.strong, self.seed = f"/collections/{collection}/points", shards, ranges, targets, strong, seed
        self.numbers = itertools.count(1)
        self.points = [filter(lambda p, s=s: ranges.shard(p) == s, itertools.count(1)) for s in range(shards)]
        self.registers = [[] for _ in range(shards)]
        # By point: writes and strong reads, then ordinary reads.
        self.history, self.ordinary = defaultdict(list), defaultdict(list)
        self.acks = [[] for _ in range(shards)]  # (began, ended) of acknowledged writes
        self.errors = [[] for _ in range(shards)]  # (began, what was said) of the others
        self.wrong, self.counts, self.said = [], Counter(), Counter()
        self.lock, self.over, self.threads, self.clients = threading.Lock(), threading.Event(), [], {}

    def start(self) -> None:
        number = itertools.count()
        for shard in range(self.shards):
            for _ in range(WRITERS):
                self.begin(self.write, shard, next(number), self.shards * WRITERS / WRITES_PER_SECOND)
            self.begin(self.read, shard, next(number), 0.1)
        self.begin(self.scroll, 0, next(number), 0.25)
        for _ in range(SEARCHERS):
            self.begin(self.search, 0, next(number), SEARCH_PERIOD)

    def begin(self, what, shard: int, number: int, period: float) -> None:
        """A thread that does one thing again and again, at most once in a period."""
        client, dice = Client(self.targets, number), Random(self.seed * 1000 + number)

        def run():
            due = time.monotonic()
            try:
                while not self.over.wait(max(0.0, due - time.monotonic())):
                    due = max(due + period, time.monotonic() - period)
                    what(client, shard, dice)
            except Exception:
                self.wrong.append(traceback.format_exc())

        name = f"{what.__name__}-{shard}-{number}"
        self.clients[name] = client
        thread = threading.Thread(target=run, name=name, daemon=True)
        self.threads.append(thread)
        thread.start()

    def stop(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(30)
        assert not any(t.is_alive() for t in self.threads), "a client hangs"

    # Writers

    def write(self, client: Client, shard: int, dice: Random) -> None:
        pool = self.registers[shard]
        if len(pool) < REGISTERS:
            return self.birth(client, shard, dice)
        register = dice.choice(pool)
        register.picks += 1
        if register.deleted and register.picks > 2 * LIFE:
            with self.lock:
                if register in pool:
                    pool.remove(register)
            return None
        if register.may_delete(dice):
            return self.write_one(client, shard, register, ABSENT, "POST", "/delete", {"points": [register.point]})
        if register.deleted and not register.again:
            return self.read_registers(client, [register], self.strong)
        if not register.mortal and dice.random() < 0.3:
            value = patch_value(next(self.numbers))
            return self.write_one(client, shard, register, value, "POST", "/payload", {"payload": {"value": value}, "points": [register.point]})
        value = upsert_value(next(self.numbers))
        return self.write_one(client, shard, register, value, "PUT", "", upsert(register.point, value))

    def birth(self, client: Client, shard: int, dice: Random) -> None:
        """A new register; nobody else knows it before its first write was acknowledged, so that reading nothing can only mean that it was deleted."""
        with self.lock:
            register = Register(next(self.points[shard]), dice)
        while not self.over.wait(0.02):
            value = upsert_value(next(self.numbers))
            if self.write_one(client, shard, register, value, "PUT", "", upsert(register.point, value)):
                with self.lock:
                    self.registers[shard].append(register)
                return

    def write_one(self, client: Client, shard: int, register: Register, value: int, method: str, path: str, body: dict) -> bool:
        """Whether it was acknowledged. A write that was refused leaves nothing in the history: its value may never be seen."""
        began = time.monotonic_ns()
        try:
            client.call(method, f"{self.path}{path}?wait=true&timeout=2", body)
        except (Refused, Unknown) as error:
            refused = isinstance(error, Refused)
            if not refused:
                self.history[register.point].append(Op(value, True, began, None))
            self.errors[shard].append((began, str(error)))
            self.counts["writes refused" if refused else "writes with unknown outcome"] += 1
            return False
        ended = time.monotonic_ns()
        self.history[register.point].append(Op(value, True, began, ended))
        self.acks[shard].append((began, ended))
        self.counts["writes acknowledged"] += 1
        return True

    # Readers

    def read(self, client: Client, shard: int, dice: Random) -> None:
        pool = self.registers[shard]
        if pool:
            self.read_registers(client, dice.sample(pool, min(READ_IDS, len(pool))), self.strong and dice.random() < 0.5)

    def read_registers(self, client: Client, registers: list[Register], strong: bool) -> None:
        points = [r.point for r in registers]
        began = time.monotonic_ns()
        try:
            found = client.call("POST", f"{self.path}?timeout=2{'&consistency=majority' if strong else ''}", {"ids": points, "with_payload": True, "with_vector": True})["result"]
        except (Refused, Unknown) as error:
            self.said[f"read: {str(error)[:120]}"] += 1
            self.counts["reads failed"] += 1
            return
        self.note(client, points, found, began, strong)

    def note(self, client: Client, points: list[int], found: list[dict], began: int, strong: bool) -> None:
        """Puts what the client has found, and of `points` what it has not, into the history. What is said to be old may be as old as it likes, if
        nothing strong was asked for."""
        ended = time.monotonic_ns()
        if client.stale:
            self.counts["answers that said they may be old"] += 1
            if strong:
                self.wrong.append(f"a strong read of {points} says that it may be old")
            return
        values = dict.fromkeys(points, ABSENT)
        for point in found:
            try:
                values[point["id"]] = read_point(point)
            except Mixed as error:
                self.wrong.append(f"mixed: {error}")
        for point, value in values.items():
            (self.history if strong else self.ordinary)[point].append(Op(value, False, began, ended))
        self.counts["strong reads" if strong else "ordinary reads"] += len(values)

    def scroll(self, client: Client, _shard: int, dice: Random) -> None:
        """Every hit has to be what its register held; what is missing says nothing, as pages are made at different moments."""
        self.look(client, "/scroll", {"limit": 20, "offset": dice.randint(1, 2000), "with_payload": True, "with_vector": True}, lambda result: result["points"])

    def search(self, client: Client, _shard: int, dice: Random) -> None:
        query = encode(upsert_value(dice.randint(1, 5000)))

        def hits(result):
            for point in result["points"]:
                expected = distance(query, point["vector"]) if len(point["vector"]) == SIZE else -1
                if abs(expected - point["score"]) > 1e-3 * max(1.0, expected):
                    self.wrong.append(f"a search scored {point} for {query}, its distance is {expected}")
            return result["points"]

        self.look(client, "/query", {"query": query, "limit": 10, "with_payload": True, "with_vector": True}, hits)

    def look(self, client: Client, path: str, body: dict, hits) -> None:
        began = time.monotonic_ns()
        try:
            found = hits(client.call("POST", f"{self.path}{path}?timeout=2", body)["result"])
        except (Refused, Unknown) as error:
            self.said[f"{path}: {str(error)[:120]}"] += 1
            self.counts["looks failed"] += 1
            return
        self.note(client, [], found, began, strong=False)
        self.counts["hits of scroll and search"] += len(found)

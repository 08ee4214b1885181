"""What the three Python programs share: the outcome of a check, the records, and waiting."""

import sys
import threading
import time
import traceback

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
BATCH = 100
PARTITIONS = 3
# Records older than the topics' retention would be deleted.
BASE_TIMESTAMP = int(time.time() * 1000) - 3_600_000


class Checks:
    """Runs named checks, says what came of each, and keeps going."""

    def __init__(self):
        self.failed = 0

    def run(self, name, check):
        began = time.monotonic()
        try:
            check()
            print(f"PASS {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as error:
            self.failed += 1
            print(f"FAIL {name}: {type(error).__name__}: {error}".replace("\n", " "), flush=True)
            traceback.print_exc(file=sys.stderr)

    def skip(self, name, why):
        print(f"SKIP {name}: {why}", flush=True)

    def end(self):
        sys.exit(1 if self.failed else 0)


def expect(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(part) for part in what))


def equal(found, wanted, what):
    expect(found == wanted, f"{what}: {found!r}, not {wanted!r}")


def wait_for(what, seconds, condition):
    """Returns once the condition holds, and fails where it does not within that time."""
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.05)


def eventually(check):
    """The check, again for some seconds where it fails: what a controller decided, a broker learns later."""
    end = time.monotonic() + 10
    while True:
        try:
            return check()
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def key(i):
    return f"key-{i % 17}".encode()


def value(i):
    return f"value-{i}".encode() + b"." * 100


def headers(i):
    return [("index", str(i).encode()), ("empty", b"")]


def timestamp(i):
    return BASE_TIMESTAMP + i


def partition(i):
    return i % PARTITIONS


def check_records(found, count):
    """`found`: (partition, offset, key, value, headers, timestamp) of each record in the order of its partition."""
    by_partition = {p: [i for i in range(count) if partition(i) == p] for p in range(PARTITIONS)}
    for p, wanted in by_partition.items():
        rows = [row for row in found if row[0] == p]
        equal(len(rows), len(wanted), f"records of partition {p}")
        for place, (row, i) in enumerate(zip(rows, wanted)):
            equal(row[1:], (place, key(i), value(i), headers(i), timestamp(i)), f"record {i}")


class Member:
    """One member of a group on a thread of its own: `library.open()` makes its consumer, `poll(consumer)` returns the
    (partition, value) of what came, `assigned(consumer)` its partitions, `close(consumer)` commits and leaves."""

    def __init__(self, library):
        self.library = library
        self.seen = []
        self.partitions = set()
        self.stopping = threading.Event()
        self.error = None
        self.thread = threading.Thread(target=self.body, daemon=True)
        self.thread.start()

    def body(self):
        try:
            consumer = self.library.open()
            while not self.stopping.is_set():
                for _, value_bytes in self.library.poll(consumer):
                    self.seen.append(int(value_bytes.split(b".")[0].split(b"-")[1]))
                self.partitions = set(self.library.assigned(consumer))
            self.library.close(consumer)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self.error = error

    def stop(self):
        self.stopping.set()
        self.thread.join(20)
        expect(not self.thread.is_alive(), "a member did not end within 20 s")
        if self.error:
            raise self.error


ALL = set(range(PARTITIONS))


def group_checks(checks, prefix, library):
    """The checks of a group. `library` opens members, produces (`produce(first, count)`) and has the admin calls:
    `committed()`, `groups()`, `describe() -> (state, member count)`; and `delete()` with `not_empty(error)`, if it can."""
    members = []

    def seen():
        return {i for member in members for i in member.seen}

    def wait_seen(count):
        wait_for(lambda: f"{count} records seen: {len(seen())} were", 30, lambda: any(m.error for m in members) or len(seen()) >= count)
        for member in members:
            if member.error:
                raise member.error
        equal(seen(), set(range(count)), "records seen")

    def join():
        library.produce(0, 150)
        members.append(Member(library))
        wait_for("all partitions to the only member", 30, lambda: members[0].error or members[0].partitions == ALL)
        wait_seen(150)

    def rebalance():
        members.append(Member(library))
        a, b = members
        wait_for(lambda: f"both have partitions: {a.partitions} {b.partitions}", 40,
                 lambda: a.partitions and b.partitions and not a.partitions & b.partitions and a.partitions | b.partitions == ALL)
        library.produce(150, 150)
        wait_seen(300)

    def listed():
        expect(library.group in library.groups(), "the group is not in the list")

    def described():
        equal(library.describe(), ("stable", 2), "state and members")

    def leave():
        members[1].stop()
        wait_for(lambda: f"all partitions to the one that is left: {members[0].partitions}", 40, lambda: members[0].partitions == ALL)
        library.produce(300, 150)
        wait_seen(450)

    def commit():
        members[0].stop()
        equal(library.committed(), {p: 150 for p in ALL}, "committed offsets")

    def resume():
        library.produce(450, 50)
        member = Member(library)
        try:
            wait_for(lambda: f"50 records: {len(member.seen)} came", 30, lambda: member.error or len(member.seen) >= 50)
            equal(sorted(member.seen), list(range(450, 500)), "records after the commit")
            if not hasattr(library, "delete"):
                return
            try:
                library.delete()
                refused = False
            except Exception as error:
                refused = library.not_empty(error)
                expect(refused, "deleting a group with a member:", error)
            expect(refused, "a group with a member was deleted")
        finally:
            member.stop()

    def delete():
        library.delete()
        expect(library.group not in library.groups(), "the group is still in the list")

    checks.run(f"{prefix}group-join", join)
    checks.run(f"{prefix}group-rebalance", rebalance)
    checks.run(f"{prefix}list-groups", listed)
    checks.run(f"{prefix}describe-group", described)
    checks.run(f"{prefix}group-leave", leave)
    checks.run(f"{prefix}commit", commit)
    checks.run(f"{prefix}resume", resume)
    if hasattr(library, "delete"):
        checks.run(f"{prefix}delete-group", delete)
    else:
        checks.skip(f"{prefix}delete-group", "the library has no such call")

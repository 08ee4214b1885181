#!/usr/bin/env python3
"""Measures a stock Apache Kafka and corelog in turn with one generator, and prints the table of the README.

    benches/compare/compare.py [--rounds N] [--seconds S] [--heap 1g] [--corelog PATH] [--bench PATH] [--data-dir DIR] [--out DIR]

Each round starts Apache Kafka (KRaft, one node, its defaults but for its directory and ports) on a fresh directory, drives it with
`corelog-bench peer`, ends it, and then does the same with corelog; so that a slow minute of the machine meets both. Every figure is the
median over rounds, every ratio the median of the rounds' ratios, with its range; a latency is of three samples a round, of which
the middle one counts, since a p99.9 of a second or two is the one stall that falls into it. Both are measured at the same durability: topics
with flush.messages=1 (corelog's default), and topics that are never flushed for an append (Kafka's default).

Needs a JDK of 17 or later and Maven, which gets Kafka from the registry that it is set up for. Writes compare.json and compare.md.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PATIENCE_S = 60
# Of a round and broker; each at half of the maximum that was found right before it.
LATENCY_SAMPLES = 3
LATENCY = ", at half of its maximum: "


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port):
    """Whether a broker answers ApiVersions v0 there."""
    request = struct.pack(">hhih", 18, 0, 1, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(4)) == 4
    except OSError:
        return False


class Broker:
    """A running broker: started by its command, ready once it answers."""

    def __init__(self, name, command, port, log):
        self.name, self.port = name, port
        began = time.monotonic()
        self.log = open(log, "w")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        while not answers(port):
            if self.process.poll() is not None or time.monotonic() - began > PATIENCE_S:
                self.process.kill()
                sys.exit(f"compare.py: {name} did not start; its log is {log}")
            time.sleep(0.005)
        self.start_ms = (time.monotonic() - began) * 1000

    def memory_mib(self):
        """The most memory that it had, and what it has now."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines())
        return [int(status[field].split()[0]) / 1024 for field in ("VmHWM", "VmRSS")]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            print(f"{self.name} did not end within {PATIENCE_S} s of SIGTERM", file=sys.stderr)
        self.log.close()


def kafka_classpath(work):
    path = work / "classpath"
    subprocess.run(
        ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:build-classpath", f"-Dmdep.outputFile={path}"],
        check=True,
    )
    return path.read_text().strip()


def start_kafka(classpath, heap, work, log):
    port, controller = free_port(), free_port()
    settings = work / "server.properties"
    settings.write_text(
        "process.roles=broker,controller\nnode.id=1\n"
        f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n"
        f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n"
        "controller.listener.names=CONTROLLER\n"
        f"controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n"
        "offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n"
        f"log.dirs={work / 'data'}\n"
    )
    java = ["java", f"-Xms{heap}", f"-Xmx{heap}", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-cp", classpath]
    subprocess.run(
        java + ["kafka.tools.StorageTool", "format", "--standalone", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", str(settings)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return Broker("Apache Kafka", java + ["kafka.Kafka", str(settings)], port, log)


def start_corelog(binary, work, log):
    port = free_port()
    return Broker("corelog", [str(binary), "--data-dir", str(work / "data"), "--listen", f"127.0.0.1:{port}"], port, log)


def drive(bench, broker, seconds, work, quick=False):
    """One run of the generator; its rows."""
    out = work / ("warm" if quick else "run")
    command = [str(bench), "peer", "--bootstrap", f"127.0.0.1:{broker.port}", "--pid", str(broker.process.pid), "--name", broker.name,
               "--record-bytes", "1024", "--load-percent", "50", "--seconds", str(seconds), "--rounds", "1",
               "--data-dir", str(work / "scratch"), "--results-dir", str(out)]
    subprocess.run(command + (["--quick"] if quick else []), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    summary = json.loads(next(out.glob("*/summary.json")).read_text())
    shutil.rmtree(out)
    return summary


def figures(summary, broker):
    """What the table shows, by name."""
    found = {"start, ms": broker.start_ms}
    found["memory, most, MiB"], found["memory at the end, MiB"] = broker.memory_mib()
    for row in summary["parts"][0]["rows"]:
        kind = "produce" if row["case"].startswith("produce") else "fetch"
        name = kind if kind == "fetch" else f"{kind}, {'durable' if row['durable'] == 'yes' else 'not durable'}"
        batches = re.search(r"\d+ KiB batches", row["case"])
        if kind == "produce" and batches:
            name += f", {batches.group()}"
        if "open loop" in row["case"]:
            for quantile, key in (("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us")):
                found[f"{name}{LATENCY}{quantile}, ms"] = row["latency"][key] / 1000
        else:
            found[f"{name}: MB/s"] = row["mb_per_s"]["median"]
            found[f"{name}: broker's CPU, µs/MB"] = row["cpu_us_per_mb"]["median"]
    return found


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values)}


def word(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(result):
    lines = ["| | Apache Kafka | corelog | corelog / Kafka [range] |", "|---|---|---|---|"]
    for name, row in result["figures"].items():
        ratio = row["ratio"]
        lines.append(f"| {name} | {word(row['Apache Kafka']['median'])} | {word(row['corelog']['median'])} "
                     f"| {ratio['median']:.3g} [{ratio['min']:.3g} .. {ratio['max']:.3g}] |")
    return "\n".join(lines)


def utc_now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one sample")
    parser.add_argument("--heap", default="1g", help="Kafka's heap, its own default")
    parser.add_argument("--corelog", type=Path, default=ROOT / "target/release/corelog")
    parser.add_argument("--bench", type=Path, default=ROOT / "target/release/corelog-bench")
    parser.add_argument("--data-dir", type=Path, default=Path(".compare-data"), help="on the disk to be measured")
    parser.add_argument("--out", type=Path, default=Path("compare"))
    arguments = parser.parse_args()
    for tool in ("java", "mvn"):
        if not shutil.which(tool):
            sys.exit(f"compare.py: {tool} is missing; install a JDK of 17 or later and Maven")
    for binary in (arguments.corelog, arguments.bench):
        if not binary.exists():
            sys.exit(f"compare.py: {binary} is not there: cargo build --release --bins")
    started = utc_now()
    data = arguments.data_dir.resolve()
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    classpath = kafka_classpath(data)
    taken, latencies, summary = {"Apache Kafka": [], "corelog": []}, {"Apache Kafka": [], "corelog": []}, None
    for number in range(arguments.rounds):
        for name in taken:
            work = data / "broker"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            log = data / f"{name.replace(' ', '-')}.log"
            broker = start_kafka(classpath, arguments.heap, work, log) if name != "corelog" else start_corelog(
                arguments.corelog.resolve(), work, log)
            try:
                # What a fresh process still has to do: compile itself, grow its files.
                for _ in range(2):
                    drive(arguments.bench.resolve(), broker, arguments.seconds, work, quick=True)
                summary = drive(arguments.bench.resolve(), broker, arguments.seconds, work)
                found = figures(summary, broker)
                again = [figures(drive(arguments.bench.resolve(), broker, arguments.seconds, work, quick=True), broker)
                         for _ in range(LATENCY_SAMPLES - 1)]
                samples = {key: [one[key] for one in [found, *again]] for key in found if LATENCY in key}
                latencies[name].append(samples)
                taken[name].append(found | {key: statistics.median(three) for key, three in samples.items()})
            finally:
                broker.stop()
            print(f"round {number + 1}: {name}: " + ", ".join(f"{key} {word(value)}" for key, value in taken[name][-1].items()), flush=True)
    names = [name for name in taken["corelog"][0] if all(name in round_ for rounds in taken.values() for round_ in rounds)]
    result = {
        "started": started,
        "ended": utc_now(),
        "command": "compare.py " + " ".join(sys.argv[1:]),
        "commit": summary["commit"],
        "kafka": next(line.split(">")[1].split("<")[0] for line in (HERE / "pom.xml").read_text().splitlines() if "<kafka.version>" in line),
        "java": subprocess.run(["java", "-version"], capture_output=True, text=True).stderr.splitlines()[0],
        "heap": arguments.heap,
        "machine": summary["machine"],
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "figures": {
            name: {
                "Apache Kafka": spread([round_[name] for round_ in taken["Apache Kafka"]]),
                "corelog": spread([round_[name] for round_ in taken["corelog"]]),
                "ratio": spread([ours[name] / theirs[name] for ours, theirs in zip(taken["corelog"], taken["Apache Kafka"])]),
            }
            for name in names
        },
        "latency samples, ms, by round": latencies,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "compare.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    (arguments.out / "compare.md").write_text(table(result) + "\n")
    print(table(result))
    shutil.rmtree(data)


if __name__ == "__main__":
    main()

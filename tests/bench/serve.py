"""How fast `clip serve` is beside `clip bench`, and what a library of 100,000 images takes to search.

    python -m tests.bench.serve [--work DIR] [--seconds 20] [--rounds 3] [--load 120]

Clients and server share the cores, as they would on one machine, and take turns with the benchmark: what counts is the
ratio of a round. `--load` keeps 16 clients at it for so many seconds, one upload of a hundred broken, some clients gone
before their answer, some that hang, and prints the memory at its quarters.
"""

import argparse
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.material import write_checkpoint, write_images
from tests.bench.search import write_library
from tests.helpers.served import Served, form, served

CLIENTS = 16
LABELS = [("labels", "cat,dog,bird,car,tree,house,boat,person,food,flower")]


def ask(connection: http.client.HTTPConnection, data: bytes) -> int:
    body, kind = form({"image.jpg": data}, LABELS)
    connection.request("POST", "/api/classify", body, {"Content-Type": kind})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def throughput(server: Served, images: list[bytes], seconds: float) -> float:
    """Images a second of clients that each wait for an answer before they ask again."""
    end, done = time.perf_counter() + seconds, Counter[int]()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        draw = random.Random(number)
        while time.perf_counter() < end:
            done[ask(connection, draw.choice(images))] += 1

    begin = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    assert set(done) == {200}, done
    return done[200] / (time.perf_counter() - begin)


def bench(model: Path, folder: Path) -> float:
    """What `clip bench` says of the same images."""
    command = [sys.executable, "-m", "clipcli", "bench", str(folder), "--count", "300", "-m", str(model), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["images_per_s"])


def searches(server: Served, count: int = 60) -> list[float]:
    body = json.dumps({"text": "a dog on a beach"}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        connection.request("POST", "/api/search", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        found.append(1000 * (time.perf_counter() - begin))
    return found[5:]


def load(server: Served, images: list[bytes], seconds: float) -> None:
    """Keep clients at it, good ones and bad ones, and say what the good ones got."""
    end, statuses, lock = time.monotonic() + seconds, Counter[object](), threading.Lock()

    def client(number: int) -> None:
        draw = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while time.monotonic() < end:
            kind = draw.random()
            if kind < 0.02:
                misbehave(server, draw, draw.choice(images))
                continue
            data = draw.choice(images)
            status = ask(connection, data[: len(data) // 3] if kind < 0.03 else data)
            with lock:
                statuses["broken" if kind < 0.03 else "whole", status] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for quarter in range(5):
        print(f"  after {quarter * seconds / 4:4.0f} s: {resident_mb(server):7.0f} MB", flush=True)
        time.sleep(seconds / 4 if quarter < 4 else 0)
    for thread in threads:
        thread.join()
    errors = sum("Traceback" in line for line in server.said)
    print(f"  answers: {dict(statuses)}, tracebacks: {errors}, memory {resident_mb(server):.0f} MB")


def misbehave(server: Served, draw: random.Random, data: bytes) -> None:
    """Send a part of a request, or all of it, and vanish, or hang a while first."""
    body, kind = form({"image.jpg": data}, LABELS)
    head = (
        f"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall((head.encode() + body)[: draw.choice((len(head), len(head) + 1000, None))])
        time.sleep(draw.choice((0, 0.05, 2)))


def resident_mb(server: Served) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/bench"))
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--load", type=float, default=0)
    options = parser.parse_args()
    model = write_checkpoint(options.work / "clip-b32", "b32")
    folder = write_images(options.work / "web", "web", 300, None)
    images = [path.read_bytes() for path in sorted(folder.iterdir())]
    environment = {"CLIPCLI_CACHE_DIR": str((options.work / "cache").resolve())}
    os.environ.update(environment)
    with served("--model", model, "--no-cache", environment=environment) as server:
        throughput(server, images, 3)
        for _ in range(options.rounds):
            before, ours, after = (
                bench(model, folder),
                throughput(server, images, options.seconds),
                bench(model, folder),
            )
            mean = statistics.mean((before, after))
            print(f"{CLIENTS} clients {ours:6.1f}/s, clip bench {mean:6.1f}/s, ratio {ours / mean:.2f}", flush=True)
        if options.load:
            load(server, images, options.load)
    if options.rows:
        _, library = write_library(options.work, options.rows)
        with served("--library", library, "--no-update", environment=environment) as server:
            times = searches(server)
            print(
                f"search of {options.rows:,} rows: median {statistics.median(times):.1f} ms, least {min(times):.1f} ms"
            )


if __name__ == "__main__":
    main()

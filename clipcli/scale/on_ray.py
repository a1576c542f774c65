"""The engine for several machines: one long-lived worker in each slot of a Ray cluster.

A slot is a GPU with its share of the machine's cores, or up to sixteen cores where there is no GPU. Workers get the
names of shards and answer with counts; images and features never pass through Ray. No durable state depends on Ray: the
driver can be killed and started again, and machines can join and leave. Ray runs whatever is sent to it, so clusters
belong in private networks.
"""

import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from clipcli.errors import ClipError, UsageError
from clipcli.scale.inputs.shard import Shard
from clipcli.scale.run import Begun, Watcher
from clipcli.scale.worker import Job, Report, Worker

LOCAL = "local"
_LEAST_VERSION = (2, 60)  # older ones unpickle data from unauthenticated clients
_MOST_CPUS = 16
# The second waits while the first is processed.
_SHARDS_AHEAD = 2
# One thread of each worker listens while the other works.
_CONTROL = "control"
_LOOK_AGAIN_S, _DRAIN_S, _REACH_S = 5.0, 25.0, 10.0


@dataclass(frozen=True, slots=True)
class Slot:
    """Room for one worker."""

    node: str
    number: int
    cpus: int
    gpus: int


class _Worker:
    """A worker in a process of the cluster."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._worker: Worker | None = None
        self._is_stopping = threading.Event()

    def run(self, shard: Shard) -> Report | ClipError | None:
        """Try a shard; returns an error that must end the run unchanged, or None if the worker was asked to stop."""
        try:
            self._stop_if_asked()
            if self._worker is None:
                self._worker = Worker(self._job)
            return self._worker.run(shard, self._stop_if_asked)
        except KeyboardInterrupt:
            return None
        except ClipError as error:
            return error

    def stop(self) -> None:
        """Stop the current shard; its attempt does not count."""
        self._is_stopping.set()

    def _stop_if_asked(self, rows: int = 0) -> None:
        if self._is_stopping.is_set():
            raise KeyboardInterrupt


class OnRay:
    """Runs workers on a Ray cluster.

    Args:
        address: `local` for a cluster of this machine alone, `auto` for the one that runs here, or `HOST:PORT`.

    Raises:
        UsageError: Ray is not installed, or is too old.
        ClipError: No cluster runs at the address.
    """

    def __init__(self, address: str) -> None:
        self._ray = _import_ray()
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            with _own_signals():
                _connect(self._ray, address)

    def __call__(self, begun: Begun, watcher: Watcher) -> Iterable[Report]:
        """Hand out shards until each is done or given up; one that was lost or failed goes to the end."""
        fleet = _Fleet(self._ray, begun.job)
        try:
            yield from self._hand_out(fleet, deque(begun.todo), watcher)
        except BaseException:
            fleet.drain()
            raise
        finally:
            fleet.end()
            if self._is_ours:
                self._ray.shutdown()

    def _hand_out(self, fleet: "_Fleet", queue: deque[Shard], watcher: Watcher) -> Iterator[Report]:
        while queue or fleet.is_busy:
            fleet.fill(queue)
            for shard, answer in fleet.answers():
                if isinstance(answer, ClipError):
                    raise answer
                if answer is None:  # the worker is gone
                    queue.append(shard)
                    continue
                watcher.rows(answer.counts.rows)
                watcher.shard(answer)
                if answer.state == "again":
                    queue.append(shard)
                yield answer


class _Fleet:
    """The workers in the slots of a cluster, as machines come and go."""

    def __init__(self, ray: Any, job: Job) -> None:
        self._ray, self._job = ray, job
        self._workers: dict[Slot, Any] = {}
        self._running: dict[Any, tuple[Slot, Shard]] = {}
        self._looked = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether a shard is with a worker."""
        return bool(self._running)

    def fill(self, queue: deque[Shard]) -> None:
        """Start workers in free slots, and give each as many shards as it may have ahead."""
        self._look_for_slots(len(queue))
        busy = [slot for slot, _ in self._running.values()]
        for ahead in range(_SHARDS_AHEAD):  # each worker gets one before any gets two
            for slot, worker in self._workers.items():
                if queue and busy.count(slot) == ahead:
                    shard = queue.popleft()
                    self._running[worker.run.remote(shard)] = (slot, shard)
                    busy.append(slot)

    def answers(self) -> Iterator[tuple[Shard, Report | ClipError | None]]:
        """Wait for answers; None where a worker was lost."""
        if not self._running:
            time.sleep(0.1)
            return
        ready, _ = self._ray.wait(list(self._running), timeout=_LOOK_AGAIN_S)
        for reference in ready:
            slot, shard = self._running.pop(reference)
            try:
                yield shard, self._ray.get(reference)
            except self._ray.exceptions.RayActorError:
                self._forget(slot)
                yield shard, None

    def drain(self) -> None:
        """Ask workers to stop, so that their current attempts do not count."""
        stopping = [worker.stop.options(concurrency_group=_CONTROL).remote() for worker in self._workers.values()]
        self._ray.wait(stopping, num_returns=max(len(stopping), 1), timeout=_DRAIN_S) if stopping else None
        running = list(self._running)
        self._ray.wait(running, num_returns=len(running), timeout=_DRAIN_S) if running else None

    def end(self) -> None:
        """End all workers."""
        for slot in list(self._workers):
            self._forget(slot)

    def _look_for_slots(self, wanted: int) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_AGAIN_S and self._workers:
            return
        self._looked = now
        slots = slots_of(self._ray.nodes())
        if not slots and not self._workers:
            raise ClipError("the Ray cluster has no free core", hint="add nodes with CPUs or GPUs")
        for slot in slots:
            if slot not in self._workers and len(self._workers) < wanted + len(self._running):
                self._workers[slot] = self._start(slot)

    def _start(self, slot: Slot) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options = self._job.spec.options
        spec = replace(self._job.spec, options=replace(options, workers=options.workers or slot.cpus))
        # Ray restarts neither: it would be a second ledger of attempts that is not durable.
        actor = self._ray.remote(concurrency_groups={_CONTROL: 1})(_Worker).options(
            num_cpus=slot.cpus,
            num_gpus=slot.gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(slot.node, soft=False),
        )
        return actor.remote(replace(self._job, spec=spec))

    def _forget(self, slot: Slot) -> None:
        worker = self._workers.pop(slot, None)
        if worker is not None:
            self._ray.kill(worker)


def slots_of(nodes: Iterable[dict[str, Any]]) -> list[Slot]:
    """The slots of a cluster's living machines: one for each GPU, or for up to sixteen cores without any."""
    slots = []
    for node in nodes:
        resources = node.get("Resources", {})
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        if not node.get("Alive") or cpus < 1:
            continue
        count = min(gpus, cpus) or -(-cpus // _MOST_CPUS)
        share = min(cpus // count, _MOST_CPUS)
        slots += [Slot(node["NodeID"], number, share, int(gpus > 0)) for number in range(count)]
    return slots


def _import_ray() -> Any:
    # Read when ray is imported: nothing is sent to anyone unless the user asks for it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError("`ray` needs Ray", hint="pip install 'clipcli[scale]'", parameter="ray") from error
    version = tuple(int(part) for part in ray.__version__.split(".")[:2])
    if version < _LEAST_VERSION:
        raise UsageError(
            f"version {ray.__version__} of Ray is too old: it runs code that anyone sends to it",
            hint="pip install 'ray>=2.60'",
            parameter="ray",
        )
    return ray


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the program's signal handlers: Ray would treat a request to stop as a crash."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _connect(ray: Any, address: str) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == LOCAL:
        options["include_dashboard"] = False
    try:
        if address not in (LOCAL, "auto"):
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()  # Ray waits for minutes
        ray.init(address=address, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ClipError(
            f"no Ray cluster at {address}: {str(error).partition(chr(10))[0]}",
            hint='start Ray on the head machine, or use `ray="local"`',
            parameter="ray",
            value=address,
        ) from error

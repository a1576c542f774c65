"""Runs on a Ray cluster whose machines come and go."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Clip, Program
from tests.helpers.shards import write_tars

pytestmark = pytest.mark.slow


def files_of(output: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(output, "data").iterdir()}


def wait_for(markers: int, process: Any) -> None:
    while process.poll() is None and len(list(Path().glob("ray/.clip/done/*"))) < markers:
        time.sleep(0.05)


def test_machines_and_drivers_come_and_go(
    clip: Clip, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    write_tars(tmp_path, 16, 40)
    run = ("embed", "{00..15}.tar", "--tries", "9", "--no-progress")
    assert clip(*run, "-o", "whole/").status == 0
    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "num_cpus": 0})
    try:
        nodes = [cluster.add_node(**small) for _ in range(2)]
        arguments = (*run, "-o", "ray/", "--ray", cluster.address)
        first = program(*arguments)
        wait_for(2, first)
        cluster.remove_node(nodes[0], allow_graceful=False)
        cluster.add_node(**small)
        wait_for(5, first)
        first.send_signal(signal.SIGTERM)
        first.communicate()
        assert first.returncode == 130
        second = program(*arguments)
        wait_for(8, second)
        second.kill()
        second.communicate()
        last = program(*arguments)
        said = last.communicate()[1]
        assert last.returncode == 0, said
    finally:
        cluster.shutdown()
    assert files_of("ray") == files_of("whole")
    assert Path("ray/_SUCCESS").exists()


def test_a_cluster_that_is_not_there(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tars(tmp_path, 1, 1)
    for address in ("127.0.0.1:1", "nowhere", "ray://127.0.0.1:1"):
        done = clip("embed", "00.tar", "-o", "out/", "--ray", address)
        assert done.status == 1 and address in done.stderr

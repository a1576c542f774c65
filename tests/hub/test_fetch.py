import errno
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants, scan_cache_dir, try_to_load_from_cache

from clipcli import hub as hub_room
from clipcli.errors import (
    ClipError,
    DamagedModelError,
    ModelError,
    ModelNotFoundError,
    UnsupportedModelError,
    UsageError,
)
from clipcli.hub import bounds, fetch_model, pull_model, remote
from clipcli.hub.registry import usual_revisions
from clipcli.hub.remote import Listing, RemoteFile
from tests.helpers.errors import about
from tests.helpers.hub_server import HubServer
from tests.hub.conftest import B32, WEIGHTS, checkpoint_files

PINNED = usual_revisions(B32)[0]
NEEDED = {
    "config.json",
    "merges.txt",
    "model.safetensors",
    "preprocessor_config.json",
    "tokenizer_config.json",
    "vocab.json",
}


def test_first_download_brings_only_what_is_needed(hub: HubServer) -> None:
    commit = hub.add(B32, checkpoint_files())
    seen: list[tuple[int, int]] = []

    model = fetch_model("vit-b32", on_progress=lambda done, total: seen.append((done, total)))

    assert (model.id, model.revision, model.source) == (B32, commit, "cache")
    assert {path.name for path in model.folder.iterdir()} == NEEDED
    assert (model.folder / "model.safetensors").read_bytes() == WEIGHTS
    total = sum(len(content) for name, content in checkpoint_files().items() if name in NEEDED)
    assert seen[0] == (0, total) and seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_no_request_once_it_is_here(hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    fetch_model(B32)
    hub.requests.clear()

    again = fetch_model("vit-b32")

    assert hub.requests == []
    assert again.source == "cache"


def test_huggingface_hub_finds_what_was_fetched(hub: HubServer, cache_dir: Path) -> None:
    commit = hub.add("me/mine", checkpoint_files())
    fetch_model("me/mine")

    found = try_to_load_from_cache("me/mine", "model.safetensors")
    assert isinstance(found, str) and Path(found).read_bytes() == WEIGHTS
    (repo,) = scan_cache_dir(cache_dir).repos
    (revision,) = repo.revisions
    assert (repo.repo_id, revision.commit_hash, revision.refs) == ("me/mine", commit, {"main"})


def test_bin_is_taken_where_there_are_no_safetensors(hub: HubServer) -> None:
    files = checkpoint_files()
    del files["model.safetensors"]
    hub.add("me/old", files)

    names = {path.name for path in fetch_model("me/old").folder.iterdir()}

    assert "pytorch_model.bin" in names and "tf_model.h5" not in names


def test_all_shards_are_fetched(hub: HubServer) -> None:
    files = checkpoint_files()
    del files["model.safetensors"]
    shards = {f"model-0000{i}-of-00002.safetensors": bytes([i]) * 100 for i in (1, 2)}
    index = {"weight_map": {f"w{i}": name for i, name in enumerate(shards)}}
    hub.add("me/big", {**files, **shards, "model.safetensors.index.json": json.dumps(index).encode()})

    folder = fetch_model("me/big").folder

    assert [path.name for path in hub_room.weight_files(folder)] == sorted(shards)


def test_a_cut_download_goes_on_where_it_stopped(hub: HubServer, waits: list[float]) -> None:
    hub.add(B32, checkpoint_files())
    hub.cut("model.safetensors", 1 << 20, 1 << 19)
    done: list[int] = []

    folder = fetch_model(B32, on_progress=lambda now, _: done.append(now)).folder

    starts = [request.headers.get("Range") for request in hub.fetched("model.safetensors")]
    assert starts == [None, "bytes=1048576-", "bytes=1572864-"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert done == sorted(done)
    assert waits == []


def test_a_download_that_gave_up_goes_on_at_the_next_run(hub: HubServer, waits: list[float]) -> None:
    hub.add(B32, checkpoint_files())
    hub.cut("model.safetensors", 1 << 20, *[0] * 20)

    with pytest.raises(ModelNotFoundError, match="connection broke") as caught:
        fetch_model(B32)
    assert waits == [1, 2, 4, 8, 16]
    assert 'model="demo"' in (caught.value.hint or "")

    hub.cuts.clear()
    hub.requests.clear()
    fetch_model(B32)
    (request,) = hub.fetched("model.safetensors")
    assert request.headers["Range"] == "bytes=1048576-"


def test_a_wrong_partial_file_is_thrown_away(hub: HubServer, cache_dir: Path) -> None:
    hub.add(B32, checkpoint_files())
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    partial = cache_dir / "models--openai--clip-vit-base-patch32" / "blobs" / f"{digest}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x" * 1000)

    assert (fetch_model(B32).folder / "model.safetensors").read_bytes() == WEIGHTS
    assert [r.headers.get("Range") for r in hub.fetched("model.safetensors")] == ["bytes=1000-", None]


def test_two_processes_fetch_a_model_once(hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(fetch_model, [B32, "vit-b32"])

    assert one == other
    assert len(hub.fetched("model.safetensors")) == 1


def test_a_server_without_ranges_starts_again(hub: HubServer, waits: list[float]) -> None:
    hub.add(B32, checkpoint_files())
    hub.cut("model.safetensors", 1 << 20)
    hub.ignores_ranges = True

    assert (fetch_model(B32).folder / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.json"])
def test_a_wrong_hash_is_refused_and_deleted(hub: HubServer, cache_dir: Path, name: str) -> None:
    content = checkpoint_files()[name]
    hub.add(B32, checkpoint_files())
    hub.swapped[name] = content[:-1] + b"!"

    with pytest.raises(DamagedModelError, match=f"{name}"):
        fetch_model(B32)

    assert not [path for path in cache_dir.rglob("*") if path.is_file() and path.read_bytes() == hub.swapped[name]]
    assert resolve_is_refused_offline(B32)
    hub.swapped.clear()
    assert (fetch_model(B32).folder / name).read_bytes() == content


def resolve_is_refused_offline(name: str) -> bool:
    try:
        fetch_model(name, offline=True)
    except ModelNotFoundError:
        return True
    return False


def test_the_token_stays_with_the_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    hub.add(B32, checkpoint_files())
    hub.models[B32].private = True

    fetch_model(B32)

    (from_cdn,) = hub.fetched("model.safetensors")
    assert "authorization" not in {name.lower() for name in from_cdn.headers}


def test_too_many_requests_waits_as_long_as_the_server_says(hub: HubServer, waits: list[float]) -> None:
    hub.add(B32, checkpoint_files())
    hub.refuse("/api/models", 429, times=2, Retry_After="7")
    hub.refuse("/resolve/", 503, times=1)

    fetch_model(B32)

    assert waits == [7, 7, 1]


def test_a_hub_that_stays_down_is_named(hub: HubServer, waits: list[float]) -> None:
    hub.add(B32, checkpoint_files())
    hub.refuse("/api/models", 502, times=99)

    with pytest.raises(ModelNotFoundError, match=rf"{hub.endpoint} answers HTTP 502"):
        fetch_model(B32)


def test_an_unreachable_hub_fails_at_once(hub: HubServer, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(ModelNotFoundError, match=r"127\.0\.0\.1:9") as caught:
        fetch_model("vit-b32")

    assert waits == []
    assert str(B32) in (caught.value.hint or "")


def test_a_model_that_does_not_exist_names_its_neighbours(hub: HubServer) -> None:
    with pytest.raises(ModelNotFoundError, match="openai/clip-vit-base-patch23", check=about("model")) as caught:
        fetch_model("openai/clip-vit-base-patch23")

    assert B32 in (caught.value.hint or "")
    assert f"{hub.endpoint}/settings/tokens" in (caught.value.hint or "")


def test_404_with_a_token(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)

    with pytest.raises(ModelNotFoundError, match="me/none", check=about("model")):
        fetch_model("me/none")


def test_a_gated_model_says_where_to_get_a_token(hub: HubServer) -> None:
    hub.add("me/gated", checkpoint_files())
    hub.models["me/gated"].gated = True

    with pytest.raises(ModelNotFoundError, match="me/gated") as caught:
        fetch_model("me/gated")

    assert f"{hub.endpoint}/me/gated" in (caught.value.hint or "")
    assert f"{hub.endpoint}/settings/tokens" in (caught.value.hint or "")


def test_a_wrong_token_is_named_as_such(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    hub.add(B32, checkpoint_files())

    with pytest.raises(ModelNotFoundError, match=r"\(HTTP 401\)") as caught:
        fetch_model(B32)

    assert "HF_TOKEN" in (caught.value.hint or "")


def test_revisions(hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    tagged = hub.add(B32, checkpoint_files(WEIGHTS[::-1]), revision="v2")
    branch = hub.add(B32, checkpoint_files(b"branch"), revision="refs/pr/1")

    assert fetch_model(B32, revision="v2").revision == tagged
    assert fetch_model(B32, revision=tagged).folder == fetch_model(B32, revision="v2").folder
    assert fetch_model(B32, revision="refs/pr/1", offline=False).revision == branch
    with pytest.raises(ModelNotFoundError, match="v3"):
        fetch_model(B32, revision="v3")
    with pytest.raises(UsageError, check=about("revision")):
        fetch_model(B32, revision="../../../etc")


def test_the_pinned_commit_is_fetched_though_the_branch_moved_on(hub: HubServer) -> None:
    pinned = hub.add(B32, checkpoint_files())
    newer = hub.add(B32, checkpoint_files(b"newer"))

    assert fetch_model("vit-b32").revision == pinned
    assert pull_model(B32).revision == pinned
    assert fetch_model(B32, revision="main").revision == newer
    assert fetch_model(B32, offline=True).revision == pinned


def test_what_another_program_fetched_will_do_for_the_pinned_commit(hub: HubServer) -> None:
    pinned = hub.add(B32, checkpoint_files())
    newer = hub.add(B32, checkpoint_files(b"newer"))
    fetch_model(B32, revision="main")
    hub.requests.clear()

    assert fetch_model("vit-b32").revision == newer
    assert hub.requests == []
    assert pull_model("vit-b32").revision == pinned
    assert fetch_model("vit-b32").revision == pinned


def test_a_half_written_pin_does_not_hide_a_whole_model(hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    newer = hub.add(B32, checkpoint_files(b"newer"))
    fetch_model(B32, revision="main")
    (fetch_model(B32, revision=PINNED).folder / "config.json").unlink()

    assert fetch_model(B32, offline=True).revision == newer


def test_a_mirror_without_the_pinned_commit(hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    model = hub.models[B32]
    model.refs["main"] = "0" * 40
    model.commits = {"0" * 40: model.commits[PINNED]}

    with pytest.raises(ModelNotFoundError, match=f"{B32}.*{PINNED}") as caught:
        fetch_model("vit-b32")
    assert '`revision="main"`' in (caught.value.hint or "")
    assert fetch_model("vit-b32", revision="main").revision == "0" * 40
    assert fetch_model("vit-b32").revision == "0" * 40


def test_a_mirror_without_revisions(hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    newer = hub.add(B32, checkpoint_files(b"newer"))
    hub.models[B32].refs[PINNED] = newer

    with pytest.raises(ModelNotFoundError, match=f"{PINNED}.*{newer}") as caught:
        fetch_model("vit-b32")
    assert 'revision="main"' in (caught.value.hint or "")
    assert hub.fetched("model.safetensors") == []


def test_a_branch_that_moved_on_is_followed_only_when_pulled(hub: HubServer) -> None:
    first = hub.add("me/mine", checkpoint_files())
    fetch_model("me/mine")
    second = hub.add("me/mine", checkpoint_files(b"newer"))
    hub.requests.clear()

    assert fetch_model("me/mine").revision == first
    assert pull_model("me/mine").revision == second
    assert fetch_model("me/mine", offline=True).revision == second
    assert [r.path.rpartition("/")[2] for r in hub.requests if r.method == "GET" and "api" not in r.path] == [
        "model.safetensors",
        "model.safetensors",
    ]


@pytest.mark.parametrize("how", ["option", "environment"])
def test_offline_without_a_cache_says_every_way_on(
    hub: HubServer, cache_dir: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    hub.add(B32, checkpoint_files())
    with monkeypatch.context() as patch:  # undone before `hub` puts back what it found
        patch.setattr(constants, "HF_HUB_OFFLINE", how == "environment")
        with pytest.raises(ModelNotFoundError) as caught:
            fetch_model("vit-b32", offline=how == "option")

    assert B32 in str(caught.value)
    assert str(cache_dir / "models--openai--clip-vit-base-patch32") in str(caught.value)
    assert ("offline=True" if how == "option" else "HF_HUB_OFFLINE") in str(caught.value)
    assert caught.value.hint is not None
    assert str(B32) in caught.value.hint and 'model="demo"' in caught.value.hint
    assert hub.requests == []


def test_offline_with_a_cache(hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    here = fetch_model(B32)
    hub.requests.clear()

    assert fetch_model(B32, offline=True) == here
    assert hub.requests == []


@pytest.mark.parametrize("damage", ["no weights", "no tokenizer", "dangling", "empty", "cut config"])
def test_a_half_written_snapshot_is_completed_or_named(hub: HubServer, damage: str) -> None:
    hub.add(B32, checkpoint_files())
    folder = fetch_model(B32).folder
    name = {"no tokenizer": "vocab.json", "cut config": "config.json"}.get(damage, "model.safetensors")
    if damage == "dangling":
        (folder / name).resolve().unlink()
    elif damage in ("empty", "cut config"):
        (folder / name).write_bytes(b"" if damage == "empty" else b'{"model_ty')
    else:
        (folder / name).unlink()

    with pytest.raises(ModelNotFoundError, match="incomplete") as caught:
        fetch_model(B32, offline=True)
    assert ("tokenizer.json" if name == "vocab.json" else name) in str(caught.value)

    assert (fetch_model(B32).folder / name).read_bytes() == checkpoint_files()[name]


def test_pull_replaces_a_file_that_was_changed_on_disk(hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    weights = fetch_model(B32).folder / "model.safetensors"
    weights.write_bytes(WEIGHTS[::-1])

    pull_model(B32)

    assert weights.read_bytes() == WEIGHTS


def test_files_go_without_links_where_there_are_none(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    hub.add(B32, checkpoint_files())
    folder = fetch_model(B32).folder
    hub.requests.clear()

    pull_model(B32)

    assert not (folder / "model.safetensors").is_symlink()
    assert len(hub.requests) == 1


def test_other_families_are_refused_before_their_weights_come(hub: HubServer) -> None:
    hub.add("me/bert", {**checkpoint_files(), "config.json": b'{"model_type": "bert"}'})

    with pytest.raises(UnsupportedModelError, match="'bert'"):
        fetch_model("me/bert")

    assert hub.fetched("model.safetensors") == []


def test_weights_in_other_formats_are_named(hub: HubServer) -> None:
    files = checkpoint_files()
    del files["model.safetensors"], files["pytorch_model.bin"]
    hub.add("me/flax", files)

    with pytest.raises(UnsupportedModelError, match=r"flax_model\.msgpack, tf_model\.h5"):
        fetch_model("me/flax")


def test_a_model_without_preprocessing_is_not_complete(hub: HubServer) -> None:
    files = checkpoint_files()
    del files["preprocessor_config.json"]
    hub.add("me/bare", files)

    with pytest.raises(DamagedModelError, match=r"preprocessor_config\.json"):
        fetch_model("me/bare")


def test_preprocessing_in_the_newer_file(hub: HubServer) -> None:
    files = checkpoint_files(**{"processor_config.json": b'{"image_processor": {"crop_size": 224}}'})
    hub.add("me/between", files)
    assert {path.name for path in fetch_model("me/between").folder.iterdir()} == NEEDED | {"processor_config.json"}

    del files["preprocessor_config.json"]
    hub.add("me/new", files)
    assert (fetch_model("me/new").folder / "processor_config.json").is_file()


@pytest.mark.parametrize(
    "page",
    [
        b"<html>please log in</html>",
        b"[]",
        b'{"sha": "../../../../etc", "siblings": []}',
        b'{"sha": "%s", "siblings": [{"rfilename": "config.json", "size": 1, "blobId": "../../x"}]}' % (b"0" * 40),
    ],
)
def test_a_page_that_is_not_a_hub(hub: HubServer, cache_dir: Path, page: bytes) -> None:
    hub.page = page

    with pytest.raises(ModelError, match="answer") as caught:
        fetch_model(B32)

    assert "HF_ENDPOINT" in (caught.value.hint or "")
    assert not [path for path in cache_dir.parent.rglob("*") if path.is_file()]


def test_too_small_a_disk_is_seen_before_the_download(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(B32, checkpoint_files())
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    with pytest.raises(ClipError, match="2 MB") as caught:
        fetch_model(B32)

    assert caught.value.exit_status == 1
    assert hub.fetched("model.safetensors") == []


def test_a_disk_that_fills_up_while_downloading(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(B32, checkpoint_files())
    hub.cut("model.safetensors", 1 << 20)
    open_stream, started = remote.open_stream, []

    def until_full(
        listing: Listing, file: RemoteFile, start: int
    ) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        started.append(file.name)
        if started.count("model.safetensors") == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_stream(listing, file, start)

    with monkeypatch.context() as patch:
        patch.setattr(remote, "open_stream", until_full)
        with pytest.raises(ClipError, match="full") as caught:
            fetch_model(B32)
    assert caught.value.exit_status == 1
    assert "models" in (caught.value.hint or "") and "kept" in (caught.value.hint or "")

    hub.requests.clear()
    assert (fetch_model(B32).folder / "model.safetensors").read_bytes() == WEIGHTS
    assert [r.headers.get("Range") for r in hub.fetched("model.safetensors")] == ["bytes=1048576-"]


def test_a_cache_without_permission(hub: HubServer, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(B32, checkpoint_files())
    cache_dir.mkdir()

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ClipError, match=f"{cache_dir}.*Permission denied") as caught:
        fetch_model(B32)
    assert "HF_HOME" in (caught.value.hint or "")


def test_a_body_beyond_the_listed_size_is_cut(hub: HubServer, cache_dir: Path) -> None:
    hub.add(B32, checkpoint_files())
    hub.swapped["model.safetensors"] = WEIGHTS + bytes(5_000_000)
    folder = fetch_model(B32).folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not list(cache_dir.rglob("*.incomplete"))


def test_a_listing_without_end_is_given_up(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LARGEST_LISTING", 1000)
    hub.page = b'{"sha": "' + b"a" * 5000
    with pytest.raises(ModelError, match="answer"):
        fetch_model(B32)


@pytest.mark.parametrize("size", [-1, 1e400, 10**30, "5", None, [1]])
def test_a_listing_with_absurd_sizes(size: object, hub: HubServer) -> None:
    sibling = {"rfilename": "config.json", "size": size, "blobId": "a" * 40}
    hub.page = json.dumps({"sha": "a" * 40, "siblings": [sibling]}).encode()
    with pytest.raises(ModelError, match="answer"):
        fetch_model(B32)


def test_a_listing_nested_without_end(hub: HubServer) -> None:
    hub.page = b"[" * 200_000
    with pytest.raises(ModelError, match="answer"):
        fetch_model(B32)


def test_an_error_page_without_end(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LARGEST_ERROR", 100)
    hub.refuse("/api/models", 403, body=b"x" * 5_000_000)
    with pytest.raises(ModelNotFoundError) as caught:
        fetch_model(B32)
    assert len(str(caught.value.__cause__)) < 2000


def test_a_server_that_asks_to_come_back_in_years_is_not_waited_for(hub: HubServer, waits: list[float]) -> None:
    hub.add(B32, checkpoint_files())
    hub.refuse("/api/models", 429, Retry_After=str(10**9))
    with pytest.raises(ModelNotFoundError):
        fetch_model(B32)
    assert waits == []


def test_a_server_that_trickles_is_given_up(
    hub: HubServer, waits: list[float], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "PATIENCE_S", 0.0)
    monkeypatch.setattr(bounds, "LEAST_BYTES_PER_S", 10**15)
    hub.add(B32, checkpoint_files())

    with pytest.raises(ModelNotFoundError):
        fetch_model(B32)
    assert len(waits) <= 5


def test_a_listing_that_comes_steadily_but_never_ends_is_given_up(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "LONGEST_PAGE_S", 0.2)
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        while not stop.wait(0.01):
            handler.wfile.write(b" " * 1000)
        return True

    hub.trick = drip
    with pytest.raises(ModelNotFoundError):
        fetch_model(B32)
    stop.set()


@pytest.mark.parametrize("page", [b"\xff\xfe\xff", b"[]", b'{"errors": 7}', b'{"errors": [7]}', b"[" * 50_000])
def test_an_error_page_of_another_kind(page: bytes, hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    hub.refuse("/resolve/", 418, body=page)
    with pytest.raises(ModelNotFoundError, match="418"):
        fetch_model(B32)


def test_a_redirect_to_a_name_that_no_host_can_have(hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    hub.refuse("/resolve/", 302, Location=f"http://{'a' * 300}.invalid/")
    with pytest.raises(ModelNotFoundError):
        fetch_model(B32)


@pytest.mark.parametrize("path", ["/api/models", "/resolve/"])
def test_a_redirect_does_not_take_the_token_to_another_host(
    path: str, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    hub.add(B32, checkpoint_files())
    other = hub.endpoint.replace("127.0.0.1", "localhost")
    hub.refuse(path, 307, times=99, Location=f"{other}/elsewhere")
    with pytest.raises(ModelError):
        fetch_model(B32)
    told = {request.headers["Host"] for request in hub.requests if "authorization" in map(str.lower, request.headers)}
    assert "/elsewhere" in {request.path for request in hub.requests}
    assert told == {urlsplit(hub.endpoint).netloc}

"""`clip serve` as clients meet it: a real server on a real port."""

import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import InferenceClient, constants
from jsonschema import Draft202012Validator
from openai import BadRequestError as RefusedByOpenAI
from openai import NotFoundError, OpenAI
from PIL import Image

import clipcli
from tests.cli.conftest import Clip
from tests.helpers.immich import FACES, Upstream, task, upstream
from tests.helpers.schemas import check_document, check_rows
from tests.helpers.served import Served, form, sample, served

SAMPLES = Path(clipcli.__file__).parent / "demo" / "samples"
KEY = "a-key-of-more-than-16-letters"
CAT, DOG = sample("cat.png"), sample("dog.jpg")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Folders that all servers of this module share, whatever those of a test are."""
    folder = tmp_path_factory.mktemp("served")
    yield {f"CLIPCLI_{name}_DIR": str(folder / name.lower()) for name in ("CACHE", "CONFIG", "LIBRARY")}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, home: dict[str, str]) -> Path:
    """A library of the samples."""
    folder = tmp_path_factory.mktemp("photos")
    shutil.copytree(SAMPLES, folder / "samples")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in home.items():
            patch.setenv(name, value)
        clipcli.Library.create(folder / "samples", model="demo", name=folder / "photos.cliplib").update()
    return folder / "photos.cliplib"


@pytest.fixture(scope="module")
def server(home: dict[str, str], photos: Path) -> Iterator[Served]:
    with served("--library", photos, "--label-set", "pets", "--no-update", environment=home) as running:
        yield running


def uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def test_classify_says_what_the_command_says(server: Served, clip: Clip) -> None:
    answer = server.send("/api/classify", {"cat.png": CAT, "dog.jpg": DOG}, [("labels", "cat,dog"), ("top", "1")])
    paths = (SAMPLES / "cat.png", SAMPLES / "dog.jpg")
    printed = json.loads(clip("classify", *paths, "-l", "cat,dog", "-k", 1, "-m", "demo", "--json").stdout)
    assert answer.status == 200
    check_document("clipcli.classify-2", answer.json)
    assert answer.json["run"] == printed["run"]
    assert answer.json["summary"] == printed["summary"]
    for ours, theirs in zip(answer.json["results"], printed["results"], strict=True):
        assert ours["label"] == theirs["label"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-5)


def test_score_and_tag_say_what_the_commands_say(server: Served, clip: Clip) -> None:
    scored = server.send("/api/score", {"cat.png": CAT}, [("text", "a cat"), ("text", "a dog, asleep")])
    check_document("clipcli.score-2", scored.json)
    printed = clip("score", SAMPLES / "cat.png", "-t", "a cat", "-t", "a dog, asleep", "-m", "demo").rows[0]["scores"]
    assert [each["text"] for each in scored.json["results"][0]["scores"]] == [each["text"] for each in printed]
    assert scored.json["results"][0]["scores"][0]["cosine"] == pytest.approx(printed[0]["cosine"], abs=1e-5)
    tagged = server.post("/api/tag", {"images": [uri(CAT)], "labels": ["cat", "dog"], "threshold": 0.1})
    check_document("clipcli.tag-2", tagged.json)
    printed = clip("tag", SAMPLES / "cat.png", "-l", "cat,dog", "--threshold", 0.1, "-m", "demo").rows[0]["tags"]
    assert [each["label"] for each in tagged.json["results"][0]["tags"]] == [each["label"] for each in printed]


def test_a_request_without_labels_gets_the_label_set(server: Served) -> None:
    answer = server.ask("/api/classify", CAT, "image/png")
    assert answer.json["run"]["label_set"] == "pets"
    assert answer.json["results"][0]["label"] == "cat"
    assert server.post("/api/classify", {"images": [uri(CAT)], "label_set": "scenes"}).status == 400


def test_one_bad_image_is_a_row(server: Served) -> None:
    answer = server.send("/api/classify", {"a.png": CAT, "b.png": b"text", "c.png": CAT}, [("labels", "cat,dog")])
    assert [row["status"] for row in answer.json["results"]] == ["ok", "error", "ok"]
    assert answer.json["results"][1]["error"]["type"] == "UnreadableImage"
    check_document("clipcli.classify-2", answer.json)


def test_explain_says_where(server: Served) -> None:
    answer = server.send(
        "/api/explain", {"cat.png": CAT, "b.png": b"text"}, [("labels", "cat,dog"), ("quality", "fast")]
    )
    check_document("clipcli.explain-2", answer.json)
    assert [each["label"] for each in answer.json["results"][0]["maps"]] == ["cat", "dog"]
    assert answer.json["summary"]["failed"] == 1
    assert server.send("/api/explain", {"cat.png": CAT}, [("labels", "a"), ("quality", "better")]).status == 400


def test_embed_gives_rows(server: Served) -> None:
    answer = server.post("/api/embed", {"images": [uri(CAT)], "text": ["a cat"]})
    check_rows("clipcli.embed-1", answer.json["results"])
    text, image = (np.array(row["features"]) for row in answer.json["results"])
    assert np.linalg.norm(image) == pytest.approx(1, abs=1e-5)
    assert text @ image > 0.2


def test_search_by_text_by_image_and_by_number(server: Served) -> None:
    by_text = server.post("/api/search", {"text": "a cat", "top": 3})
    check_document("clipcli.search-1", by_text.json)
    first = by_text.json["results"][0]
    assert first["path"].endswith("cat.png")
    by_image = server.send("/api/search", {"cat.png": CAT}, [("top", "2")]).json["results"]
    by_number = server.post("/api/search", {"terms": [{"kind": "id", "value": first["id"]}], "top": 2}).json
    assert [hit["path"] for hit in by_image] == [hit["path"] for hit in by_number["results"]]
    assert not by_image[0]["path"].endswith("cat.png")
    both = {"terms": [{"value": "a dog"}, {"kind": "image", "value": uri(CAT), "weight": -0.2}]}
    answer = server.post("/api/search", both)
    check_document("clipcli.search-1", answer.json)
    assert answer.json["results"][0]["path"].endswith("dog.jpg")
    assert [part["weight"] for part in answer.json["run"]["query"]] == [1.0, -0.2]


def test_images_of_the_library_are_shown_by_number(server: Served) -> None:
    number = server.post("/api/search", {"text": "a cat", "top": 1}).json["results"][0]["id"]
    for size, edge in (("thumb", 320), ("image", 1600)):
        answer = server.ask(f"/api/{size}/{number}")
        with Image.open(io.BytesIO(answer.body)) as image:
            assert image.format == "JPEG" and max(image.size) <= edge
    for path in ("/api/thumb/999999", "/api/thumb/..%2f..%2fetc%2fpasswd", "/api/other/1", "/page/..%2fapp.py"):
        assert server.ask(path).status == 404


def test_health_goes_through_the_engine_and_metrics_count_it(server: Served) -> None:
    def batches() -> int:
        text = server.ask("/metrics").body.decode()
        return int(text.split("clipcli_batch_images_count ")[1].split()[0])

    before = batches()
    assert server.ask("/health").json == {"status": "ok"}
    assert batches() == before + 1
    assert 'clipcli_requests_total{endpoint="health",status="200"}' in server.ask("/metrics").body.decode()


def test_the_openapi_document_describes_what_is_answered(server: Served) -> None:
    document = server.ask("/openapi.json").json
    answer = server.send("/api/classify", {"cat.png": CAT}, [("labels", "cat,dog")]).json
    schema = {"$ref": "#/components/schemas/clipcli.classify-2", "components": document["components"]}
    Draft202012Validator(schema).validate(answer)
    assert {"/api/classify", "/api/score", "/api/tag", "/api/embed", "/api/search"} <= set(document["paths"])


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/classify", {"images": ["http://169.254.169.254/"], "labels": ["a", "b"]}, 400),
        ("/api/classify", {"images": ["file:///etc/passwd"], "labels": ["a", "b"]}, 400),
        ("/api/classify", {"images": ["!"], "labels": ["a", "b"]}, 400),
        ("/api/classify", {"images": [uri(CAT)], "labels": ["a", "a"]}, 400),
        ("/api/classify", {"images": [uri(CAT)], "labels": [""]}, 400),
        ("/api/classify", {"images": [uri(CAT)], "labels": [7]}, 400),
        ("/api/classify", {"images": [uri(CAT)], "labels": ["a", "b"], "top": -1}, 400),
        ("/api/classify", {"images": [uri(CAT)], "labels": ["a", "b"], "top": 1.5}, 400),
        ("/api/classify", {"images": [uri(CAT)], "labels": ["a", "b"], "tpo": 1}, 400),
        ("/api/classify", {"images": [uri(CAT)], "label_set": "/etc/passwd"}, 400),
        ("/api/classify", {"labels": ["a", "b"]}, 400),
        ("/api/classify", {"images": [uri(CAT)] * 65, "labels": ["a", "b"]}, 413),
        ("/api/classify", [1], 400),
        ("/api/score", {"images": [uri(CAT)]}, 400),
        ("/api/search", {"text": []}, 400),
        ("/api/search", {"text": "a", "top": 0}, 400),
        ("/api/search", {"terms": [{"kind": "id", "value": 10**8}]}, 404),
        ("/api/search", {"terms": [{"kind": "path", "value": "/etc/passwd"}]}, 400),
        ("/api/search", {"text": "a", "after": "yesterday"}, 400),
        ("/api/nothing", {}, 404),
        ("/v1/embeddings", {"input": [[1, 2]]}, 400),
        ("/v1/embeddings", {"input": "a", "dimensions": 3}, 400),
        ("/v1/embeddings", {"input": ["https://example.org/x.jpg"], "modality": "image"}, 400),
    ],
)
def test_what_is_wrong_is_said(server: Served, path: str, body: object, status: int) -> None:
    answer = server.post(path, body)
    assert answer.status == status
    assert answer.json["error"]["message"]
    assert "Traceback" not in "".join(server.said)


def test_a_method_that_an_address_has_not_is_said(server: Served) -> None:
    for path in ("/api/classify", "/api/search", "/v1/embeddings", "/predict", "/hf/zero-shot-image-classification"):
        answer = server.ask(path)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert "GET" in answer.json["error"]["message"] and "POST" in answer.json["error"]["hint"]


def test_labels_that_name_a_file_are_labels(server: Served) -> None:
    answer = server.send("/api/classify", {"cat.png": CAT}, [("labels", "@/etc/passwd,cat")])
    assert answer.json["run"]["labels"] == ["@/etc/passwd", "cat"]


@pytest.mark.parametrize("host", ["evil.example", "", "localhost@evil.example", "evil.example:7722"])
def test_another_name_is_refused(server: Served, host: str) -> None:
    """DNS rebinding: a page of another site whose name leads to this machine."""
    assert server.ask("/api/info", headers={"Host": host}).status in (400, 421)
    assert server.ask("/api/info", headers={"Host": "localhost:99"}).status == 200
    assert server.ask("/api/info", headers={"Host": "[::1]:99"}).status == 200


def test_pages_of_other_sites_may_not_ask(server: Served) -> None:
    body = {"images": [uri(CAT)], "labels": ["a", "b"]}
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert server.post("/api/classify", body, headers).status == 403
    own = {"Origin": server.address.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    answer = server.post("/api/classify", body, own)
    assert answer.status == 200 and "access-control-allow-origin" not in answer.headers


def test_the_page_has_a_policy_and_loads_nothing_from_elsewhere(server: Served) -> None:
    answer = server.ask("/")
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert b"http://" not in answer.body and b"https://" not in answer.body


def test_openai_s_client_gets_embeddings(server: Served) -> None:
    client = OpenAI(base_url=f"{server.address}v1", api_key="none")
    model = client.models.list().data[0].id
    packed = client.embeddings.create(model=model, input=["a cat", "a dog"])
    plain = client.embeddings.create(model=model, input="a cat", encoding_format="float")
    assert np.allclose(packed.data[0].embedding, plain.data[0].embedding, atol=1e-6)
    assert packed.usage.prompt_tokens > 2
    image = client.embeddings.create(model=model, input=[uri(CAT)], extra_body={"modality": "image"})
    content = [{"type": "image_url", "image_url": {"url": uri(CAT)}}]
    chat = server.post("/v1/embeddings", {"model": model, "messages": [{"role": "user", "content": content}]})
    assert np.allclose(image.data[0].embedding, chat.json["data"][0]["embedding"], atol=1e-5)


def test_openai_s_client_gets_an_error_for_a_model_that_is_not_served(home: dict[str, str]) -> None:
    with served("--model", "demo", "--served-model-name", "text-embedding-3-small", environment=home) as server:
        client = OpenAI(base_url=f"{server.address}v1", api_key="none", max_retries=0)
        names = [model.id for model in client.models.list().data]
        for name in (*names, "text-embedding-3-small", "clip", "demo"):
            assert client.models.retrieve(name).id == name
            assert len(client.embeddings.create(model=name, input="a cat").data) == 1
        for ask in (
            lambda: client.embeddings.create(model="text-embedding-ada-002", input="a cat"),
            lambda: client.models.retrieve("org/another"),
        ):
            with pytest.raises(NotFoundError) as caught:
                ask()
            refused = (caught.value.code, caught.value.param, caught.value.type)
            assert refused == ("model_not_found", "model", "invalid_request_error")
        with pytest.raises(RefusedByOpenAI) as wrong:
            client.embeddings.create(model="clip", input=[[1, 2]])
        assert (wrong.value.code, wrong.value.param, wrong.value.type) == (None, "input", "invalid_request_error")
        assert server.post("/v1/embeddings", {"input": "a cat"}).status == 200
        assert server.post("/v1/embeddings", {"input": "a cat", "model": 7}).status == 400


def test_the_hub_s_client_gets_labels(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # of the client: it may ask this very address
    client = InferenceClient(model=f"{server.address}hf/zero-shot-image-classification")
    found = client.zero_shot_image_classification(CAT, candidate_labels=["dog", "cat, asleep or not", "car"])
    assert {each.label for each in found} == {"dog", "cat, asleep or not", "car"}
    assert sum(each.score for each in found) == pytest.approx(1, abs=1e-4)
    template = client.zero_shot_image_classification(
        CAT, candidate_labels=["dog", "cat"], hypothesis_template="a drawing of a {}."
    )
    assert template[0].label == "cat"


def test_immich_gets_vectors_in_a_text(server: Served) -> None:
    assert server.ask("/ping").body == b"pong"
    visual = json.dumps({"clip": {"visual": {"modelName": "ViT-B-32__openai", "options": {}}}})
    answer = server.send("/predict", {"blob": CAT}, [("entries", visual)])
    assert (answer.json["imageHeight"], answer.json["imageWidth"]) == (256, 256)
    textual = json.dumps({"clip": {"textual": {"modelName": "ViT-B-32__openai", "options": {"language": "en"}}}})
    text = server.send("/predict", {}, [("entries", textual), ("text", "a cat")])
    assert set(text.json) == {"clip"}
    assert np.dot(json.loads(answer.json["clip"]), json.loads(text.json["clip"])) > 0.2
    faces = json.dumps({"facial-recognition": {"detection": {"modelName": "buffalo_l"}}})
    assert server.send("/predict", {"blob": CAT}, [("entries", faces)]).status == 422
    assert server.send("/predict", {"blob": CAT}, [("entries", "{")]).status == 422
    assert server.send("/predict", {}, [("entries", visual)]).status == 400


@pytest.fixture(scope="module")
def faces(home: dict[str, str]) -> Iterator[tuple[Served, Upstream]]:
    """A server that has Immich's own machine learning behind it."""
    with upstream() as other, served("--model", "demo", "--immich-upstream", other.address, environment=home) as ours:
        yield ours, other


def test_immich_s_other_tasks_pass_unchanged(faces: tuple[Served, Upstream]) -> None:
    server, other = faces
    body, kind = form({"blob": CAT}, [("entries", task("buffalo_l")), ("note", "ä")])
    private = {"Authorization": "Bearer of-this-server", "Cookie": "a=b"}
    answer = server.ask("/predict", body, kind, private)
    assert (answer.status, answer.json) == (200, FACES)
    assert answer.headers["content-type"] == "application/json"
    headers, sent = other.asked[-1]
    assert (sent, headers["content-type"], headers["content-length"]) == (body, kind, str(len(body)))
    assert not {"authorization", "cookie"} & set(headers)


@pytest.mark.parametrize(("model", "status"), [("broken", 500), ("busy", 503), ("invalid", 422), ("moved", 502)])
def test_errors_behind_this_server_are_immich_s_to_see(faces: tuple[Served, Upstream], model: str, status: int) -> None:
    """Immich goes by the status alone: whatever is not 2xx, it asks its next server."""
    answer = faces[0].send("/predict", {"blob": CAT}, [("entries", task(model))])
    assert answer.status == status
    assert answer.headers["retry-after"] == ("7" if model == "busy" else None)
    assert "set-cookie" not in answer.headers
    assert "Traceback" not in "".join(faces[0].said)


def test_one_request_may_hold_immich_s_tasks_and_ours(faces: tuple[Served, Upstream]) -> None:
    server, other = faces
    clip_task = {"clip": {"visual": {"modelName": "ViT-B-32__openai"}}}
    answer = server.send("/predict", {"blob": CAT}, [("entries", json.dumps({**json.loads(task("x")), **clip_task}))])
    assert answer.json["facial-recognition"] == FACES["facial-recognition"]
    assert np.linalg.norm(json.loads(answer.json["clip"])) == pytest.approx(1, abs=1e-5)
    assert CAT in other.asked[-1][1] and b'"clip"' not in other.asked[-1][1]
    asked = len(other.asked)
    server.send("/predict", {"blob": CAT}, [("entries", json.dumps(clip_task))])
    assert len(other.asked) == asked  # what is ours alone is no business of the other server's
    for model, status in (("list", 502), ("broken", 502)):
        entries = json.dumps({**json.loads(task(model)), **clip_task})
        assert server.send("/predict", {"blob": CAT}, [("entries", entries)]).status == status


def test_nobody_behind_this_server_is_said(home: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with served("--model", "demo", "--immich-upstream", address, environment=home) as server:
        answer = server.send("/predict", {"blob": CAT}, [("entries", task("buffalo_l"))])
        assert answer.status == 502 and address in answer.json["error"]["message"]
        assert server.ask("/ping").body == b"pong"


def test_a_key_is_asked_for(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    with served("--model", "demo", "--api-key-file", tmp_path / "key", environment=home) as server:
        assert server.ask("/").status == 200 and server.ask("/health").status == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}, {"X-Key": KEY}):
            for path in ("/api/info", "/metrics", "/openapi.json", "/v1/models"):
                answer = server.ask(path, headers=headers)
                assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert server.ask("/api/info", headers={"Authorization": f"Bearer {KEY}"}).status == 200
        assert KEY not in "".join(server.said)


def test_other_hosts_need_a_key(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "short").write_text("short")
    for arguments in (
        ("--host", "0.0.0.0"),
        ("--host", "::"),
        ("--api-key-file", tmp_path / "nowhere"),
        ("--api-key-file", tmp_path / "short"),
        ("--cors", "*"),
        ("--cors", "https://example.org/path"),
        ("--port", "70000"),
        ("--immich-upstream", "ftp://x"),
        ("--immich-upstream", "http://"),
        ("--immich-upstream", "http://localhost:port"),
    ):
        outcome = clip("serve", "--model", "demo", *arguments)
        assert outcome.status == 2, outcome.stderr


@pytest.mark.parametrize("module", ["starlette", "uvicorn", "python_multipart"])
def test_without_its_packages_it_names_the_extra(module: str) -> None:
    code = "import sys; sys.modules[sys.argv.pop(1)] = None; from clipcli.__main__ import main; main()"
    command = [sys.executable, "-c", code, module, "serve", "--model", "demo", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "'clipcli[serve]'" in done.stderr


def test_a_second_server_on_a_port_says_so(server: Served, clip: Clip) -> None:
    outcome = clip("serve", "--model", "demo", "--port", server.port)
    assert outcome.status == 1 and str(server.port) in outcome.stderr


def test_an_origin_that_is_allowed_may_ask(home: dict[str, str]) -> None:
    origin = {"Origin": "https://example.org"}
    with served("--model", "demo", "--cors", "https://example.org", environment=home) as server:
        answer = server.post("/api/classify", {"images": [uri(CAT)], "labels": ["a", "b"]}, origin)
        assert answer.status == 200 and answer.headers["access-control-allow-origin"] == "https://example.org"
        assert "access-control-allow-credentials" not in answer.headers
        assert server.post("/api/classify", {}, {"Origin": "https://evil.example"}).status == 403


def test_uploads_are_bounded_by_bytes_and_pixels(home: dict[str, str]) -> None:
    huge = io.BytesIO()
    Image.new("L", (4000, 4000)).save(huge, "PNG")
    limits = ("--max-upload-mb", "1", "--max-megapixels", "4")
    with served("--model", "demo", *limits, environment=home) as server:
        answer = server.send("/api/classify", {"huge.png": huge.getvalue()}, [("labels", "cat,dog")])
        assert answer.json["results"][0]["error"]["type"] == "ImageTooLarge"
        body, kind = form({"large.jpg": b"x" * 1_100_000}, [("labels", "cat,dog")])
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            head = f"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
            connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body[:1_050_000])
            assert b" 413 " in connection.recv(1000)


def test_the_smallest_image_is_an_image(server: Served) -> None:
    dot = io.BytesIO()
    Image.new("RGB", (1, 1)).save(dot, "PNG")
    assert server.send("/api/classify", {"dot.png": dot.getvalue()}, [("labels", "a,b")]).json["summary"]["ok"] == 1
    assert server.ask("/health").status == 200


def test_names_of_uploads_are_not_paths(server: Served) -> None:
    names = {"../../etc/passwd": CAT, "a\\b.png": CAT, "": CAT}
    rows = server.send("/api/classify", names, [("labels", "a,b")]).json["results"]
    assert [row["path"] for row in rows] == ["passwd", "b.png", "image 2"]


def test_clients_that_vanish_cost_nothing(server: Served) -> None:
    body, kind = form({"cat.png": CAT}, [("labels", "cat,dog")])
    head = (
        f"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for sent in (b"", head.encode(), head.encode() + body[:100], head.encode() + body):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(sent)
    assert server.send("/api/classify", {"cat.png": CAT}, [("labels", "cat,dog")]).status == 200
    deadline = time.monotonic() + 20
    while b"clipcli_waiting_images 0" not in server.ask("/metrics").body:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_library_that_is_replaced_is_noticed(
    home: dict[str, str], tmp_path: Path, clip_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in home.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cat.png").write_bytes(CAT)
    place = tmp_path / "photos.cliplib"
    clipcli.Library.create(tmp_path / "images", model="demo", name=place).update()
    with served("--library", place, environment=home) as server:
        assert server.post("/api/search", {"text": "a dog"}).json["summary"]["searched"] == 1
        shutil.rmtree(place)
        assert server.post("/api/search", {"text": "a dog"}).status == 503
        assert server.ask("/api/info").json["library"]["images"] == 0
        (tmp_path / "images" / "dog.jpg").write_bytes(DOG)
        clipcli.Library.create(tmp_path / "images", model="demo", name=place).update()
        assert server.post("/api/search", {"text": "a dog"}).json["results"][0]["path"].endswith("dog.jpg")
        shutil.rmtree(place)
        clipcli.Library.create(tmp_path / "images", model=str(clip_checkpoint), name=place).update()
        assert server.post("/api/search", {"text": "a dog"}).status == 503
        assert "Traceback" not in "".join(server.said)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_loses_no_answer_and_is_success(home: dict[str, str], number: int) -> None:
    statuses: list[int] = []
    with served("--model", "demo", environment=home) as server:

        def ask() -> None:
            images = {f"{i}.png": CAT + bytes([i]) for i in range(40)}
            statuses.append(server.send("/api/classify", images, [("labels", "cat,dog")]).status)

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()
        deadline = time.monotonic() + 20
        while b"clipcli_waiting_images 0" in server.ask("/metrics").body and len(statuses) < 3:
            assert time.monotonic() < deadline
        os.kill(server.process.pid, number)
        assert server.process.wait(timeout=60) == 0
        for client in clients:
            client.join()
    assert set(statuses) <= {200, 503} and 200 in statuses
    assert "Traceback" not in "".join(server.said)


def test_a_full_server_says_when_to_come_back(home: dict[str, str]) -> None:
    with served("--model", "demo", "--max-waiting", "2", environment=home) as server:
        answer = server.send("/api/classify", {f"{i}.png": CAT for i in range(3)}, [("labels", "cat,dog")])
        assert answer.status == 429 and int(answer.headers["retry-after"]) >= 1
        assert server.send("/api/classify", {"a.png": CAT}, [("labels", "cat,dog")]).status == 200


def test_the_log_is_one_object_per_request(server: Served) -> None:
    server.ask("/api/info?secret=1")
    deadline = time.monotonic() + 10
    while not (rows := [row for row in server.requests if row["path"] == "/api/info"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert set(rows[-1]) == {"time", "client", "method", "path", "status", "milliseconds", "bytes"}
    assert rows[-1]["method"] == "GET" and rows[-1]["status"] == 200

"""How long `clip serve` waits for Immich's own machine learning."""

import asyncio

import httpx2

import clipcli
from clipcli.serve.app import Service, make_app
from clipcli.serve.compatible import routes
from clipcli.serve.settings import Settings
from tests.helpers.immich import task, upstream
from tests.helpers.served import form, sample


def test_a_slow_server_behind_this_one_is_given_up() -> None:
    with upstream() as other:
        settings = Settings(immich_upstream=other.address, upstream_timeout_s=0.2)
        service = Service.start(settings, clipcli.load("demo", cache=False))
        app = make_app(service, lambda fields: None, routes(service))
        body, kind = form({"blob": sample("cat.png")}, [("entries", task("slow"))])

        async def ask() -> httpx2.Response:
            transport = httpx2.ASGITransport(app)  # type: ignore[arg-type]
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.post("/predict", content=body, headers={"content-type": kind})

        answer = asyncio.run(ask())
        service.engine.close()
        assert (answer.status_code, len(other.asked)) == (504, 1)

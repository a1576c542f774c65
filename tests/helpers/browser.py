"""A real browser for pages that the program writes. Needs chromium and chromedriver."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class Browser:
    """As much of the WebDriver protocol (https://www.w3.org/TR/webdriver2/) as a few clicks need."""

    def __init__(self, port: int, *, dark: bool = False, width: int | None = None) -> None:
        self._address = f"http://127.0.0.1:{port}"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        arguments += [f"--window-size={width},900"] if width else []
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": [*arguments, *(["--force-dark-mode"] if dark else [])]},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._session = f"/session/{session['sessionId']}"

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, path: Path) -> None:
        self.call("POST", f"{self._session}/url", {"url": path.as_uri()})

    def visit(self, address: str) -> None:
        self.call("POST", f"{self._session}/url", {"url": address})

    def wait_for(self, script: str, seconds: float = 20) -> Any:
        """Run a script until it returns something that is true."""
        deadline = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < deadline, script
            time.sleep(0.05)
        return found

    def screenshot(self) -> bytes:
        return base64.b64decode(self.call("GET", f"{self._session}/screenshot"))

    def run(self, script: str) -> Any:
        return self.call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def console(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("POST", f"{self._session}/se/log", {"type": "browser"})
        return found

    def quit(self) -> None:
        self.call("DELETE", self._session)

    def drop(self, *paths: Path) -> None:
        """Drop files and folders on the page, as if they came from a file manager."""
        transfer = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            parameters = {"type": kind, "x": 200, "y": 300, "data": transfer}
            body = {"cmd": "Input.dispatchDragEvent", "params": parameters}
            self.call("POST", f"{self._session}/goog/cdp/execute", body)

    def press(self, *keys: str) -> None:
        """Press keys one after the other, on whatever has the focus."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        body = {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
        self.call("POST", f"{self._session}/actions", body)


@contextmanager
def _driver() -> Iterator[int]:
    """Run chromedriver; yields its port."""
    program = shutil.which("chromedriver")
    assert program, "chromedriver is not installed"
    process = subprocess.Popen([program, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = next(line for line in process.stdout if "started successfully on port" in line)
        yield int(line.rstrip().rstrip(".").rpartition(" ")[2])
    finally:
        process.terminate()
        process.wait()


@contextmanager
def browsing(*, dark: bool = False, width: int | None = None) -> Iterator[Browser]:
    """Start a browser and its driver, and end them."""
    with _driver() as port:
        browser = Browser(port, dark=dark, width=width)
        try:
            yield browser
        finally:
            with suppress(OSError):
                browser.quit()

"""The program `clip`, started often at the price of one start: `warm.py serve SOCKET`, `warm.py run SOCKET ARGUMENTS`.

Most of a short run is spent on importing. A server imports the program once and forks for every `run`, which hands it
its arguments, environment, folder and streams, and ends with the status of the fork. What a test runs by this is the
program's own `main`; only its imports are old.
"""

import importlib
import json
import os
import signal
import socket
import sys

_LIMIT = 1 << 20
# What nearly every run needs, and what reads no variable of the environment when it is imported.
_IMPORTED_ONCE = ("PIL.Image", "numpy", "safetensors", "tokenizers", "clipcli.cli.app")


def run(path: str, arguments: list[str]) -> int:
    """Have the server run the program with this process's streams; returns its exit status."""
    request = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LIMIT)
        connection.connect(path)
        socket.send_fds(connection, [request], [0, 1, 2])
        return int(connection.recv(8))


def serve(path: str) -> None:
    """Take requests until killed."""
    import clipcli

    for module in _IMPORTED_ONCE:
        importlib.import_module(module)
    for name in clipcli.__all__:
        getattr(clipcli, name)

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who answer
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(path)
        server.listen()
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _answer(connection)
            connection.close()


def _answer(connection: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams, _, _ = socket.recv_fds(connection, _LIMIT, 3)
    worker = os.fork()
    if worker == 0:
        connection.close()
        _become(streams, *json.loads(request))
    for stream in streams:
        os.close(stream)
    connection.send(str(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])).encode())
    os._exit(0)


def _become(streams: list[int], arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["clip", *arguments]
    status = 0
    try:
        from clipcli.__main__ import main

        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, so that no import finds its files
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    sys.exit(run(sys.argv[2], sys.argv[3:]))

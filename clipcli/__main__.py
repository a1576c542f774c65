"""Entry point of the `clip` command.

The program is imported inside the guard, so that Ctrl-C during a slow import ends as quietly as later.
"""

# Only what the interpreter has imported already: Ctrl-C before `main` would be a traceback.
import os
import sys

CUT_SHORT = (
    "a compiled file of this program, or of a package that it needs, is cut short",
    "remove the folders called __pycache__ where they are installed, or install them again",
)
"""What Python's "marshal data too short" means, and what to do about it."""

_FAILED, _INTERRUPTED = 1, 130


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        import atexit
        import gc

        # Read when torch is first imported. A thread that waits for another then sleeps; by default it spins, and where
        # other programs want the cores too, the model becomes up to five times slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # On its way out Python looks for cycles among all that torch has made: a tenth of the time of a first answer.
        atexit.register(gc.freeze)
        from clipcli.cli.shell.completion import prepare
        from clipcli.cli.shell.interrupt import stop_like_interrupt

        stop_like_interrupt()

        prepare()
        from clipcli.cli.app import app

        app(prog_name="clip")
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("clip: interrupted\n")
        _leave_at_once(_INTERRUPTED)
    except EOFError as error:
        if "marshal" not in str(error) or sys.stderr is None:
            raise
        sys.stderr.write("clip: error: {}\n  hint: {}\n".format(*CUT_SHORT))
        _leave_at_once(_FAILED)
    except SystemExit as end:
        if end.code and isinstance(end.code, int):
            _leave_at_once(end.code)
        raise


def _leave_at_once(status: int) -> None:
    """End without waiting for threads, which may be seconds deep in images that nobody wants any more."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except OSError:  # whoever read it may be gone too
                pass
    os._exit(status)


if __name__ == "__main__":
    main()

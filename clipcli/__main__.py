"""Entry point of the `clip` command.

The program is imported inside the guard, so that Ctrl-C during a slow import ends as quietly as later.
"""

import os
import sys


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        from clipcli.cli.app import app

        app(prog_name="clip")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader has gone (`clip ... | head -1`). What is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()

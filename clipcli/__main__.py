"""Entry point of the `clip` command.

The program is imported inside the guard, so that Ctrl-C during a slow import ends as quietly as later.
"""

import sys


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        from clipcli.cli.completion import prepare

        prepare()
        from clipcli.cli.app import app

        app(prog_name="clip")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()

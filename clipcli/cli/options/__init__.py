"""Options that several commands share, spelled once.

Each group is a frozen dataclass whose fields are Typer options. A command takes the group as one parameter, and
`expand_options` shows Typer the fields in its place:

    @app.command()
    @expand_options
    def classify(inputs: InputOptions, output: OutputOptions) -> None: ...

Imports no room that needs numpy, PIL or torch: `clip --help` reads these modules.
"""

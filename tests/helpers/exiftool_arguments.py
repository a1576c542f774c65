"""Carries out an argument file as ExifTool would, as far as ours go: on lists in memory."""

Image = dict[str, list[str]]


def carry_out(text: str, images: dict[str, Image]) -> None:
    """Change the lists of the images that an argument file names."""
    *commands, rest = text.split("-execute\n")
    assert rest == "", "the last command is not ended"
    for command in commands:
        *assignments, path = command.splitlines()
        assert not path.startswith(("-", "#", " ")), path
        for assignment in assignments:
            name, value = assignment[1:].split("=", 1)
            operator, tag = name[-1], name[:-1]
            values = images[path].setdefault(tag, [])
            if operator == "-":
                values[:] = [there for there in values if there != value]
            else:
                assert operator == "+", "what others wrote would be replaced"
                values.append(value)

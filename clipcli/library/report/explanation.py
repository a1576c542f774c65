"""One page with the maps of all images, built as the page of thumbnails is (see `sheet`)."""

import base64
import io
import os
from html import escape

from clipcli.answers.maps import Explanation
from clipcli.library.report.page import link_to
from clipcli.library.report.panels import panels

_PANEL_PX = 280
_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 14px/1.45 system-ui, sans-serif; margin: 1rem; max-width: 1640px }}
section {{ border-top: 1px solid #8884; padding: .6rem 0;
  content-visibility: auto; contain-intrinsic-size: auto 480px }}
h1 {{ font-size: 1.2rem }}
h2 {{ font-size: 1rem; margin: .2rem 0; overflow-wrap: anywhere }}
p {{ max-width: 75ch; opacity: .8 }}
img {{ max-width: 100%; border-radius: 3px }}
.scroll {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ text-align: right; padding: 2px 16px 2px 0; font-weight: 400 }}
th:first-child, td:first-child {{ text-align: left }}
th {{ opacity: .7 }}
</style>
<h1>{title}</h1>
<p>{about}</p>
"""
_ABOUT = (
    "Each panel shows where an image looks like a label's text to the model {model}; all panels of an image share one "
    "color scale. It does not show why the image has its score. Every map has a hottest place, whether the label is in "
    "the image or not: the cosine of the whole image says that."
)
_NUMBERS = ("cosine", "x", "y", "left", "top", "right", "bottom")


def page_head(title: str, model: str) -> str:
    """The beginning of the page."""
    return _HEAD.format(title=escape(title), about=escape(_ABOUT.format(model=model)))


def page_entry(explanation: Explanation, folder: str, font: str | None = None) -> str:
    """One image.

    Args:
        explanation: Its maps, or why there are none.
        folder: Where the page will lie; its links are relative to it.
        font: As for `draw_maps`.
    """
    name = _text(explanation.path)
    if os.path.exists(explanation.path):  # not what came by standard input
        name = f'<a href="{escape(link_to(explanation.path, os.path.abspath(folder)))}">{name}</a>'
    heading = f"<h2>{name}</h2>\n"
    if explanation.error is not None:
        return f"<section>\n{heading}<p>{_text(explanation.error.message)}</p>\n</section>\n"
    data = io.BytesIO()
    sheet = panels(explanation, font=font, panel_px=_PANEL_PX)
    sheet.save(data, "JPEG", quality=82, optimize=True)
    uri = f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
    alt = f"maps of {', '.join(found.label for found in explanation.maps)}"
    shown = f'<img src="{uri}" width="{sheet.width}" height="{sheet.height}" loading="lazy" alt="{_text(alt)}">\n'
    return f"<section>\n{heading}{shown}{_table(explanation)}</section>\n"


def _table(explanation: Explanation) -> str:
    head = "".join(f"<th>{name}" for name in ("label", "cosine", "peak x", "y", "box left", "top", "right", "bottom"))
    rows = []
    for found in explanation.maps:
        numbers = [f"{found.cosine:.3f}", *(f"{getattr(found, name):.0f}" for name in _NUMBERS[1:])]
        rows.append(f"<tr><td>{_text(found.label)}" + "".join(f"<td>{number}" for number in numbers) + "\n")
    return f'<div class="scroll"><table>\n<tr>{head}\n{"".join(rows)}</table></div>\n'


def _text(value: str) -> str:
    """Text for the page; bytes that are not UTF-8 become escapes."""
    return escape(value.encode("utf-8", "backslashreplace").decode("utf-8"))

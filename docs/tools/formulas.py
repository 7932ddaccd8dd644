"""
MkDocs hook: a block of TeX (```math, which GitHub renders itself) becomes a drawing in the color of the text.

Matplotlib draws it, so nothing is loaded from another host; its subset of TeX suffices.
"""

import re
from html import escape
from typing import Any

from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath


BLOCK = re.compile(r"^```math\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
LETTERS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}
SIZE = 100  # of the font, in units of the drawing


def draw(found: re.Match[str]) -> str:
    """The formula as an SVG that is as large as the text around it."""
    tex = " ".join(found[1].split())
    outline = TextPath((0, 0), f"${tex}$", size=SIZE, prop=FontProperties(math_fontfamily="stix"))
    box = outline.get_extents()
    strokes = []
    for points, code in outline.iter_segments(simplify=False):
        strokes.append(LETTERS[code] + ("" if code == Path.CLOSEPOLY else " ".join(f"{x:.0f}" for x in points)))
    view = f"{box.x0:.0f} {-box.y1:.0f} {box.width:.0f} {box.height:.0f}"
    width = f"{1.2 * box.width / SIZE:.2f}em"
    return (
        f'<div class="formula"><svg viewBox="{view}" style="width: {width}" role="img" aria-label="{escape(tex)}">'
        f'<path transform="scale(1 -1)" d="{"".join(strokes)}"/></svg></div>'
    )


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Called by MkDocs for every page."""
    return BLOCK.sub(draw, markdown)

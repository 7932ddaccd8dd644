"""
MkDocs hook: a notebook becomes a page, with the output that is committed in it.

In: the notebooks among the documentation's files, and links to them. Out: a Markdown page beside each, with its
figures, and links to that page. Left out: running notebooks, which `tests/docs/test_tutorial.py` does.
"""

import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds page and figures of every notebook; the notebook itself can still be downloaded."""
    exporter = MarkdownExporter()
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        name = notebook.src_uri.removesuffix(".ipynb")
        resources = {"unique_key": name.rpartition("/")[2], "output_files_dir": "images"}
        text, resources = exporter.from_filename(notebook.abs_src_path, resources=resources)
        folder = name.rpartition("/")[0]
        for path, content in resources["outputs"].items():
            files.append(File.generated(config, f"{folder}/{path}".lstrip("/"), content=content))
        files.append(File.generated(config, f"{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """In the repository a link leads to the notebook, on the site to its page."""
    return re.sub(r"(\]\([^)\s:]*)\.ipynb\b", r"\1.md", markdown)

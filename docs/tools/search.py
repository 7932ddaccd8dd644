"""MkDocs hook: generated tables and reports of tests are not searched, since they would hide the pages that help."""

from typing import Any

from mkdocs.structure.pages import Page


def on_page_markdown(markdown: str, page: Page, **kwargs: Any) -> str:
    """Called by MkDocs for every page, before the search index reads its metadata."""
    if page.file.name in ("tables", "mutants", "settings", "crashes"):
        page.meta["search"] = {"exclude": True}
    return markdown

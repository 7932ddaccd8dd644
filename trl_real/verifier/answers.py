"""Finds the final answer in a completion, and decides what needs no computer algebra system."""

import math
import re
from typing import Any

from .normal import MAX_CHARS, normalize


MAX_DEPTH = 30

_BOX = re.compile(r"\\(?:boxed|fbox)(?:\s*\{|\s+(?P<bare>[^\s${}\\]+))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
# What joins two boxes into one answer: a comma, a semicolon or a word, with invisible signs around it
_GAP = r"(?:[\s$~&]|\\[()\[\],;:! ]|\\q?quad(?![a-zA-Z]))*"
_AND = r"(?:\\(?:text|mathrm|mbox)\s*\{\s*(?:and|or)\s*\}|(?:and|or)(?![a-zA-Z]))"
_JOINT = re.compile(rf"{_GAP}(?:[,;]{_GAP}(?:{_AND}{_GAP})?|{_AND}{_GAP})")
_INTEGER = re.compile(r"[+-]?[0-9]{1,100}")
_SUBSCRIPTED = re.compile(r".*_\s*\{?([0-9]+)\}?")
_BASED = re.compile(r"[+-]?[0-9A-F.]+_\s*\{?\s*([0-9]{1,3})\s*\}?")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd\ufffe\uffff]")
# Towers of four numbers >= 3, exponents and factorials too large to compute
_EXPLOSION = re.compile(
    r"(?:[3-9]|[0-9]{2,})(?:\s*\^[\s{(]*(?:[3-9]|[0-9]{2,})){3}"
    r"|(?:[2-9]|[0-9]{2,})[\s)}]*\^[\s{(]*[0-9]{7,}"
    r"|[0-9]{6,}[\s)}]*!"
    r"|[0-9]{2,}[\s)}]*!(?:[\s)}]*!)+"
)


def message_text(completion: str | list[dict[str, Any]]) -> str:
    """The text of a completion, plain or conversational (then: of its last message)."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return content or ""


def accepted_answers(answer: Any) -> tuple[str, ...]:
    """The accepted answers of one row as texts, from a text, a number, or a list or array of them."""
    if hasattr(answer, "tolist"):
        answer = answer.tolist()
    if isinstance(answer, (list, tuple)):
        return tuple(text for one in answer for text in accepted_answers(one))
    if answer is None or (isinstance(answer, float) and not math.isfinite(answer)):
        return ()
    if isinstance(answer, float) and answer.is_integer():  # 142.0 is 142
        answer = int(answer)
    text = str(answer).strip()
    return (text,) if text else ()


def last_box(text: str, adjacent: bool = False) -> str | None:
    r"""
    Content of the last `\boxed{...}`; `None` if there is no box, or the last one is empty or not closed.

    If `adjacent`, boxes separated only by a comma, a semicolon, "and" or "or" are one list, so that
    `\boxed{1}, \boxed{2}` is `1, 2`.
    """
    boxes = list(_BOX.finditer(text))
    content = _content(text, boxes[-1])[0] if boxes else None
    while adjacent and content and len(boxes) > 1:
        following = boxes.pop().start()
        another, end = _content(text, boxes[-1])
        if not another or not _JOINT.fullmatch(text, end, max(end, following)):  # max: nested boxes
            break
        content = f"{another}, {content}"
    return content


def _content(text: str, box: re.Match) -> tuple[str | None, int]:
    """The content of a box and its end; `None` if it is empty or not closed."""
    if box["bare"]:
        bare = box["bare"].rstrip(".,;:")
        return bare or None, box.start("bare") + len(bare)
    start, depth = box.end(), 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)  # 0: an escaped brace, as in a set
        if depth == 0:
            return text[start : brace.start()].strip() or None, brace.end()
    return None, len(text)


def strip_braces(answer: str) -> str:
    """The answer without enclosing braces, which the parser would read as a set."""
    if not answer.startswith("{") or len(answer) > MAX_CHARS:  # longer ones are no answer
        return answer
    opened, partner = [], {}
    for brace in _BRACE.finditer(answer):
        if brace[0] == "{":
            opened.append(brace.start())
        elif brace[0] == "}" and opened:
            partner[opened.pop()] = brace.start()
    start, end = 0, len(answer)
    while answer[start:end].startswith("{") and partner.get(start) == end - 1:
        start += 1 + len(answer[start + 1 : end - 1]) - len(answer[start + 1 : end - 1].lstrip())
        end = len(answer[: end - 1].rstrip())
    return answer[start:end]


def final_answer(text: str, require_think: bool = False, adjacent_boxes: bool = False) -> str | None:
    """Content of the last box after the first `</think>`; without that tag, of the text, unless it is required."""
    thought, tag, rest = text.partition("</think>")
    if not tag and require_think:
        return None
    answer = last_box(rest if tag else thought, adjacent_boxes)
    return answer and strip_braces(answer)


def is_readable(text: str) -> bool:
    """Whether a text can be an answer: not too long, not binary, and more than LaTeX commands."""
    return len(text) <= MAX_CHARS and not _UNPRINTABLE.search(text) and normalize(text).strip("{} ") != ""


def is_nonsense(answer: str) -> bool:
    """Whether an answer that differs from the accepted texts is surely wrong or would exhaust the verifier."""
    if not is_readable(answer) or _EXPLOSION.search(answer):
        return True
    depth = deepest = 0
    for sign in answer:
        depth += (sign in "{([") - (sign in "})]")
        deepest = max(deepest, depth)
    return deepest > MAX_DEPTH


def subscript(answer: str) -> str | None:
    """The subscript at the end of an answer: the base of its number, which math-verify ignores."""
    found = _SUBSCRIPTED.fullmatch(answer)
    return found and found[1]


def _in_base(text: str) -> bool:
    """Whether a text is a number in a base other than ten."""
    found = _BASED.fullmatch(normalize(text))
    return bool(found) and int(found[1]) != 10


def quick_verdict(golds: tuple[str, ...], answer: str | None) -> str | None:
    """`"right"`, `"wrong"` or `"no_gold"` if texts and integers decide it, `None` if the verifier has to."""
    if not golds:
        return "no_gold"
    integers = all(map(_INTEGER.fullmatch, golds))
    if answer is None:
        return "wrong" if integers else None
    if normalize(answer) in map(normalize, golds):
        return "right"
    if integers and is_nonsense(answer):
        return "wrong"
    if integers and _INTEGER.fullmatch(answer):
        return "right" if int(answer) in map(int, golds) else "wrong"
    if any(map(_in_base, golds)) < _in_base(answer):
        return "wrong"
    bases = [subscript(text) for text in (normalize(answer), *map(normalize, golds))]
    return "wrong" if None not in bases and bases[0] not in bases[1:] else None

"""Text made safe for a terminal and for a log line: what cannot be seen is spelled out.

A line feed, an escape sequence or a right-to-left mark inside a name or a path can forge a log
line or hide part of a message (case 95). Whatever Unicode does not call printable is written as
its escape, so text stays on one line and looks like what it is.
"""


def visible(text: str, limit_bytes: int | None = None) -> str:
    """``text`` with every character that is not printable escaped as in Python source.

    With ``limit_bytes`` the answer has at most that many bytes in UTF-8; what was cut is told at
    its end.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escaped(c) for c in text)
    if limit_bytes is None or len(text.encode()) <= limit_bytes:
        return text
    return _cut(text, limit_bytes)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _cut(text: str, limit_bytes: int) -> str:
    data = text.encode()
    mark = f"... [{len(data)} bytes]"
    kept = data[: max(0, limit_bytes - len(mark))].decode(errors="ignore")
    return (kept + mark)[:limit_bytes]

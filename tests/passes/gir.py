"""Files of cases: a head, then texts of graphs before and after what the file is about.

# case: a title
graph(...) { ... }
--->
graph(...) { ... }
"""

import re
from dataclasses import dataclass


@dataclass
class Case:
    stem: str
    title: str
    before: str
    after: str


def read(path):
    """The words at the head of a file, and its cases."""
    head, *parts = re.split(r"^# case: ", path.read_text(), flags=re.M)
    cases = []
    for part in parts:
        title, _, texts = part.partition("\n")
        before, arrow, after = texts.partition("\n--->\n")
        assert arrow, f"{path.name}: case {title!r} has no --->"
        cases.append(Case(path.stem, title.strip(), before.strip(), after.strip()))
    return head, cases


def write(path, head, cases):
    """Writes what `read` reads."""
    parts = (f"# case: {c.title}\n{c.before}\n--->\n{c.after}\n" for c in cases)
    path.write_text(head + "\n".join(parts))


def plain(text):
    """The text without places: those of new nodes are the lines that ran the pass."""
    return re.sub(r"\s+# \S+:\d+(?: \(backward\))?$", "", text, flags=re.M)

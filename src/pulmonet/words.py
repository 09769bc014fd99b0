"""Words that every part needs: counts, durations, near misses, and what an error says first."""

import ast
import difflib
import functools
import inspect
import sys
from collections.abc import Iterable
from itertools import pairwise

NOTICE = "Research and education only; not a medical device."


def count(number: int, one: str, many: str | None = None) -> str:
    """``1 image``, ``1,302 images``; `many` where an s is not all that changes."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def macro_auroc(n_scored: int, n_labels: int) -> str:
    """``macro AUROC``; ``macro AUROC of 4 of 5 labels`` where not all have both classes."""
    some = f" of {n_scored} of {count(n_labels, 'label')}" if n_scored < n_labels else ""
    return f"macro AUROC{some}"


def duration(seconds: float) -> str:
    """``75.4`` -> ``1 min 15 s``; ``4.2 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its kind where it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """A sentence part such as `` (did you mean 'resnet50'?)``, empty without a near miss."""
    meant = closest(word, options)
    return f" (did you mean '{meant}'?)" if meant else ""


def closest(word: str, options: Iterable[str]) -> str:
    """The option that is most like `word`, letter case aside; "" where none is."""
    by_lowercase = {option.lower(): option for option in options}
    found = difflib.get_close_matches(word.lower(), by_lowercase, n=1, cutoff=0.6)
    return by_lowercase[found[0]] if found else ""


def unknown(typed: str, word: str, options: Iterable[str], what: str = "unknown") -> str:
    """``--fit pod: unknown (did you mean 'pad'?); choose from stretch, pad, crop``."""
    return f"{typed}: {what}{did_you_mean(word, options)}; choose from {', '.join(options)}"


def list_first(items: Iterable[object], n_shown: int = 5) -> str:
    """The first few of many, e.g. ``a, b, c, d, e and 7 more``."""
    all_items = [str(item) for item in items]
    shown = ", ".join(all_items[:n_shown])
    rest = len(all_items) - n_shown
    return f"{shown} and {rest:,} more" if rest > 0 else shown


_parse = functools.cache(ast.parse)  # a file once, not for each of its classes


def strings_below(kind: type) -> dict[str, str]:
    """Field -> the string below it, of a class at the top of its file."""
    parts = _parse(inspect.getsource(sys.modules[kind.__module__])).body
    own = (one for one in parts if isinstance(one, ast.ClassDef) and one.name == kind.__name__)
    return {
        ast.unparse(field.target): inspect.cleandoc(ast.literal_eval(below.value))
        for field, below in pairwise(line for part in own for line in part.body)
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr)
    }

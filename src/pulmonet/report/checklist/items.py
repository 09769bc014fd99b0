"""TRIPOD+AI and CLAIM 2024: each item filled from the artifacts, by authors, or a TODO.

The items and their sources are in ``items.toml``, what authors are asked in ``author_notes.toml``.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pulmonet.errors import ConfigError
from pulmonet.files.read import read_text
from pulmonet.metrics.results import RunResult
from pulmonet.metrics.tables import Cell, Table
from pulmonet.report.collect import Collection, Context, RunArtifacts
from pulmonet.report.render.blocks import Section
from pulmonet.report.texts import fields, paragraphs
from pulmonet.report.wording import listing
from pulmonet.words import unknown

_HERE = Path(__file__).parent
#: Key of the file -> what is asked for.
NOTES: dict[str, str] = tomllib.loads((_HERE / "author_notes.toml").read_text("utf-8"))
MAX_BYTES = 1_000_000
#: Columns of subgroups that describe patients and radiographs, not where they come from.
_PEOPLE = {"sex", "age", "view"}


@dataclass(frozen=True)
class Item:
    """One item, numbered as in the published list: what it asks, and what answers it."""

    number: str
    asks: str
    fact: str = ""  # key of `find_facts`, empty where the artifacts cannot know
    notes: Sequence[str] = ()  # keys of the author notes; all of them are wanted


_LISTS = tomllib.loads((_HERE / "items.toml").read_text("utf-8"))
TRIPOD_AI, CLAIM_2024 = (
    tuple(Item(number, **item) for number, item in _LISTS[name].items())
    for name in ("tripod_ai", "claim_2024")
)


def read_author_notes(path: Path) -> dict[str, str]:
    """Notes by key; every value is text.

    Raises:
        ConfigError: no such file, no TOML, an unknown key (with the near miss), or no text.
    """
    where = f"--author-notes {path}"
    try:
        raw = tomllib.loads(read_text(path, MAX_BYTES))
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}; give a TOML file that exists") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid TOML ({error}); fix the file") from None
    notes = {}
    for key, value in raw.items():
        if key not in NOTES:
            raise ConfigError(unknown(where, key, NOTES, f"unknown key '{key}'"))
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {key} = {value!r}: not text; put it in quotes")
        if value.strip():
            notes[key] = value.strip()
    return notes


def checklist_section(context: Context) -> Section:
    """Both lists, one row an item, and the notes that are wanted."""
    facts = find_facts(context.collection)
    lists = (("tripod-ai", "TRIPOD+AI", TRIPOD_AI), ("claim", "CLAIM 2024", CLAIM_2024))
    notes = (_wanted(item, facts, context) for *_, items in lists for item in items)
    wanted = list(dict.fromkeys(note for some in notes for note in some))
    children = tuple(_one_list(context, facts, *one) for one in lists)
    words = paragraphs("checklists", wanted=wanted)
    return Section("checklists", "Reporting checklists", tuple(words), children)


def _one_list(
    context: Context, facts: Mapping[str, str], key: str, title: str, items: tuple[Item, ...]
) -> Section:
    answers = [answer(item, facts, context) for item in items]
    n_open = sum(found[1].kind == "todo" for found in answers)
    rows = tuple(
        (Cell(item.number), Cell(item.asks), *found)
        for item, found in zip(items, answers, strict=True)
    )
    columns = ("Item", "Asks for", "In this report", "By the authors")
    table = Table(f"{title} items", columns, rows, key="items")
    title = f"{title}: {len(items) - n_open} of {len(items)} items are answered"
    return Section(key, title, (table,), folded=True, beside=True)


def answer(item: Item, facts: Mapping[str, str], context: Context) -> tuple[Cell, Cell]:
    """(from the artifacts, from the authors); what is wanted and missing is a TODO."""
    first = Cell(facts[item.fact] if item.fact else "")
    words = [context.notes[one] for one in item.notes or [item.fact] if one in context.notes]
    wanted = _wanted(item, facts, context)
    asked = [f"author note {note}: {NOTES[note]}" for note in wanted]
    return first, Cell("; ".join([*words, *asked]), kind="todo" if wanted else "")


def _wanted(item: Item, facts: Mapping[str, str], context: Context) -> list[str]:
    """Keys of the notes that the item waits for: that of its fact where it names no others."""
    asked = item.notes or ([] if facts[item.fact] else [item.fact])
    return [note for note in asked if note not in context.notes]


def find_facts(collection: Collection) -> dict[str, str]:
    """Answers from the runs of `collection`, a sentence each; items ask by these keys."""
    known, best, runs = collection.datasets, collection.best_run(), collection.runs
    results, inside = collection.results, {facts.name for facts in known}
    of_runs = [result for run in runs for result in run.results]
    return fields(
        "checklist",
        runs=runs,
        others=collection.others,
        best=best,
        config=best.config,
        parts=[run.config.data for run in runs],
        known=known,
        n_excluded=max((sum(facts.excluded.values()) for facts in known), default=0),
        seeds=_seeds(runs),
        results=results,
        labels=[label for result in results for label in result.labels.values()],
        main=collection.headline(best),
        internal=_tested(one for one in of_runs if not one.is_external(inside)),
        external=_tested(one for one in of_runs if one.is_external(inside)),
        clusters=sorted({one.column for result in results for one in result.subgroups} - _PEOPLE),
    )


def _seeds(runs: tuple[RunArtifacts, ...]) -> list[list[str]]:
    """Names of runs that differ in nothing but the seed."""
    recipes: dict[str, dict[int, str]] = {}
    for run in runs:
        alike = run.config.model_dump(mode="json", exclude={"seed", "runtime"})
        recipes.setdefault(str(alike), {})[run.config.seed] = run.name
    return [list(names.values()) for names in recipes.values() if len(names) > 1]


def _tested(results: Iterable[RunResult]) -> list[str]:
    """Datasets and splits, and what their rows had decided before."""
    names = set()
    for result in results:
        used = listing(result.rows_used_for)
        words = f"rows used for {used}" if used else "unused"
        names.add(f"{result.dataset}, {result.split} ({words})")
    return sorted(names)

"""How hypothesis draws the steps of `sequences`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sequences import DELETED, LINKED, PLANTED, RENAMED, RUNS, SIGNALS, Step, World

#: Most commands are let be; one in four is ended at its n-th write.
KILLS = st.one_of(
    st.none(),
    st.none(),
    st.none(),
    st.tuples(st.sampled_from(sorted(SIGNALS)), st.integers(1, 24)).map(list),
)
NAMES = st.sampled_from(RUNS)
PAIRS = st.permutations(RUNS).map(lambda names: list(names[:2]))


def step(do: str, **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.fixed_dictionaries({"do": st.just(do), **parts})


PREPARE = step(
    "prepare",
    data=st.sampled_from(["tiny", "other"]),
    out=st.sampled_from([None, "artifacts", "mine"]),
)
TRAIN = step(
    "train",
    run=NAMES,
    mode=st.sampled_from(["new", "resume", "resume", "overwrite"]),
    epochs=st.integers(1, 2),
    seed=st.sampled_from([0, 0, 1]),
    keep=st.sampled_from([True, True, False]),
)
EVALUATE = step(
    "evaluate",
    runs=st.sampled_from([[], ["a"], ["b"], ["c"], ["a", "b"], ["b", "c"]]),
    split=st.sampled_from(["valid", "valid", "train"]),
    how=st.sampled_from([*["plain"] * 6, *["ensemble"] * 2, *["flip"] * 2, "other", "figures"]),
)
EXPLAIN = step(
    "explain",
    run=st.sampled_from(["a", "b", None]),
    what=st.sampled_from(["first", "first", "rows", "rows", "image", "sanity"]),
)
REPORT = step("report", out=st.sampled_from([None, None, "mine"]), html=st.booleans())
COMMANDS = st.one_of(PREPARE, TRAIN, EVALUATE, EXPLAIN, REPORT)
ACCIDENTS = st.one_of(
    step("plant", place=st.sampled_from(PLANTED)),
    step("link", place=st.sampled_from(LINKED)),
    step("delete", place=st.sampled_from(DELETED)),
    step("delete", place=st.sampled_from(DELETED)),
    step("rename", places=st.sampled_from(RENAMED).map(list)),
    step("copy", runs=PAIRS),
    step("put", runs=PAIRS, all=st.booleans()),
    step("change", table=st.sampled_from(["train", "valid"])),
)


def with_kill(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    return st.tuples(steps, KILLS).map(lambda pair: pair[0] | {"kill": pair[1]})


#: One rule for all: with one a verb, hypothesis leaves some out of a sequence.
ANY = st.sampled_from(
    [
        *(with_kill(TRAIN), with_kill(TRAIN), with_kill(TRAIN), with_kill(EVALUATE)),
        *(with_kill(EVALUATE), with_kill(EXPLAIN), with_kill(REPORT), with_kill(REPORT)),
        *(with_kill(PREPARE), step("together", first=COMMANDS, second=COMMANDS)),
        *([ACCIDENTS] * 6),
    ]
).flatmap(lambda one: one)


def machine_of(
    world: World, report: Callable[[list[Step], bool, list[str]], None]
) -> type[RuleBasedStateMachine]:
    """A machine whose sequences take place in `world`; `report` hears of each that fails."""

    class Sequences(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.steps: list[Step] = []
            self.trained = self.is_over = False

        @initialize(trained=st.booleans())
        def begin(self, trained: bool) -> None:
            self.trained = trained
            world.begin(trained=trained)

        def take(self, one: Step) -> None:
            if self.is_over:
                return
            self.steps.append(one)
            if problems := world.do(one):
                self.is_over = True
                report(self.steps, self.trained, problems)

        @rule(one=ANY)
        def step(self, one: Step) -> None:
            self.take(one)

    return Sequences


def in_words(steps: list[Step], trained: bool, problems: list[str]) -> str:
    """A failing sequence, as it can be put into kept_sequences.json."""
    kept = json.dumps({"trained": trained, "steps": steps})
    return "\n".join([*problems, f"keep it in kept_sequences.json: {kept}"])

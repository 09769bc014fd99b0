"""Made-up patients: who they are, what they have from study to study, how a report says it.

Everything about patient number k is a function of (seed, k).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from pulmonet.data.phantoms.anatomy import ANATOMY, DEVICES, Body, Exposure, Film, Pose
from pulmonet.data.phantoms.findings import LOBES, PLATES, Finding
from pulmonet.labels import CHEXPERT_LABELS, DEFAULT_LABELS

#: Every fifth patient goes to validation, so that a set and a larger one agree on who is where.
VALID_EVERY = 5

#: Lung Opacity is CheXpert's parent of these.
OPACITIES = ("Edema", "Consolidation", "Atelectasis")

#: Observations that are never drawn.
NEVER_DRAWN = ("Lung Lesion", "Pneumothorax", "Pleural Other", "Fracture")

#: Where a finding may lie.
PLACES = {"Consolidation": tuple(LOBES), "Atelectasis": tuple(PLATES)}
PLACES["Pleural Effusion"] = ("right", "left")

#: Film sizes of CheXpert-small, (height, width).
LANDSCAPE, PORTRAIT = (320, 390), (390, 320)


@dataclass(frozen=True)
class Study:
    """One visit: findings, the films taken and the labels given."""

    number: int  # from 1
    age_years: int
    findings: tuple[Finding, ...]  # what is drawn
    films: tuple[Film, ...]  # front view first, then perhaps a lateral one
    labels: dict[str, int | None]  # as a report was read: 1, 0, -1 or blank for CheXpert's 14
    truth: dict[str, int]  # 1 or 0 for CheXpert's 14


@dataclass(frozen=True)
class Patient:
    """One made-up patient."""

    number: int
    split: str
    sex: str
    studies: tuple[Study, ...]


def imagine_patient(seed: int, number: int) -> Patient:
    """Patient `number` (from 1) of the set with `seed`."""
    rng = np.random.default_rng([seed, number])
    split = "valid" if number % VALID_EVERY == 2 else "train"
    sex = "Male" if rng.random() < 0.55 else "Female"
    age = int(_normal(rng, 60, 16, 19, 90))
    body = Body(
        breadth=_normal(rng, 1.0 if sex == "Male" else 0.98, 0.035, 0.9, 1.1),
        tissue=_normal(rng, 1.0, 0.1, 0.8, 1.3),
        heart_ratio=_normal(rng, 0.43 + 0.0005 * (age - 60), 0.022, 0.37, 0.485),
        aorta=_normal(rng, 0.07 + 0.0008 * (age - 60), 0.015, 0.03, 0.13),
        bone=_normal(rng, 1.05 - 0.004 * (age - 60), 0.12, 0.6, 1.4),
        breasts=float(rng.uniform(0.4, 1.0)) if sex == "Female" else 0.0,
        dome_gap=float(rng.uniform(0.01, 0.06)),
        rib_slope=float(rng.uniform(0.8, 1.2)),
        tree_seed=int(rng.integers(1 << 31)),
    )
    studies = []
    for index, findings in enumerate(_course(rng, age, number)):
        films = _plan_films(rng, body, findings)
        truth = _truth(findings, any(film.devices for film in films))
        labels: dict[str, int | None] = dict(truth)
        if split == "train":
            labels = _report_labels(rng, truth, findings)
        study_age = min(age + index // 2, 90)
        studies.append(Study(index + 1, study_age, findings, films, labels, truth))
    return Patient(number, split, sex, tuple(studies))


def _normal(rng: Generator, mean: float, sd: float, low: float, high: float) -> float:
    return float(np.clip(rng.normal(mean, sd), low, high))


def _new_finding(rng: Generator, label: str, severity: float | None = None) -> Finding:
    weights = (0.33, 0.33, 0.17, 0.17) if label == "Atelectasis" else None
    place = str(rng.choice(np.array(PLACES.get(label, ("",))), p=weights))
    if severity is None:
        severity = float(np.round(rng.beta(1.7, 1.15), 3))
    return Finding(label, severity, place, int(rng.integers(1 << 31)))


def _first_findings(rng: Generator, age: int) -> list[Finding]:
    """Findings that come together as in CheXpert: heart failure, or infection and its company."""
    has: set[str] = set()
    for label, (alone, causes) in ANATOMY["company"].items():
        chance = next((causes[cause] for cause in causes if cause in has), alone)
        if rng.random() < chance + 0.003 * (age - 60):
            has.add(label)
    findings = [_new_finding(rng, label) for label in DEFAULT_LABELS if label in has]
    effusions = [f for f in findings if f.label == "Pleural Effusion"]
    if effusions and rng.random() < (0.55 if "Edema" in has else 0.2):
        other = "left" if effusions[0].side < 0 else "right"
        findings.append(replace(_new_finding(rng, "Pleural Effusion"), place=other))
    return findings


def _next_findings(rng: Generator, age: int, before: Sequence[Finding]) -> list[Finding]:
    """A later study: most findings go on, better or worse; some heal, some are new."""
    kept = []
    for finding in before:
        if rng.random() < (0.92 if finding.label == "Cardiomegaly" else 0.66):
            change = rng.normal(0, 0.08 if finding.label == "Cardiomegaly" else 0.22)
            severity = float(np.round(np.clip(finding.severity + change, 0.03, 1), 3))
            kept.append(replace(finding, severity=severity))
    present = {finding.label for finding in kept}
    arriving = _first_findings(rng, age)
    return kept + [f for f in arriving if f.label not in present and rng.random() < 0.4]


def _course(rng: Generator, age: int, number: int) -> list[tuple[Finding, ...]]:
    n_studies = int(rng.choice([1, 2, 3, 4], p=[0.42, 0.32, 0.17, 0.09]))
    courses = [_first_findings(rng, age)]
    while len(courses) < n_studies:
        courses.append(_next_findings(rng, age, courses[-1]))
    if number <= 2:  # the first patient of each split makes both classes of all five present:
        # a clear chest, then heart failure, then pneumonia with a collapsed segment
        failure = ("Cardiomegaly", "Edema", "Pleural Effusion")
        textbook = ((), failure, ("Atelectasis", "Consolidation"))
        courses = [[_new_finding(rng, label, 0.7) for label in labels] for labels in textbook]
    return [tuple(findings) for findings in courses]


def _plan_films(rng: Generator, body: Body, findings: Sequence[Finding]) -> tuple[Film, ...]:
    ill = len({finding.label for finding in findings})
    portable = rng.random() < min(0.45 + 0.1 * ill, 0.85)
    films = [_plan_film(rng, body, "AP" if portable else "PA", ill)]
    if rng.random() < (0.05 if portable else 0.35):
        films.append(_plan_film(rng, body, "LATERAL", ill))
    return tuple(films)


def _plan_film(rng: Generator, body: Body, projection: str, ill: int) -> Film:
    portable = projection == "AP"
    chance = 0.12 + 0.05 * ill if portable else 0.04
    devices = tuple(device for device in DEVICES if rng.random() < chance)
    pose = Pose(
        projection=projection,
        inspiration=_normal(rng, 0.92 if portable else 0.98, 0.04, 0.82, 1.05),
        turn=_normal(rng, 0, 0.55 if portable else 0.25, -1.2, 1.2),
        heart_ratio=body.heart_ratio * (1.07 if portable else 1.0),
    )
    upright = 0.9 if projection == "LATERAL" else 0.3 if portable else 0.45
    height, width = PORTRAIT if rng.random() < upright else LANDSCAPE
    exposure = Exposure(
        low=float(rng.uniform(0.0, 0.05)),
        high=float(rng.uniform(0.9, 1.15)),
        gamma=float(rng.uniform(0.9, 1.4)),
        grain=float(rng.uniform(2, 5.5)),
        haze=float(rng.uniform(0.05, 0.35) if portable else rng.uniform(0.0, 0.15)),
        collimated=bool(rng.random() < 0.3),
        marker_left=bool(rng.random() < 0.65),
        seed=int(rng.integers(1 << 31)),
    )
    # affine from body coordinates to pixels: scale, tilt and where the patient stands
    landscape = width > height
    across = width / (2.8 if landscape else 2.45) * body.breadth * rng.uniform(0.93, 1.1)
    down = across * (1.33 if landscape else 1.4) / body.breadth
    tilt = rng.normal(0, 0.035 if portable else 0.015)
    cosine, sine = np.cos(tilt), np.sin(tilt)
    linear = np.array([[across * cosine, -down * sine], [across * sine, down * cosine]])
    centre = np.array([0.5, 0.5]) + rng.normal(0, 0.02, 2)
    offset = centre * (width, height) - linear @ np.array([0.0, 0.58])
    return Film(height, width, np.column_stack([linear, offset]), body, pose, exposure, devices)


def severities(findings: Sequence[Finding]) -> dict[str, float]:
    """The worst of each of the five labels' findings, 0 = absent."""
    severity = dict.fromkeys(DEFAULT_LABELS, 0.0)
    for finding in findings:
        severity[finding.label] = max(severity[finding.label], finding.severity)
    return severity


def _truth(findings: Sequence[Finding], has_devices: bool) -> dict[str, int]:
    present = {finding.label for finding in findings}
    parents = {
        "Lung Opacity": not present.isdisjoint(OPACITIES),
        "Enlarged Cardiomediastinum": severities(findings)["Cardiomegaly"] > 0.6,
        # six in ten consolidations are, and stay so from study to study
        "Pneumonia": any(f.label == "Consolidation" and f.seed % 10 < 6 for f in findings),
        "Support Devices": has_devices,
        "No Finding": not present,
    }
    return {label: int(parents.get(label, label in present)) for label in CHEXPERT_LABELS}


def _report_labels(
    rng: Generator, truth: dict[str, int], findings: Sequence[Finding]
) -> dict[str, int | None]:
    """Labels as mined from a report: mild findings hedged or missed, most negatives unmentioned."""
    labels: dict[str, int | None] = dict.fromkeys(CHEXPERT_LABELS)
    for label, severity in severities(findings).items():
        if truth[label]:
            unsure = 0.32 * (1 - severity) ** 1.5 + 0.03
            labels[label] = _pick(rng, {-1: unsure, None: 0.08 * (1 - severity) ** 2}, 1)
        else:
            labels[label] = _pick(rng, {0: 0.25, -1: 0.03}, None)
    for label in ("Lung Opacity", "Support Devices"):
        labels[label] = _pick(rng, {None: 0.12}, 1) if truth[label] else _pick(rng, {0: 0.1}, None)
    if truth["Enlarged Cardiomediastinum"]:
        labels["Enlarged Cardiomediastinum"] = _pick(rng, {1: 0.4, -1: 0.3}, None)
    if truth["Consolidation"]:
        sure = 0.5 if truth["Pneumonia"] else 0.1
        labels["Pneumonia"] = _pick(rng, {1: sure, -1: 0.4}, None)
    for label in NEVER_DRAWN:
        labels[label] = _pick(rng, {0: 0.35 if label == "Pneumothorax" else 0.05}, None)
    mentioned = {label for label, value in labels.items() if value in (1, -1)}
    labels["No Finding"] = None if mentioned - {"Support Devices"} else 1
    return labels


def _pick(rng: Generator, chances: dict[int | None, float], otherwise: int | None) -> int | None:
    """One of the keys with its chance, else `otherwise`."""
    draw = rng.random()
    for value, chance in chances.items():
        if draw < chance:
            return value
        draw -= chance
    return otherwise

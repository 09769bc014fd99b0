"""What only the authors know: intended use, ethics, funding and so on, from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pulmonet.errors import ConfigError
from pulmonet.files.read import read_text
from pulmonet.words import did_you_mean

#: Key of the file -> what is asked for.
NOTES: dict[str, str] = {
    "title": "the report's title",
    "authors": "names and affiliations",
    "contact": "how readers reach the authors",
    "abstract": "structured summary of the study",
    "background": "the clinical question, and existing models",
    "intended_use": "purpose, place in care, users and population",
    "out_of_scope": "uses that the model is not meant for",
    "health_inequalities": "known inequalities between groups of patients",
    "hypotheses": "aims, and hypotheses fixed beforehand",
    "study_design": "prospective or retrospective, with dates of data collection",
    "representativeness": "why these data, and how far they represent the patients meant",
    "setting": "hospitals, countries, kind of care",
    "eligibility": "inclusion and exclusion criteria",
    "treatments": "treatments received, where they matter",
    "acquisition": "devices and protocol of image acquisition",
    "deidentification": "how the data were de-identified",
    "reference_standard": "how each finding was established, and why that way",
    "annotators": "who set the reference standard, their training, their agreement",
    "tuning": "which settings were tried, and on which rows they were chosen",
    "sample_size": "how the size of the study was chosen",
    "fairness": "how fairness was sought, and why that way",
    "ethics": "ethics approval and consent",
    "funding": "sources of money and the funders' role",
    "conflicts": "conflicts of interest",
    "protocol": "where the protocol is, or that there is none",
    "registration": "register and number, or that there is none",
    "data_sharing": "where the data can be had",
    "code_sharing": "where code and weights can be had",
    "patient_involvement": "patients and the public in the study, or that there were none",
    "interpretation": "what the results mean beside earlier studies",
    "limitations": "limitations that the artifacts cannot show",
    "implications": "meaning for practice, and what users need to know",
    "future_work": "what comes next",
    "license": "licence of the model's weights",
}
MAX_BYTES = 1_000_000


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
        raise ConfigError(f"{where}: not valid TOML ({error}); mend the file") from None
    return _check(raw, where)


def _check(raw: Mapping[str, object], where: str) -> dict[str, str]:
    notes = {}
    for key, value in raw.items():
        if key not in NOTES:
            raise ConfigError(
                f"{where}: unknown key '{key}'{did_you_mean(key, NOTES)}; keys: {', '.join(NOTES)}"
            )
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {key} = {value!r}: not text; put it in quotes")
        if value.strip():
            notes[key] = value.strip()
    return notes

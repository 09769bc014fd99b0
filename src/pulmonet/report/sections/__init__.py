"""The report's sections, each from the collected artifacts alone."""

from pulmonet import __version__
from pulmonet.report.checklist.items import checklist_section
from pulmonet.report.collect import Context
from pulmonet.report.render.blocks import Document, Section
from pulmonet.report.sections.data import data_section
from pulmonet.report.sections.explanations import explanations_section
from pulmonet.report.sections.limitations import limitations_section
from pulmonet.report.sections.reproduce import reproduce_section
from pulmonet.report.sections.results import results_section
from pulmonet.report.sections.summary import headline_tiles, summary_section
from pulmonet.report.sections.training import training_section


def build_document(context: Context) -> Document:
    """The report as blocks, ready for a renderer."""
    sections: tuple[Section, ...] = (
        summary_section(context),
        data_section(context),
        training_section(context),
        results_section(context),
        explanations_section(context),
        limitations_section(context),
        reproduce_section(context),
        checklist_section(context),
    )
    n_runs = len(context.collection.trained)
    return Document(
        title=context.notes.get("title") or "Chest X-ray classification with PulmoNet",
        subtitle="One trained model" if n_runs == 1 else f"{n_runs} trained models",
        written=context.written,
        version=__version__,
        synthetic=context.collection.synthetic,
        sections=sections,
        tiles=headline_tiles(context),
    )

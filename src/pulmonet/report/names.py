"""Names of the configuration, and of pictures, as a report has them: ``names.toml``."""

import tomllib
from pathlib import Path

_FILE = Path(__file__).with_suffix(".toml")
_NAMES: dict[str, dict[str, str]] = tomllib.loads(_FILE.read_text("utf-8"))
MODEL_NAMES, FITTED, COUNTED = (_NAMES[one] for one in ("model_names", "fitted", "counted"))
VIEWS, ROLES, FIGURES, CROPS = (_NAMES[one] for one in ("views", "roles", "figures", "crops"))
PIXELS = _NAMES["pixels"]

"""The checkpoint serves people who do not have PulmoNet: the lines of the docs, run without it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np

import forked
from pulmonet.cli.main import main
from run_factory import make_run

DOCS = Path(__file__).resolve().parents[2] / "docs" / "python-api.md"
WITHOUT_PULMONET = """
import sys
for name in [name for name in sys.modules if name.split(".")[0] == "pulmonet"]:
    del sys.modules[name]
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pulmonet":
            raise ImportError("pulmonet is not here")
sys.meta_path.insert(0, Refuse())
"""


def test_documented_lines_give_the_scores_of_explain(tmp_path: Path, shared_data: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    block = next(text for text in blocks if "torchvision.models.densenet121" in text)
    run_dir = make_run(tmp_path / "artifacts", model="densenet121", image_size=224)
    image = sorted((shared_data / "samples-1024").glob("*.jpg"))[0]
    shutil.copy(image, tmp_path / "image.jpg")
    script = WITHOUT_PULMONET + block + "\nprint(scores.tolist()[0])"
    done = forked.run(folder=tmp_path, code=script)
    assert done.returncode == 0, done.stderr
    arguments = [str(tmp_path / "image.jpg"), "--run", str(run_dir.path)]
    assert main(["explain", *arguments, "--out-dir", str(tmp_path / "out")]) == 0
    maps = np.load(tmp_path / "out" / "image" / "maps.npz", allow_pickle=False)
    np.testing.assert_allclose(maps["scores"], json.loads(done.stdout), atol=1e-5)

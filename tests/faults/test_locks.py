"""A run folder's lock between real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pulmonet.run.folder import RunDir

TRY = (
    "import sys; from pathlib import Path; from pulmonet.run.folder import RunDir\n"
    "with RunDir(Path(sys.argv[1])).lock(): print('got it')"
)


def try_to_lock(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", TRY, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_who_comes_too_late_does_not_take_the_lock_file_away(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    with run_dir.lock():
        for _ in range(2):  # the second would succeed if the first had removed the file
            late = try_to_lock(run_dir.path)
            assert late.returncode == 1
            assert "in use by another process" in late.stderr
            assert (run_dir.path / ".lock").exists()
    assert not run_dir.path.exists()
    assert try_to_lock(run_dir.path).stdout == "got it\n"

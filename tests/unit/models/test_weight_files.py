"""Checkpoint files: what is read without unpickling, what is refused, within which memory."""

from __future__ import annotations

import argparse
import collections
import datetime
import os
import pickle
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

import forked
import published_factory
from hostile_files import write_checkpoints
from pulmonet.errors import ArtifactError
from pulmonet.files.read import mistaken_for
from pulmonet.models.weight_files import SLACK_BYTES, read_tensors

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


def save(content: Any, path: Path, **how: Any) -> Path:
    torch.save(content, path, **how)
    return path


class Config(dict[str, int]):
    """A dictionary of somebody's training script."""


Config.__module__, sys.modules["__main__"].Config = "__main__", Config  # type: ignore[attr-defined]


@pytest.mark.parametrize("new_format", [True, False])
def test_objects_that_only_hold_data_do_not_end_it(tmp_path: Path, new_format: bool) -> None:
    content = {
        "best": np.float64(0.87),
        "curve": np.arange(5),
        "epoch": np.int64(3),
        "args": argparse.Namespace(lr=1e-3, out=Path("out")),
        "when": datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC),
        "counts": collections.defaultdict(int, {"x": 1}),
        "milestones": collections.Counter([3, 3, 5]),
        "config": Config(a=1),
        "window": collections.deque([1.0, 2.0], 5),
        "torch": torch.torch_version.TorchVersion("2.6"),
        "state_dict": STATE,
    }
    path = save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=new_format)
    tensors = read_tensors(path)
    assert list(tensors) == ["state_dict.a.weight", "state_dict.a.bias"]
    assert torch.equal(tensors["state_dict.a.weight"], STATE["a.weight"])


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, ("touch pickle_was_executed",))


class _Opener:
    def __reduce__(self) -> tuple[object, tuple[Any, ...]]:
        return (eval, ("__import__('pathlib').Path('pickle_was_executed').touch()",))


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize(
    ("bomb", "named"), [(_Bomb(), "posix.system"), (_Opener(), "builtins.eval")]
)
def test_what_runs_something_is_named_and_never_run(
    bomb: object, named: str, new_format: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"epoch": np.int64(3), "state_dict": STATE, "args": bomb}
    path = save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=new_format)
    with pytest.raises(ArtifactError, match=f"asks for {named} to be run.*do not use this file"):
        read_tensors(path)
    assert not Path("pickle_was_executed").exists()


def test_a_pickled_module_is_named_with_the_line_that_makes_a_plain_file(tmp_path: Path) -> None:
    path = save(torch.nn.Linear(3, 2), tmp_path / "whole.pt")
    line = r'torch.load\("whole.pt", weights_only=False\).state_dict\(\), "plain.pth"'
    with pytest.raises(ArtifactError, match=rf"needs torch\.nn\.modules\.linear\.Linear.*{line}"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\0" * 4096, "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 28404113\n", "LFS"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
        (b"garbage", "not a file of torch.save"),
        (pickle.dumps({"a": 1}, protocol=4), "a newer pickle_protocol"),
        (b"PK\x03\x04broken", "not a zip file"),
        (b"PK\x05\x06" + bytes(18), "or damaged"),
    ],
)
def test_files_that_are_none_are_called_what_they_are(
    content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"weights\.pth: not readable as plain .*{said}"):
        read_tensors(path)
    assert mistaken_for(b"\x89PNG") == ""


def test_programs_and_other_protocols_are_named(tmp_path: Path) -> None:
    path = save(STATE, tmp_path / "x.pth", pickle_protocol=4)
    with pytest.raises(ArtifactError, match="a newer pickle_protocol"):
        read_tensors(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/constants.pkl", b"\x80\x02).")
    with pytest.raises(ArtifactError, match=r'a TorchScript.*torch.jit.load\("x.pth"\)'):
        read_tensors(path)


def test_an_archive_of_an_unknown_version_is_damaged(tmp_path: Path) -> None:
    path = save(STATE, tmp_path / "x.pth")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 255
    path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=r"zip file version 25\.5"):
        read_tensors(path)


def test_one_wrong_bit_is_noticed(tmp_path: Path) -> None:
    path = save({"w": torch.ones(1000)}, tmp_path / "x.pth")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="CRC-32"):
        read_tensors(path)


def test_a_panic_of_safetensors_is_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyo3's exception for a panic in Rust is no `Exception`."""
    panic = type("PanicException", (BaseException,), {})

    def panics(_: Path) -> None:
        raise panic("index out of bounds")

    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "w.safetensors"
    safetensors.save_file(STATE, path)
    monkeypatch.setattr(safetensors, "load_file", panics)
    with pytest.raises(ArtifactError, match=r"w.safetensors: .*index out of bounds"):
        read_tensors(path)


# --- memory --------------------------------------------------------------------------------------


_MEASURE = """
import sys
from pathlib import Path
from pulmonet.errors import ArtifactError
from pulmonet.files.system import peak_memory_bytes
from pulmonet.models.weight_files import read_tensors
before = peak_memory_bytes()
for path in map(Path, sys.argv[1:]):
    try:
        print(path.name, "READ", sorted(read_tensors(path)))
    except ArtifactError as error:
        print(error)
print(peak_memory_bytes() - before)
"""


def test_no_file_takes_more_than_its_size_and_the_stated_bound(tmp_path: Path) -> None:
    """In a process of its own, whose peak is measured."""
    pytest.importorskip("resource")
    paths = write_checkpoints(tmp_path)
    done = forked.run(*map(str, paths), code=_MEASURE)
    assert done.returncode == 0, done.stderr
    *said, grown = done.stdout.splitlines()
    assert len(said) == len(paths)
    assert "compressed, which torch.save never does" in said[0]
    for line in said[1:3]:
        assert "asks for more memory than its" in line
    assert "holds no weights" in said[3]  # a blank in the place of numpy's dtype
    assert "asks for more memory than its" in said[4]
    assert "holds no weights" in said[5]  # nested too deep
    assert "not readable as plain weights" in said[6]
    assert float(grown) < SLACK_BYTES + (64 << 20)


# --- whole networks of torchxrayvision: read by a reader of their own, nothing is run ------


def network_with(content: Any, path: Path, *, new_format: bool, kinds: Sequence[type] = ()) -> Path:
    """A file of the package's DenseNet that has something else in it, too."""
    network = published_factory.make()
    network.extra = content
    with published_factory.package(*kinds):
        return published_factory.save(network, path, new_format=new_format)


class _Stranger:
    pass


@pytest.mark.parametrize("new_format", [True, False])
def test_a_whole_network_has_the_tensors_of_its_state(new_format: bool, tmp_path: Path) -> None:
    network = published_factory.make()
    network.register_buffer("op_threshs", torch.arange(18) / 20)
    network.shared = network.features.norm5
    network.thin = torch.nn.Parameter(torch.ones(3, 4, dtype=torch.bfloat16)[:, ::2])
    network.means = {"pathologies": np.arange(3), "best": np.float64(0.8), "seen": {1, 2}}
    path = tmp_path / "x.pt"
    with published_factory.package():
        published_factory.save({"model": [network]}, path, new_format=new_format)
    found, expected = read_tensors(path), network.state_dict()
    del found["model.0.thin"], expected["thin"]  # by its own values below
    for key, tensor in expected.items():
        other = key.replace("shared.", "features.norm5.")  # each module once
        assert torch.equal(found[f"model.0.{other}"], tensor), key
    assert torch.equal(read_tensors(path)["model.0.thin"], network.thin)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize(
    ("bomb", "said"),
    [
        (_Bomb(), r"asks for posix\.system to be run.*do not use this file"),
        (_Opener(), "asks for builtins.eval to be run"),
        (_Stranger(), "needs .*_Stranger, which only unpickling makes"),
        ([_Stranger], "needs .*_Stranger"),
        (torchvision.models.densenet121, "needs torchvision.models.densenet.densenet121"),
    ],
)
def test_what_a_whole_network_may_not_name_ends_it_unexecuted(
    bomb: object, said: str, new_format: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = network_with(bomb, tmp_path / "x.pt", new_format=new_format)
    with pytest.raises(ArtifactError, match=said):
        read_tensors(path)
    assert not Path("pickle_was_executed").exists()


def old_format(stream: bytes, path: Path, keys: Sequence[str] = (), values: bytes = b"") -> Path:
    """A file of the old format around a hand-written stream of pickle codes."""
    head = [pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {})]
    path.write_bytes(b"".join([*head, stream, pickle.dumps(list(keys), 2), values]))
    return path


#: What makes the whole file one of the package's: its class, named and dropped.
NAMED = b"\x80\x02ctorchxrayvision.models\nDenseNet\n0"


def storage(n_values: int, kind: bytes = b"FloatStorage") -> bytes:
    codes = b"(X\x07\x00\x00\x00storagectorch\n" + kind + b"\nX\x01\x00\x00\x000"
    return codes + b"X\x03\x00\x00\x00cpu" + pickle.dumps(n_values, 2)[2:-1] + b"NtQ"


TENSOR = b"(K\x00K\x02\x85K\x01\x85\x89Nt"


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (NAMED + storage(2**40) + b".", "claims more bytes than it has"),
        (NAMED + storage(2**70) + b".", "claims more bytes than it has"),
        (NAMED + storage(-5) + b".", "damaged"),
        (NAMED + storage(1, b"UntypedStorage") + b".", "needs torch.UntypedStorage"),
        (NAMED + b"(X\x06\x00\x00\x00streamN" + b"tQ.", "damaged"),
        (NAMED + b"K\x05Q.", "damaged"),
        (NAMED + b"cos\nsystem\n(X\x04\x00\x00\x00truetR.", "asks for os.system"),
        (NAMED + b"cposix\nsystem\n.", "asks for posix.system"),
        (NAMED + b"(X\x02\x00\x00\x00idios\nsystem\n.", "asks for os.system"),
        (NAMED + b"ccollections\nOrderedDict.fromkeys\n.", "holds no weights"),
        (NAMED + b"]" * 1_000_000 + b"a" * 999_999 + b".", "holds no weights"),
        (
            NAMED + b"ctorch.nn.modules.linear\nLinear\n(NtR}(X\x08\x00\x00\x00_modulesK\x05ub.",
            "damaged",
        ),
        (NAMED + b"ctorch.nn.modules.linear\nLinear\n}b.", "damaged"),  # a state for a class
        (
            NAMED + b"r\xff\xff\xff\xff.",
            "memory|damaged|holds no",
        ),  # a memo of four thousand million places
        (NAMED + b"ctorch._utils\n_rebuild_tensor_v2\nNNNNtR.", "damaged"),
    ],
)
def test_hand_written_networks_end_in_an_error_and_run_nothing(
    codes: bytes, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=said):
        read_tensors(old_format(codes, tmp_path / "x.pt"))


def test_a_hand_written_network_is_read(tmp_path: Path) -> None:
    """The codes above are right but for what each of them tests."""
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(2) + TENSOR[1:] + b"R"
    values = (2).to_bytes(8, "little") + np.float32([1.5, -2]).tobytes()
    codes = NAMED + b"}X\x01\x00\x00\x00w" + rebuilt + b"s."
    found = read_tensors(old_format(codes, tmp_path / "x.pt", ["0"], values))
    assert found["w"].tolist() == [1.5, -2]
    for cut in (1, 7, 12):
        path = old_format(codes, tmp_path / "cut.pt", ["0"], values[:-cut])
        with pytest.raises(ArtifactError, match=r"cut short|damaged"):
            read_tensors(path)
    beyond = codes.replace(b"K\x00K\x02\x85", b"K\x00K\x09\x85")
    with pytest.raises(ArtifactError, match="not readable as plain weights"):
        read_tensors(old_format(beyond, tmp_path / "beyond.pt", ["0"], values))


def test_a_network_within_itself_is_read_once(tmp_path: Path) -> None:
    network = published_factory.make()
    network._modules["again"] = network
    path = tmp_path / "x.pt"
    with published_factory.package():
        published_factory.save(network, path)
    assert "classifier.bias" in read_tensors(path)

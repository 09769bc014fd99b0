"""Checkpoint files, anybody's: their tensors, within bounded memory and without unpickling.

Files are read with ``weights_only=True``, without exception: no pickle is ever executed. Classes
that only hold data (numpy's scalars, argparse's namespaces) become blanks; others end in an error
that names them.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pulmonet.errors import ArtifactError, is_failure
from pulmonet.files.read import check_archive, check_plain, mistaken_for
from pulmonet.files.system import bounded_memory
from pulmonet.words import first_line

#: Reading may take so much memory beyond the file's own size.
SLACK_BYTES = 1 << 30

#: A file may name so many classes, and nest its parts so deep.
MAX_CLASSES, MAX_DEPTH = 100, 12

#: Classes of these modules hold data alone. None of their code runs: blanks stand in for them.
HARMLESS = re.compile(
    r"numpy\.(dtypes\.\w+|dtype|ndarray|_?core\.(multiarray|numeric)\.(scalar|_reconstruct|"
    r"_frombuffer)|random\.(_pickle|mtrand)\.\w+)|copyreg\._reconstructor|types\.SimpleNamespace|"
    r"(argparse|pathlib|datetime|collections|typing|omegaconf|easydict|addict|yacs|ml_collections|"
    r"__main__|lightning|pytorch_lightning|torch\.(optim|torch_version))\..+|"
    r"builtins\.(object|slice|range|frozenset|list|dict|tuple|int|float|bool|str|bytes)"
)

#: Modules whose functions do something: nobody is told how to unpickle a file that asks for them.
HOSTILE = {"builtins", "ctypes", "importlib", "nt", "os", "posix", "runpy", "shutil", "socket"}
HOSTILE |= {"subprocess", "sys", "webbrowser"}

StateDict = dict[str, Tensor]


class Blank(list[Any]):
    """Stands where a file has an object that only holds data; it may be appended to."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        pass

    __hash__ = object.__hash__  # type: ignore[assignment]


class BlankMapping:
    """Stands for a class of dictionaries; what comes of it may be filled."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


def read_content(path: Path) -> Any:
    """What a file of `torch.save` or safetensors holds, on the CPU.

    Raises:
        OSError: missing, or not a plain file.
        ValueError: damaged, of another kind, in need of a pickle, or a bomb; it says which.
        ImportError: safetensors is needed.
    """
    check_plain(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(512)
        file.seek(-min(size, 1 << 16), 2)  # where an archive lists its members
        is_program = start.startswith(b"PK") and b"/constants.pkl" in file.read()
    if mistaken := mistaken_for(start):
        raise ValueError(mistaken)
    if is_program:
        line = 'torch.save(torch.jit.load("FILE").state_dict(), "plain.pth")'
        raise ValueError(f"a TorchScript program; make a plain file of its weights: {line}")
    if start.startswith(b"PK"):
        check_archive(path)
    try:
        with bounded_memory(size + SLACK_BYTES), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about old formats
            if path.suffix == ".safetensors" or start[8:9] == b"{":
                from safetensors.torch import load_file

                return load_file(path)
            return _load_plain(path)
    except (OSError, ValueError, ImportError):
        raise
    except BaseException as error:  # torch.load raises a dozen kinds on damaged or hostile files
        if not is_failure(error):
            raise
        reason = f"damaged, or not a file of torch.save ({first_line(error).split('  (')[0][:160]})"
        if isinstance(error, MemoryError) or "memory" in str(error):
            reason = f"it asks for more memory than its {size:,} bytes and {SLACK_BYTES >> 30} GB"
        raise ValueError(reason) from None


def _load_plain(path: Path) -> Any:
    """`torch.load`, again and again until it has a blank for each harmless class of the file."""
    blanks: dict[str, Any] = {}
    while True:
        try:
            with torch.serialization.safe_globals([(blank, n) for n, blank in blanks.items()]):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if filled := re.search(rf"Can only SETITEM.*'{__name__}\.(\S+)'>", str(error)):
                blanks[filled[1]] = BlankMapping
                continue
            found = re.search(r"GLOBAL (\S+)", str(error))
            if found is None:
                reason = "not a file of torch.save, or damaged"
                if re.search(r"Unsupported operand 1(4|5)\d", str(error)):  # codes of 4 and 5
                    reason = "saved with a newer pickle_protocol, which the weights-only reader "
                    reason += "does not know; save it with torch.save's own"
                raise ValueError(reason) from None
            name = found[1] if "." in found[1] else f"builtins.{found[1]}"
            if name in blanks or len(blanks) == MAX_CLASSES or not HARMLESS.fullmatch(name):
                raise ValueError(_explain_refused(name)) from None
            blanks[name] = type(name, (Blank,), {})


def _explain_refused(name: str) -> str:
    if name.split(".", maxsplit=1)[0] in HOSTILE:
        return f"it asks for {name} to be run, which weights never need; do not use this file"
    part = ".state_dict()" if re.search(r"(^|\.)(nn|models?)\.", name) else '["state_dict"]'
    return (
        f"needs {name}, which only unpickling makes, and unpickling runs what a file says; only if "
        "you trust it, make a plain file of it: python -c 'import torch; "
        f'torch.save(torch.load("FILE", weights_only=False){part}, "plain.pth")\''
    )


def read_tensors(path: Path) -> StateDict:
    """All tensors of anybody's checkpoint, on the CPU, by their dotted names.

    Raises:
        ArtifactError: unreadable, in need of a pickle, a bomb, or without tensors.
    """
    try:
        content = read_content(path)
    except ImportError:
        text = f"{path}: needs safetensors; pip install 'pulmonet[safetensors]'"
        raise ArtifactError(text) from None
    except (OSError, ValueError) as error:
        reason = first_line(error).replace('"FILE"', f'"{path.name}"')
        raise ArtifactError(f"{path}: not readable as plain weights: {reason}") from None
    tensors = dict(_tensors_in(content))
    if not tensors:
        raise ArtifactError(f"{path}: holds no weights; give a plain state_dict")
    return tensors


def _tensors_in(content: Any) -> Iterator[tuple[str, Tensor]]:
    """(dotted name, tensor) of all in nested mappings and lists, each of these once, in order."""
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while waiting:
        names, value = waiting.pop()
        if isinstance(value, Tensor) and not value.is_nested:
            yield ".".join(names), value
        is_nested = isinstance(value, Mapping | list | tuple) and len(names) < MAX_DEPTH
        if is_nested and id(value) not in seen:
            seen.add(id(value))
            parts = value.items() if isinstance(value, Mapping) else enumerate(value)
            named = [((*names, str(k)), part) for k, part in parts if isinstance(k, str | int)]
            waiting += reversed(named)


def put(
    tensors: Mapping[str, Tensor], network: nn.Module, where: Path | str, *, strict: bool
) -> None:
    """Load a network's state_dict in place; without `strict` only what of it is there.

    Raises:
        ArtifactError: as in `check_dense`, and for NaN and infinity.
        RuntimeError: other keys, or other shapes.
    """
    check_dense(tensors, where)
    network.load_state_dict(tensors, strict=strict)
    for name, tensor in network.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(
                f"{where}: {name} holds values that are not finite numbers, so the training that "
                "wrote it went wrong; give other weights"
            )


def check_dense(tensors: Mapping[str, Tensor], where: Path | str) -> None:
    """Refuse tensors without plain numbers of their own.

    Raises:
        ArtifactError: the first that is sparse, quantised, without data, or a weight of integers.
    """
    for name, tensor in tensors.items():
        if tensor.is_meta:
            kind = "without data (meta)"
        elif tensor.is_quantized:
            kind = "quantised"
        elif tensor.layout != torch.strided:
            kind = str(tensor.layout)
        elif name.endswith(("weight", "bias")) and not tensor.is_floating_point():
            kind = str(tensor.dtype)
        else:
            continue
        what = f"its tensor {name} is {kind.removeprefix('torch.')}"
        raise ArtifactError(f"{where}: {what}; give weights of floating-point numbers")

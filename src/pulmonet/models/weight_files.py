"""Checkpoint files, anybody's: their tensors, within bounded memory and without unpickling.

torch's weights-only reader comes first. Where a file names further classes, a reader of our own
puts an inert `Part` in the place of each: of those that only hold data (numpy's scalars, argparse's
namespaces), and of torchxrayvision's networks, whose files are whole modules. No pickle is ever
executed. Other classes end in an error that names them.
"""

import pickle
import re
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from pulmonet.errors import ArtifactError, is_failure
from pulmonet.files.read import check_archive, check_plain, mistaken_for
from pulmonet.files.system import bounded_memory
from pulmonet.words import first_line

#: Reading may take so much memory beyond the file's own size.
SLACK_BYTES = 1 << 30

#: A file may nest its parts so deep.
MAX_DEPTH = 12

#: Classes that hold data alone, and what tensors are made of.
HARMLESS = re.compile(
    r"numpy\.(dtypes\.\w+|dtype|ndarray|_?core\.(multiarray|numeric)\.(scalar|_reconstruct|"
    r"_frombuffer)|random\.(_pickle|mtrand)\.\w+)|copyreg\._reconstructor|types\.SimpleNamespace|"
    r"(argparse|pathlib|datetime|collections|typing|omegaconf|easydict|addict|yacs|ml_collections|"
    r"__main__|lightning|pytorch_lightning|torch\.(optim|torch_version))\..+|_codecs\.encode|"
    r"builtins\.(object|slice|range|set|frozenset|list|dict|tuple|int|float|bool|str|bytes)|"
    r"torch\.(b?float\d+|u?int\d+|bool|device|Size|_utils\._rebuild_(tensor_v2|parameter)|"
    r"(Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage)"
)

#: What whole networks are made of, torch's own parts only within torchxrayvision's.
NETWORKS = "torchxrayvision.models."
PARTS_OF_NETWORKS = "torch.nn."

#: Modules whose functions do something: nobody is told how to unpickle a file that asks for them.
HOSTILE = {"builtins", "ctypes", "importlib", "nt", "os", "posix", "runpy", "shutil", "socket"}
HOSTILE |= {"subprocess", "sys", "webbrowser"}

StateDict = dict[str, Tensor]


class Part(dict[Any, Any]):
    """Stands for whatever a file names: data, a module by its parts, a storage, a tensor."""

    def __init__(self, *made_of: Any) -> None:
        super().__init__()
        self.tensor = getattr(made_of[0], "tensor", None) if made_of else None
        if self.tensor is not None and len(made_of) > 3:  # of a storage: offset, size, stride
            self.tensor = torch.as_strided(self.tensor, made_of[2], made_of[3], made_of[1])

    def __setstate__(self, state: Any) -> None:
        for group in ("_parameters", "_buffers", "_modules"):
            self.update((isinstance(state, dict) and state.get(group)) or {})

    def append(self, value: Any) -> None:
        """What unpickling does with a list."""
        self[len(self)] = value

    __hash__ = object.__hash__  # type: ignore[assignment]


class _Reader(pickle.Unpickler):
    """Makes `Part`s of all that is named: nothing of a file's choice is imported or run."""

    def __init__(self, file: Any, n_bytes: int) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, Part] = {}
        self._n_left, self._is_network = n_bytes, False

    def find_class(self, module: str, name: str) -> type[Part]:
        module, name = NAME_MAPPING.get((module, name), (module, name))  # of Python 2
        named = f"{IMPORT_MAPPING.get(module, module)}.{name}"
        self._is_network |= named.startswith(NETWORKS)
        is_part = self._is_network and named.startswith((NETWORKS, PARTS_OF_NETWORKS))
        if not is_part and not HARMLESS.fullmatch(named):
            raise ValueError(_explain_refused(named))
        return type(name, (Part,), {})

    def persistent_load(self, pid: Any) -> Any:
        match pid:
            case ("module", named, *_):
                return named  # behind it is its source code, which nobody runs
            case ("storage", kind, str(key), _, int(n_values), *view) if not any(view):
                if key not in self.storages:
                    dtype = getattr(torch, kind.__name__).dtype
                    self._n_left -= n_values * dtype.itemsize
                    if self._n_left < 0:
                        raise ValueError("claims more bytes than it has")
                    self.storages[key] = Part()
                    self.storages[key].tensor = torch.zeros(n_values, dtype=dtype)
                return self.storages[key]
        raise ValueError("damaged, or it asks for more than tensors")

    def fill(self, key: str, file: Any) -> None:
        """Read a storage's values."""
        tensor = cast(Tensor, self.storages[key].tensor)
        if file.readinto(tensor.view(torch.uint8).numpy()) < tensor.nbytes:
            raise ValueError("cut short")


def _read_parts(path: Path) -> Any:
    """What `torch.save` wrote, in its old format or as an archive, as `Part`s."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.peek(2)[:2] != b"PK":
            for _ in range(3):  # magic number, version, system
                _Reader(file, size).load()
            reader = _Reader(file, size)
            content = reader.load()
            for key in _Reader(file, size).load():
                file.seek(8, 1)  # its length, which is known
                reader.fill(key, file)
            return content
    with zipfile.ZipFile(path) as archive:
        index = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        reader = _Reader(archive.open(index), size)
        content = reader.load()
        for key in reader.storages:
            reader.fill(key, archive.open(index.replace("data.pkl", f"data/{key}")))
    return content


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
    """`torch.load`, and where it does not know a class that the file names, `_read_parts`."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            return _read_parts(path)
        reason = "not a file of torch.save, or damaged"
        if re.search(r"Unsupported operand 1(4|5)\d", str(error)):  # codes of 4 and 5
            reason = "saved with a newer pickle_protocol, which the weights-only reader does not "
            reason += "know; save it with torch.save's own"
        raise ValueError(reason) from None


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
        value = getattr(value, "tensor", None) if isinstance(value, Part) and not value else value
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

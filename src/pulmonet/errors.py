"""The error tree: what a user can fix, with the exit code that it ends in.

Messages read ``where: what; what to do``. Anything that is not a `PulmoNetError` and
reaches the command line is a bug and ends with a traceback and exit code 1.
"""

import re


class PulmoNetError(Exception):
    """Anything that a user can fix. Never raised itself, only its children."""

    exit_code = 1


class ConfigError(PulmoNetError):
    """A wrong flag, config key or value, model name or label name."""

    exit_code = 2


class DataError(PulmoNetError):
    """A dataset, an image or a label file that cannot be used as it is."""

    exit_code = 3


class ArtifactError(PulmoNetError):
    """A run, checkpoint or result that is missing, damaged, foreign, finished or in use."""

    exit_code = 4


class TrainingError(PulmoNetError):
    """Training cannot start or go on: device, memory, non-finite loss, weights out of reach."""

    exit_code = 5


#: How torch, its CPU kernels (oneDNN), CUDA's libraries and the loader of libraries say that there
#: is no memory; not all of them have an exception of their own for it.
_OUT_OF_MEMORY = re.compile(
    "out of memory|not enough memory|can't allocate memory|cannot allocate memory|bad_alloc|"
    "DefaultCPUAllocator|could not create a (primitive|memory object)(?! desc)|"
    "failed to map segment|can't start new thread|unable to mmap|unable to find an engine|"
    "valid cuDNN algorithm|ALLOC(ATION)?_FAILED|CU(BLAS|DNN)_STATUS_NOT_INITIALIZED",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, is a want of memory; torch.save hides the first one."""
    while error is not None:
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_failure(error: BaseException) -> bool:
    """Whether a library has failed; not Ctrl-C or SIGTERM.

    pyo3's exception for a panic in Rust (safetensors, pylibjpeg-rle) is no `Exception`.
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"

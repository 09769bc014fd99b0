"""Names for the types of numpy arrays; shapes and units stand in docstrings."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Floats32 = NDArray[np.float32]
#: Of any precision.
Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
#: Grey or RGB, 0 to 255.
Pixels = NDArray[np.uint8]
Strings = NDArray[np.object_]

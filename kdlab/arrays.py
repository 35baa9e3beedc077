"""Names of NumPy arrays by what they hold, for rooms that need no torch (a report starts two seconds earlier)."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

import subprocess
import sys

TALIB_LATER = """
import numpy as np
from admf.domain.ta_lib import functions
import pandas as pd
import talib
values = np.arange(10.0)
assert functions.SMA(values, 3)[2] == talib.SMA(values, 3)[2] == 1.0
assert talib.SMA(pd.Series(values), 3).iloc[2] == 1.0
"""

MATRICES = """
import numpy as np
from admf.domain.compiled import compiled_from
source = "import numpy as np\\ndef product(a, b):\\n    return a @ np.linalg.inv(b)"
product = compiled_from(source, "product", {}, keep=False)
assert (product(np.full((2, 2), 3.0), 2.0 * np.eye(2)) == 1.5).all()
"""


def succeeds(program: str) -> bool:
    return subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_talib_takes_series_where_its_functions_were_loaded_before() -> None:
    assert succeeds(TALIB_LATER)


def test_compiled_code_multiplies_matrices_though_linear_algebra_is_imported_late() -> None:
    assert succeeds(MATRICES)

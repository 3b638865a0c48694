"""A strategy that switches its parameters with the regime."""

import numpy as np

from ..compiled import compiled
from ..events import Float64
from ..features import feature
from ..strategies import strategy


@strategy(
    features={
        "volatility": feature("historical_volatility", period="window"),
        "calm_fast": feature("sma", period="calm_fast"),
        "calm_slow": feature("sma", period="calm_slow"),
        "volatile_fast": feature("sma", period="volatile_fast"),
        "volatile_slow": feature("sma", period="volatile_slow"),
    },
    parameters={
        "window": 20,
        "edge": 0.01,
        "calm_fast": 10,
        "calm_slow": 30,
        "volatile_fast": 10,
        "volatile_slow": 30,
    },
    space={
        "window": (10, 20, 60),
        "edge": (0.005, 0.01, 0.02),
        "calm_fast": (5, 10),
        "volatile_fast": (5, 10),
    },
    constraints=("calm_fast < calm_slow", "volatile_fast < volatile_slow"),
)
@compiled
def regime_switching(
    volatility: Float64,
    calm_fast: Float64,
    calm_slow: Float64,
    volatile_fast: Float64,
    volatile_slow: Float64,
    edge: float,
) -> Float64:
    """Long while the fast average is above the slow one, short below it; averages by volatility's regime."""
    target = np.full(volatility.size, np.nan)
    for t in range(volatility.size):
        if volatility[t] < edge:
            target[t] = np.sign(calm_fast[t] - calm_slow[t])
        elif volatility[t] >= edge:
            target[t] = np.sign(volatile_fast[t] - volatile_slow[t])
    return target

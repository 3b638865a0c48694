"""Candlestick patterns that TA-Lib recognizes, as features ``pattern_...``.

Each is 1 at a bar that completes a pattern which is said to announce rising prices, -1 at one that is said to
announce falling ones, and 0 elsewhere. What counts as a long or short body is judged by the bars before.
"""

from collections.abc import Callable

from .events import Float64
from .feature_functions import register_row, table_rows
from .indicators import signs, warm_up
from .ta_lib import functions as talib

PATTERNS = """
two_crows 2CROWS
three_black_crows 3BLACKCROWS
three_inside 3INSIDE
three_line_strike 3LINESTRIKE
three_outside 3OUTSIDE
three_stars_in_the_south 3STARSINSOUTH
three_white_soldiers 3WHITESOLDIERS
abandoned_baby ABANDONEDBABY penetration=0.3:0.0
advance_block ADVANCEBLOCK
belt_hold BELTHOLD
breakaway BREAKAWAY
closing_marubozu CLOSINGMARUBOZU
concealing_baby_swallow CONCEALBABYSWALL
counterattack COUNTERATTACK
dark_cloud_cover DARKCLOUDCOVER penetration=0.5:0.0
doji DOJI
doji_star DOJISTAR
dragonfly_doji DRAGONFLYDOJI
engulfing ENGULFING
evening_doji_star EVENINGDOJISTAR penetration=0.3:0.0
evening_star EVENINGSTAR penetration=0.3:0.0
gap_side_by_side_white GAPSIDESIDEWHITE
gravestone_doji GRAVESTONEDOJI
hammer HAMMER
hanging_man HANGINGMAN
harami HARAMI
harami_cross HARAMICROSS
high_wave HIGHWAVE
hikkake HIKKAKE
modified_hikkake HIKKAKEMOD
homing_pigeon HOMINGPIGEON
identical_three_crows IDENTICAL3CROWS
in_neck INNECK
inverted_hammer INVERTEDHAMMER
kicking KICKING
kicking_by_length KICKINGBYLENGTH
ladder_bottom LADDERBOTTOM
long_legged_doji LONGLEGGEDDOJI
long_line LONGLINE
marubozu MARUBOZU
matching_low MATCHINGLOW
mat_hold MATHOLD penetration=0.5:0.0
morning_doji_star MORNINGDOJISTAR penetration=0.3:0.0
morning_star MORNINGSTAR penetration=0.3:0.0
on_neck ONNECK
piercing PIERCING
rickshaw_man RICKSHAWMAN
rising_falling_three_methods RISEFALL3METHODS
separating_lines SEPARATINGLINES
shooting_star SHOOTINGSTAR
short_line SHORTLINE
spinning_top SPINNINGTOP
stalled_pattern STALLEDPATTERN
stick_sandwich STICKSANDWICH
takuri TAKURI
tasuki_gap TASUKIGAP
thrusting THRUSTING
tristar TRISTAR
unique_three_river UNIQUE3RIVER
upside_gap_two_crows UPSIDEGAP2CROWS
gap_three_methods XSIDEGAP3METHODS
"""
"""Names of the patterns, of TA-Lib's functions without their ``CDL``, and parameters."""


def _recognized(name: str) -> Callable[..., Float64]:
    function = getattr(talib, name)

    def compute(opens: Float64, high: Float64, low: Float64, close: Float64, *arguments: float) -> Float64:
        return signs(function(opens, high, low, close, *arguments), warm_up(name, arguments))

    return compute


for _line in PATTERNS.strip().splitlines():
    _name, _function, _parameters = (*_line.split(), "")[:3]
    _words = _name.replace("_", " ").capitalize()
    _head = f"pattern_{_name} | CDL{_function} | open high low close | {_parameters} | sign"
    for _row in table_rows(f"{_head}\n{_words}."):
        register_row(_row, _recognized(_row.source), "candlestick patterns")

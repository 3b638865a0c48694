"""The account of one container: how its orders are sized, denied and filled.

Compiled functions over the records of a `Desk`. What comes first inside a bar is the kernel's to say.
"""

import numpy as np

from .codes import CancelReason, DenialRule, OrderType
from .compiled import compiled_inside, compiled_lean, constant
from .desk import VOLUME, Desk, Holding, Order, Rules, State
from .execution import SizingRule
from .matching import ROUNDING_ERROR, affordable, commission, fillable, impacted, rounded, slipped

FILLED, NONE = constant(0), constant(-1)
CLOSES, OPENS = constant(True), constant(False)
SLIPS = constant(True)
NO_EQUITY, BELOW_ONE_UNIT, INSUFFICIENT_FUNDS, MAX_POSITION, MAX_LEVERAGE = (
    constant(rule) for rule in list(DenialRule)[:5]
)
NO_VOLATILITY, NO_EDGE = constant(DenialRule.NO_VOLATILITY), constant(DenialRule.NO_EDGE)
POSITION_CLOSED = constant(-CancelReason.POSITION_CLOSED)
PERCENTAGE, UNITS, SIZE, VOLATILITY, KELLY = (constant(rule) for rule in SizingRule)
MARKET = constant(OrderType.MARKET)


@compiled_lean
def mark(desk: Desk, s: int, t: int, row: int) -> float:
    """Price at which a position counts: that row of the grid, or the last close where there is no bar."""
    price: float = desk.grid[row, s, t]
    if np.isnan(price):
        price = desk.grid[desk.rules.mark, s, t]
    return price


@compiled_lean
def equity_at(desk: Desk, t: int, row: int) -> float:
    """Cash and the value of all positions, at the prices of a row of the grid."""
    equity = desk.state.cash
    for s in range(desk.holdings.size):
        position = desk.holdings[s].position
        if position != 0.0:
            equity += position * mark(desk, s, t, row)
    return equity


@compiled_lean
def gross_at(desk: Desk, t: int, row: int, without: int) -> float:
    """Value of all positions but one, shorts counted as positive."""
    gross = 0.0
    for s in range(desk.holdings.size):
        position = desk.holdings[s].position
        if position != 0.0 and s != without:
            gross += abs(position) * mark(desk, s, t, row)
    return gross


@compiled_lean
def holds(desk: Desk) -> bool:
    """Say whether there is any position."""
    for s in range(desk.holdings.size):  # noqa: SIM110
        if desk.holdings[s].position != 0.0:
            return True
    return False


@compiled_inside
def place(
    desk: Desk,
    holding: Holding,
    t: int,
    s: int,
    target: float,
    kind: int,
    limit: float,
    stop: float,
    wish: int,
) -> None:
    """Write an order and open it; it closes the position where the target is zero, else it opens one."""
    state = desk.state
    row = state.orders
    if row >= desk.orders.size:
        state.full = 1
        return
    order = desk.orders[row]
    order.bar, order.wish, order.symbol, order.type = t, wish, s, kind
    order.target, order.limit, order.stop = target, limit, stop
    state.orders = row + 1
    state.open += 1
    if wish != NONE:
        holding.wish = wish
    if target == 0.0:
        holding.closing, holding.closing_left = row, np.nan
    else:
        holding.opening, holding.opening_left, holding.opening_type = row, np.nan, kind


@compiled_lean
def conclude(state: State, holding: Holding, order: Order, t: int, outcome: int) -> None:
    """End an open order."""
    order.outcome, order.outcome_bar = outcome, t
    if order.target == 0.0:
        holding.closing = NONE
    else:
        holding.opening = NONE
    state.open -= 1


@compiled_lean
def take_over(desk: Desk, t: int, w: int) -> None:
    """Take over the sizes and exits of another leg, and order positions to be brought to another size."""
    state, rules, turn = desk.state, desk.rules, desk.wishes[w]
    resized = state.size != turn.target or rules.sizing != turn.volatility
    state.size, state.trailing_stop = turn.target, turn.limit
    state.stop_loss, state.take_profit = turn.stop_loss, turn.take_profit
    rules.max_drawdown, rules.sizing = turn.stop, int(turn.volatility)
    for s in range(desk.holdings.size):
        holding = desk.holdings[s]
        if not resized or holding.position == 0.0 or holding.opening != NONE or holding.closing != NONE:
            continue
        target = desk.wishes[holding.wish].target
        if target * holding.position > 0.0:
            place(desk, holding, t, s, target, MARKET, np.nan, np.nan, holding.wish)


@compiled_lean
def _deny(
    state: State, holding: Holding, order: Order, t: int, rule: int, required: float, available: float
) -> float:
    """Refuse an open order; returns NaN, the quantity of an order that has none."""
    order.required, order.available = required, available
    conclude(state, holding, order, t, rule)
    return np.nan


@compiled_lean
def kelly_fraction(state: State) -> float:
    """W - (1 - W) / R, of W the part of winning trades and R the mean gain over the mean loss."""
    wins, losses = state.wins, state.losses
    if losses == 0:
        return 1.0
    if wins == 0:
        return 0.0
    won = wins / (wins + losses)
    return won - (1.0 - won) / ((state.gains / wins) / (state.pains / losses))


@compiled_lean
def _wanted(desk: Desk, order: Order, equity: float, price: float) -> float:
    """Units that an order's target stands for, without sign and before rounding; NaN if unknown."""
    exposure = abs(order.target)
    state, rules = desk.state, desk.rules
    size = state.size
    if rules.sizing == UNITS:
        return size * exposure
    if rules.sizing == PERCENTAGE:
        budget = equity * size / 100.0 * exposure
    elif rules.sizing == SIZE:
        budget = size * exposure
    elif rules.sizing == VOLATILITY:
        volatility = desk.wishes[order.wish].volatility
        if not volatility > 0.0:
            return np.nan
        budget = equity * exposure * min(size / 100.0 / volatility, rules.leverage)
    else:
        part = rules.start / 100.0
        if state.wins + state.losses >= rules.minimum_trades:
            part = min(size / 100.0 * kelly_fraction(state), rules.leverage)
        if not part > 0.0:
            return np.nan
        budget = equity * exposure * part
    return affordable(rules, budget, price)


@compiled_lean
def _broken_limit(
    state: State, rules: Rules, value: float, others: float, equity: float
) -> tuple[int, float, float]:
    """Name the risk limit that a position of this value would break (zero for none), with its two sides."""
    if state.halt != 0:
        return state.halt, value, 0.0
    share, gross = value / equity, (others + value) / equity
    if rules.max_position > 0.0 and share > rules.max_position * (1.0 + ROUNDING_ERROR):
        return MAX_POSITION, share, rules.max_position
    if rules.max_leverage > 0.0 and gross > rules.max_leverage * (1.0 + ROUNDING_ERROR):
        return MAX_LEVERAGE, gross, rules.max_leverage
    return FILLED, 0.0, 0.0


@compiled_inside
def _decide(
    desk: Desk, holding: Holding, order: Order, t: int, s: int, market: float, row: int, slips: bool
) -> float:
    """Decide the quantity of an order that opens at the instant of its fill; NaN where it is denied."""
    rules, state = desk.rules, desk.state
    target, position = order.target, holding.position
    equity = equity_at(desk, t, row)
    if position != 0.0:
        equity += position * (market - mark(desk, s, t, row))
    if equity <= 0.0:
        return _deny(state, holding, order, t, NO_EQUITY, 0.0, equity)
    side = 1 if target > 0.0 else -1
    price = slipped(rules, market, side) if slips else market
    units = _wanted(desk, order, equity, price)
    if np.isnan(units):
        rule = NO_VOLATILITY if rules.sizing == VOLATILITY else NO_EDGE
        return _deny(state, holding, order, t, rule, 0.0, equity)
    others = gross_at(desk, t, row, s) if desk.holdings.size > 1 else 0.0
    power = equity * rules.leverage - others
    if rules.sizing != UNITS and rules.sizing != SIZE:
        most = affordable(rules, power, price)
        if most < units * (1.0 - ROUNDING_ERROR):
            units = most
    units = rounded(max(units, 0.0), rules.granularity)
    quantity = side * units - position
    if quantity == 0.0:
        least = rules.granularity * price + commission(rules, rules.granularity, price)
        return _deny(state, holding, order, t, BELOW_ONE_UNIT, least, equity)
    if quantity * side < 0.0:
        return quantity
    cost = units * price + commission(rules, units, price)
    if cost > power + equity * ROUNDING_ERROR:
        return _deny(state, holding, order, t, INSUFFICIENT_FUNDS, cost, power)
    rule, required, available = _broken_limit(state, rules, units * price, others, equity)
    if rule != FILLED:
        return _deny(state, holding, order, t, rule, required, available)
    return quantity


@compiled_lean
def reduces(desk: Desk, holding: Holding, t: int, market: float, row: int) -> bool:
    """Say whether a symbol's order that opens would in fact make its position smaller."""
    order, position = desk.orders[holding.opening], holding.position
    if position == 0.0:
        return False
    side = 1 if order.target > 0.0 else -1
    return bool(
        _wanted(desk, order, equity_at(desk, t, row), slipped(desk.rules, market, side)) < abs(position)
    )


@compiled_lean
def _count_trade(state: State, holding: Holding, closed: float, price: float, fee: float) -> None:
    """Add the profit of what was closed to the account's record of wins and losses."""
    side = 1.0 if holding.position > 0.0 else -1.0
    profit = closed * ((price - holding.entry) * side - holding.entry_fee) - fee
    if profit > 0.0:
        state.wins += 1
        state.gains += profit
    elif profit < 0.0:
        state.losses += 1
        state.pains -= profit


@compiled_lean
def _enter(desk: Desk, holding: Holding, order: Order, quantity: float, price: float, fee: float) -> None:
    """Average the entry of a position that grows, and set the prices at which it ends."""
    state = desk.state
    before, units = abs(holding.position), abs(quantity)
    side = 1.0 if quantity > 0.0 else -1.0
    entry = (holding.entry * before + price * units) / (before + units)
    holding.entry = entry
    holding.entry_fee = (holding.entry_fee * before + fee) / (before + units)
    holding.stop = entry * (1.0 - side * state.stop_loss) if state.stop_loss > 0.0 else np.nan
    holding.target = entry * (1.0 + side * state.take_profit) if state.take_profit > 0.0 else np.nan
    if desk.rules.priced != 0 and order.wish >= 0:
        wish = desk.wishes[order.wish]
        if not np.isnan(wish.stop_loss):
            holding.stop = wish.stop_loss
        if not np.isnan(wish.take_profit):
            holding.target = wish.take_profit
    if before == 0.0:
        holding.best = price


@compiled_inside
def _trade(
    desk: Desk, holding: Holding, order: Order, number: int, t: int, s: int, quantity: float, price: float
) -> None:
    """Write a fill and change cash and position by it."""
    state = desk.state
    written = state.fills
    if written >= desk.fills.size:
        state.full = 1
        return
    fee = commission(desk.rules, abs(quantity), price)
    fill = desk.fills[written]
    fill.order, fill.bar, fill.symbol = number, t, s
    fill.quantity, fill.price, fill.fee = quantity, price, fee
    state.fills = written + 1
    position = holding.position
    if position * quantity < 0.0:
        if desk.rules.sizing == KELLY:
            _count_trade(state, holding, abs(quantity), price, fee)
    else:
        _enter(desk, holding, order, quantity, price, fee)
    state.cash = state.cash - quantity * price - fee
    holding.position = position + quantity
    if position + quantity == 0.0:
        holding.entry = holding.entry_fee = 0.0
        holding.stop = holding.target = np.nan


@compiled_lean
def _limited(desk: Desk, holding: Holding, closes: bool, t: int, s: int, left: float) -> float:
    """Take what a bar's volume still fills of an order, and keep in mind what is left of it."""
    rules = desk.rules
    most = rounded(fillable(rules, desk.grid[VOLUME, s, t], holding.used), rules.granularity)
    units = min(abs(left), most)
    holding.used += units
    if closes:
        holding.closing_left = left
    else:
        holding.opening_left = left
    return units


@compiled_lean
def _fulfil(desk: Desk, holding: Holding, number: int, t: int, quantity: float) -> None:
    """End an order that has been filled; one that closes takes along what was to change the same position."""
    order = desk.orders[number]
    conclude(desk.state, holding, order, t, FILLED)
    if order.target == 0.0 and NONE < holding.opening < number:
        waiting = desk.orders[holding.opening]
        if waiting.target * quantity < 0.0:
            conclude(desk.state, holding, waiting, t, POSITION_CLOSED)


@compiled_lean
def execute(
    desk: Desk, holding: Holding, closes: bool, t: int, s: int, market: float, row: int, slips: bool
) -> None:
    """Fill a symbol's open order at the market price, as far as the bar's volume goes, or deny it.

    Parameters
    ----------
    desk, holding
        The account, and what it holds of the symbol.
    closes
        Which of the symbol's two orders: the one that closes, or the one that opens.
    t, s
        The bar and the symbol.
    market
        Price before slippage.
    row
        The row of the grid by which the other positions are valued.
    slips
        Whether slippage and price impact count: they do not for an order that names its price.
    """
    rules = desk.rules
    number = holding.closing if closes else holding.opening
    order = desk.orders[number]
    if closes:
        left = -holding.position
    else:
        left = holding.opening_left
        if np.isnan(left):
            left = _decide(desk, holding, order, t, s, market, row, slips)
            if np.isnan(left):
                return
    if left == 0.0:
        conclude(desk.state, holding, order, t, POSITION_CLOSED)
        return
    side = 1 if left > 0.0 else -1
    units = abs(left)
    if rules.volume_limit > 0.0:
        units = _limited(desk, holding, closes, t, s, left)
        if units == 0.0:
            return
    price = slipped(rules, market, side) if slips else market
    if slips and rules.price_impact > 0.0:
        price = impacted(rules, price, side, holding.used, desk.grid[VOLUME, s, t])
    _trade(desk, holding, order, number, t, s, side * units, price)
    if units == abs(left):
        _fulfil(desk, holding, number, t, left)
    elif not closes:
        holding.opening_left = left - side * units

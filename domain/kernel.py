"""The simulation loop: wishes in, orders and fills out, in the order that `admf.domain.execution` describes.

A container whose orders are all at market is visited only at the bars at which it wishes for something or has
an order to fill; one that has prices to watch is visited at every bar meanwhile.
"""

import numpy as np

from .account import (
    CLOSES,
    MARKET,
    NONE,
    OPENS,
    POSITION_CLOSED,
    SLIPS,
    conclude,
    equity_at,
    execute,
    gross_at,
    holds,
    place,
    reduces,
    take_over,
)
from .bars import DAY
from .codes import CancelReason, DenialRule, OrderType
from .compiled import compiled_inside, compiled_lean, constant
from .desk import CLOSE, HIGH, LOW, OPEN, VOLUME, Desk, Holding
from .execution import EndOfData, FillPrice
from .matching import Bar, exit_price, limit_price, stop_limit_price, stop_price

NEXT_OPEN, SAME_CLOSE, NEXT_CLOSE = (constant(choice) for choice in FillPrice)
END_MARK, END_CLOSE, END_CLOSE_AT_OPEN = (constant(choice) for choice in EndOfData)
LIMIT, STOP, STOP_LIMIT, STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, MARGIN_CALL, RISK_HALT, LAST_BAR = (
    constant(kind) for kind in list(OrderType)[1:]
)
REPLACED, END_OF_DATA = constant(-CancelReason.REPLACED), constant(-CancelReason.END_OF_DATA)
HALTED, HALTED_TODAY = constant(DenialRule.MAX_DRAWDOWN), constant(DenialRule.DAILY_LOSS)
EARLIER, AT_OPEN, AT_STOP, AT_LIMIT = map(constant, range(4))
FRESH, OLD = constant(True), constant(False)
YEAR = 365.0 * DAY


@compiled_inside
def _fill_at_market(desk: Desk, t: int, row: int, fresh: bool) -> None:
    """Fill orders at market, those that reduce a position first; those of this bar only if ``fresh``."""
    several = desk.holdings.size > 1
    for turn in range(2 if several else 1):
        for s in range(desk.holdings.size):
            holding = desk.holdings[s]
            market = desk.grid[row, s, t]
            if np.isnan(market):
                continue
            if holding.closing != NONE and (fresh or desk.orders[holding.closing].bar != t):
                execute(desk, holding, CLOSES, t, s, market, row, SLIPS)
            if holding.opening == NONE or holding.opening_type != MARKET or holding.closing != NONE:
                continue
            if not fresh and desk.orders[holding.opening].bar == t:
                continue
            if several and turn == 0 and not reduces(desk, holding, t, market, row):
                continue
            before = holding.position
            execute(desk, holding, OPENS, t, s, market, row, SLIPS)
            if before == 0.0 and row == OPEN:
                holding.entered = AT_OPEN


@compiled_lean
def _awaits_close(desk: Desk, closing: int) -> bool:
    """Say whether an order is one at market that a close is going to fill, so that exits may come first."""
    return bool(desk.rules.fill != NEXT_OPEN and desk.orders[closing].type == MARKET)


@compiled_lean
def _watch_exits(desk: Desk, holding: Holding, t: int, s: int, bar: Bar) -> None:
    """End a position at its stop or its target, where the bar reaches one of them."""
    side = 1 if holding.position > 0.0 else -1
    stop, target, kind = holding.stop, holding.target, STOP_LOSS
    trailing = desk.state.trailing_stop
    if trailing > 0.0:
        trail = holding.best * (1.0 - side * trailing)
        if np.isnan(stop) or (trail - stop) * side > 0.0:
            stop, kind = trail, TRAILING_STOP
    entered, closing = holding.entered, holding.closing
    if entered == AT_LIMIT or (closing != NONE and not _awaits_close(desk, closing)):
        return
    price, at_target = exit_price(bar, side, stop, target, desk.rules.through)
    if np.isnan(price) or (entered == AT_STOP and not at_target):
        return
    if entered == AT_STOP:
        worst = bar.low if side > 0 else bar.high
        if (worst - stop) * side <= 0.0:
            return
        price = target
    if closing != NONE:
        conclude(desk.state, holding, desk.orders[closing], t, POSITION_CLOSED)
    if at_target:
        place(desk, holding, t, s, 0.0, TAKE_PROFIT, target, np.nan, NONE)
    else:
        place(desk, holding, t, s, 0.0, kind, np.nan, stop, NONE)
    execute(desk, holding, CLOSES, t, s, price, OPEN, not at_target)


@compiled_lean
def _watch_order(desk: Desk, holding: Holding, t: int, s: int, bar: Bar) -> None:
    """Fill the symbol's limit, stop or stop-limit order, where the bar reaches it."""
    order, kind = desk.orders[holding.opening], holding.opening_type
    if kind == MARKET or order.bar == t or holding.closing != NONE:
        return
    side = 1 if order.target > 0.0 else -1
    if reduces(desk, holding, t, order.stop if kind == STOP else order.limit, OPEN):
        side = -side
    through = desk.rules.through
    how = AT_STOP
    if kind == STOP:
        price = stop_price(bar, side, order.stop)
    elif kind == STOP_LIMIT:
        price, reached = stop_limit_price(bar, side, order.stop, order.limit, through)
        if reached:
            holding.opening_type = LIMIT
        if (bar.open - order.stop) * side >= 0.0:
            how = AT_LIMIT
    else:
        price, how = limit_price(bar, side, order.limit, through), AT_LIMIT
    if np.isnan(price):
        return
    before = holding.position
    execute(desk, holding, OPENS, t, s, price, OPEN, kind == STOP)
    if before == 0.0:
        holding.entered = AT_OPEN if price == bar.open else how
    if kind == STOP:
        holding.opening_type = MARKET


@compiled_lean
def _watch(desk: Desk, t: int) -> None:
    """Follow the prices inside of a bar: exits, then orders, then exits of what has just begun."""
    for s in range(desk.holdings.size):
        holding = desk.holdings[s]
        if holding.position == 0.0 and holding.opening == NONE:
            continue
        if np.isnan(desk.grid[OPEN, s, t]):
            continue
        bar = Bar(desk.grid[OPEN, s, t], desk.grid[HIGH, s, t], desk.grid[LOW, s, t], desk.grid[VOLUME, s, t])
        if holding.position != 0.0:
            _watch_exits(desk, holding, t, s, bar)
        if holding.opening != NONE:
            before = holding.position
            _watch_order(desk, holding, t, s, bar)
            if before == 0.0 and holding.position != 0.0:
                _watch_exits(desk, holding, t, s, bar)


@compiled_lean
def _begin_bar(desk: Desk) -> None:
    """Forget what happened inside of the bar before."""
    for s in range(desk.holdings.size):
        desk.holdings[s].used, desk.holdings[s].entered = 0.0, EARLIER


@compiled_lean
def _move_trails(desk: Desk, t: int) -> None:
    """Move trailing stops by what happened inside of a bar; what begins at its close has not seen it."""
    for s in range(desk.holdings.size):
        holding = desk.holdings[s]
        if holding.position > 0.0 and desk.grid[HIGH, s, t] > holding.best:
            holding.best = desk.grid[HIGH, s, t]
        elif holding.position < 0.0 and desk.grid[LOW, s, t] < holding.best:
            holding.best = desk.grid[LOW, s, t]


@compiled_lean
def _charge(desk: Desk, t: int, s: int, amount: float) -> None:
    state = desk.state
    if amount <= 0.0:
        return
    if state.charges >= desk.charges.size:
        state.full = 1
        return
    charge = desk.charges[state.charges]
    charge.bar, charge.symbol, charge.amount = t, s, amount
    state.charges += 1
    state.cash -= amount


@compiled_lean
def _charge_interest(desk: Desk, t: int) -> None:
    """Charge what was borrowed since the bar before: of a symbol its own, of cash the timeline's."""
    rules, borrowed = desk.rules, max(-desk.state.cash, 0.0)
    for s in range(desk.holdings.size):
        short = -desk.holdings[s].position
        if short > 0.0 and not np.isnan(desk.grid[OPEN, s, t]):
            before = t - 1
            while np.isnan(desk.grid[OPEN, s, before]):
                before -= 1
            years = (desk.time[t] - desk.time[before]) / YEAR
            _charge(desk, t, s, rules.borrow_rate * years * short * desk.grid[CLOSE, s, before])
    years = (desk.time[t] - desk.time[t - 1]) / YEAR
    _charge(desk, t, NONE, rules.interest_rate * years * borrowed)


@compiled_lean
def _cancel(desk: Desk, holding: Holding, t: int, reason: int) -> None:
    """Give up a symbol's open orders."""
    if holding.closing != NONE:
        conclude(desk.state, holding, desk.orders[holding.closing], t, reason)
    if holding.opening != NONE:
        conclude(desk.state, holding, desk.orders[holding.opening], t, reason)


@compiled_lean
def _close_all(desk: Desk, t: int, kind: int) -> None:
    """Give up what is ordered, and order all positions to be closed that are not about to be for good."""
    for s in range(desk.holdings.size):
        holding = desk.holdings[s]
        if holding.closing != NONE and desk.orders[holding.closing].type >= MARGIN_CALL:
            if holding.opening != NONE:
                conclude(desk.state, holding, desk.orders[holding.opening], t, REPLACED)
            continue
        _cancel(desk, holding, t, REPLACED)
        if holding.position != 0.0:
            place(desk, holding, t, s, 0.0, kind, np.nan, np.nan, NONE)


@compiled_lean
def _call_margin(desk: Desk, t: int, equity: float) -> None:
    """Close all positions at a close at which too little equity stands behind them."""
    gross = gross_at(desk, t, CLOSE, NONE)
    if gross == 0.0 or equity > desk.rules.maintenance_margin * gross:
        return
    _close_all(desk, t, MARGIN_CALL)
    for s in range(desk.holdings.size):
        price = desk.grid[CLOSE, s, t]
        if desk.holdings[s].closing != NONE and not np.isnan(price):
            execute(desk, desk.holdings[s], CLOSES, t, s, price, CLOSE, SLIPS)


@compiled_lean
def _begin_day(desk: Desk, t: int) -> None:
    """At a day's first bar, take the equity of the close before, and end what the day before has halted."""
    state, today = desk.state, desk.time[t] // DAY
    if today != state.day:
        state.day, state.day_equity = today, state.last_equity
        if state.halt == HALTED_TODAY:
            state.halt = 0


@compiled_lean
def _supervise(desk: Desk, t: int) -> None:
    """Look at the account at a bar's close: margin, drawdown, the loss of the day."""
    state, rules = desk.state, desk.rules
    equity = equity_at(desk, t, CLOSE)
    state.last_equity = equity
    state.peak = max(state.peak, equity)
    if rules.margined != 0:
        _call_margin(desk, t, equity)
    fallen = rules.max_drawdown > 0.0 and equity <= state.peak * (1.0 - rules.max_drawdown)
    lost = rules.daily_loss > 0.0 and equity <= state.day_equity * (1.0 - rules.daily_loss)
    halt = HALTED if fallen else HALTED_TODAY
    if state.halt == HALTED or state.halt == halt or not (fallen or lost):
        return
    state.halt = halt
    _close_all(desk, t, RISK_HALT)


@compiled_inside
def _follow_wish(desk: Desk, t: int, w: int) -> None:
    """Place the orders that bring a position to a wished target: none, one, or two for a reversal."""
    wish = desk.wishes[w]
    s, target = wish.symbol, wish.target
    if s == NONE:
        take_over(desk, t, w)
        return
    holding = desk.holdings[s]
    position = holding.position
    if holding.opening != NONE:
        conclude(desk.state, holding, desk.orders[holding.opening], t, REPLACED)
    ends = position != 0.0 and position * target <= 0.0
    if holding.closing != NONE and not ends and desk.orders[holding.closing].type == MARKET:
        conclude(desk.state, holding, desk.orders[holding.closing], t, REPLACED)
    if ends and holding.closing == NONE:
        place(desk, holding, t, s, 0.0, MARKET, np.nan, np.nan, w)
    if target == 0.0:
        return
    limit = stop = np.nan
    kind = MARKET
    if desk.rules.priced != 0:
        limit, stop = wish.limit, wish.stop
        if not np.isnan(limit):
            kind = LIMIT if np.isnan(stop) else STOP_LIMIT
        elif not np.isnan(stop):
            kind = STOP
    place(desk, holding, t, s, target, kind, limit, stop, w)


@compiled_lean
def _end(desk: Desk, t: int, row: int) -> None:
    """Close each position at its symbol's last bar, at the prices of a row of the grid."""
    for s in range(desk.holdings.size):
        holding = desk.holdings[s]
        if holding.last != t:
            continue
        _cancel(desk, holding, t, END_OF_DATA)
        if holding.position != 0.0:
            place(desk, holding, t, s, 0.0, LAST_BAR, np.nan, np.nan, NONE)
            execute(desk, holding, CLOSES, t, s, desk.grid[row, s, t], row, SLIPS)


@compiled_lean
def _find_last_bars(desk: Desk, first: int, last: int) -> None:
    """Find each symbol's last bar in the window."""
    for s in range(desk.holdings.size):
        t = last
        while t > first and np.isnan(desk.grid[OPEN, s, t]):
            t -= 1
        desk.holdings[s].last = t


@compiled_lean
def _awaited(desk: Desk, t: int, last: int) -> int:
    """Return the bar, after this one, at which the first position is to end because its bars do."""
    awaited = last
    for s in range(desk.holdings.size):
        if t < desk.holdings[s].last < awaited and desk.holdings[s].position != 0.0:
            awaited = desk.holdings[s].last
    return awaited


@compiled_inside
def _open_bar(desk: Desk, t: int, first: int) -> None:
    """Do what happens up to a bar's open."""
    rules, state = desk.rules, desk.state
    if state.watched != 0 or rules.volume_limit > 0.0:
        _begin_bar(desk)
    if rules.supervised != 0:
        _begin_day(desk, t)
    if rules.charged != 0 and t > first:
        _charge_interest(desk, t)
    if state.open > 0 and rules.fill == NEXT_OPEN:
        _fill_at_market(desk, t, OPEN, OLD)
    if rules.end == END_CLOSE_AT_OPEN:
        _end(desk, t, OPEN)


@compiled_inside
def _close_bar(desk: Desk, t: int, wish: int, last_wish: int) -> int:
    """Do what happens at a bar's close, and return the first wish of a later bar."""
    rules, state = desk.rules, desk.state
    if state.watched != 0:
        _move_trails(desk, t)
    if state.open > 0 and rules.fill == NEXT_CLOSE:
        _fill_at_market(desk, t, CLOSE, OLD)
    if rules.supervised != 0:
        _supervise(desk, t)
    while wish < last_wish and desk.wishes[wish].bar == t:
        _follow_wish(desk, t, wish)
        wish += 1
    if state.open > 0 and rules.fill == SAME_CLOSE:
        _fill_at_market(desk, t, CLOSE, FRESH)
    if rules.end == END_CLOSE:
        _end(desk, t, CLOSE)
    return wish


@compiled_lean
def simulate_container(desk: Desk, first: int, stop: int, wish: int, last_wish: int) -> None:
    """Run one container over the bars ``first`` to ``stop`` (excluded), from a flat account.

    Parameters
    ----------
    desk
        What it sees and changes; its state holds its capital as cash, and which rows to write next. If the
        room for rows does not suffice, ``full`` is set in its state and its rows are worth nothing.
    first, stop
        The window.
    wish, last_wish
        Its wishes are the rows from ``wish`` up to ``last_wish`` (excluded); their bars lie in the window.
    """
    rules, state, last = desk.rules, desk.state, stop - 1
    t = first
    _find_last_bars(desk, first, last)
    while t < stop and state.full == 0:
        _open_bar(desk, t, first)
        if state.watched != 0:
            _watch(desk, t)
        wish = _close_bar(desk, t, wish, last_wish)
        followed = (state.watched != 0 or rules.charged != 0) and (state.cash < 0.0 or holds(desk))
        if state.open > 0 or rules.supervised != 0 or followed:
            t += 1
        else:
            awaited = _awaited(desk, t, last) if rules.end != END_MARK else last
            if wish < last_wish:
                awaited = min(awaited, desk.wishes[wish].bar)
            t = awaited if awaited > t else stop
    for s in range(desk.holdings.size):
        _cancel(desk, desk.holdings[s], last, END_OF_DATA)

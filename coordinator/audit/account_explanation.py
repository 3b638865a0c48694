"""Walking a metric back to its trades, and a trade to its fills."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ...domain.bars import iso_time
from ...domain.errors import NotFoundError, UnknownNameError
from ...domain.events import InterestCharged, OrdersFilled, Scalar, TrialsCompleted
from ...domain.portfolio import Trades, round_trips, settle
from ...eventstore.store import EventStore
from ..streams.trace_query import TraceQuery
from .explanation import CausalChain, Explanation


def explain_trade(store: EventStore, stream: str, container: int, number: int) -> Explanation:
    """Walk a round trip of a container back to the bars that caused it.

    Parameters
    ----------
    store, stream
        The stream of the phase.
    container, number
        As in the table ``trades`` of the read models.

    Raises
    ------
    NotFoundError
        There is no such container, or no such trade of it.
    """
    account = _Account(CausalChain(store, stream), container)
    if not 1 <= number <= len(account.trades):
        raise NotFoundError(
            f"there is no trade {number} of container {container} in {stream}; it has {len(account.trades)}, "
            "numbered from 1."
        )
    return account.trade(number - 1)


def explain_metric(
    store: EventStore,
    stream: str,
    metric: str,
    *,
    container: int | None = None,
    formulas: Mapping[str, str],
    trades: int = 2,
) -> Explanation:
    """Walk a metric of a container back to its trades, and these to the bars that caused them.

    Parameters
    ----------
    store, stream
        The stream of the phase.
    metric
        Its name.
    container
        The container; by default the one that the phase chose.
    formulas
        The metric's formula in each profile.
    trades
        How many trades to show, from the first on.

    Raises
    ------
    NotFoundError
        There is no such container, or the phase chose none and none was given.
    UnknownNameError
        There is no such metric.
    """
    chain = CausalChain(store, stream)
    account = _Account(chain, _chosen(store, stream, chain.started.phase) if container is None else container)
    if metric not in account.metrics:
        raise UnknownNameError("metric", metric, account.metrics)
    pnl = np.array([trade.values["pnl"] for trade in account.trades])
    profile = chain.started.metric_profile
    values: dict[str, Scalar] = {
        "value": account.metrics[metric],
        "formula": formulas.get(profile, ""),
        "profile": profile,
        **account.window,
        "trades": pnl.size,
    }
    if pnl.size:
        values |= {"best pnl": float(pnl.max()), "best trade": int(pnl.argmax()) + 1}
        values |= {"worst pnl": float(pnl.min()), "worst trade": int(pnl.argmin()) + 1}
        values["total pnl"] = float(pnl.sum())
    if interest := account.interest:
        values["total interest"] = interest
    causes = tuple(account.trade(place) for place in range(min(trades, pnl.size)))
    return Explanation(account.address, f"metric {metric}", values, causes)


def _chosen(store: EventStore, stream: str, phase: str) -> int:
    best = TraceQuery(store).get_phase_output(stream.rpartition("/")[0], phase).best
    if best is None:
        raise NotFoundError(f"the phase {phase!r} chose no container: name one by --container.")
    return best.container


class _Trade(NamedTuple):
    """A round trip: its symbol and the fills, by their place among those of the container, that bound it."""

    symbol: int
    entry: int
    exit: int
    side: int
    values: dict[str, float]


class _Account:
    """The fills and trades of one container."""

    def __init__(self, chain: CausalChain, container: int) -> None:
        trial = next(chain.rows(TrialsCompleted, container), None)
        if trial is None:
            raise NotFoundError(f"there is no container {container} in {chain.stream} that ran to its end.")
        number, trials, row = trial
        self._chain = chain
        self._container = container
        first, last = int(trials.first_bar[row]), int(trials.stop_bar[row]) - 1
        self.address = f"{chain.stream}#{number}"
        self.metrics = {name: float(column[row]) for name, column in trials.metrics.items()}
        self._fills = list(chain.rows(OrdersFilled, container))
        time = chain.panel.time
        self.window: dict[str, Scalar] = {
            "container": container,
            "from": iso_time(time[first]),
            "to": iso_time(time[last]),
        }
        self._last_bars = [int(own[last]) for own in chain.panel.own]
        found = (trade for symbol in range(len(self._last_bars)) for trade in self._round_trips(symbol))
        self.trades = sorted(found, key=lambda trade: trade.entry)

    @property
    def interest(self) -> float:
        """What the container paid for borrowing."""
        charged = self._chain.rows(InterestCharged, self._container)
        return sum(float(event.amount[row]) for _, event, row in charged)

    def _round_trips(self, symbol: int) -> Iterator[_Trade]:
        places = [i for i, (_, event, row) in enumerate(self._fills) if event.symbol[row] == symbol]
        if not places:
            return
        own = [self._fills[place] for place in places]
        quantity, price, fee = (
            np.array([getattr(event, name)[row] for _, event, row in own], np.float64)
            for name in ("quantity", "price", "fee")
        )
        position, cash = np.empty(quantity.size), np.empty(quantity.size)
        settle(quantity, price, fee, self._chain.started.capital, position, cash)
        room = Trades.empty(quantity.size)
        mark = float(self._chain.bars(symbol).close[self._last_bars[symbol]])
        for row in range(int(round_trips(quantity, price, fee, position, mark, room))):
            leave = int(room.exit_fill[row])
            names = ("quantity", "entry_price", *(("exit_price",) if leave >= 0 else ()), "fee", "pnl")
            yield _Trade(
                symbol=symbol,
                entry=places[int(room.entry_fill[row])],
                exit=places[leave] if leave >= 0 else -1,
                side=int(room.side[row]),
                values={name: float(getattr(room, name)[row]) for name in names},
            )

    def trade(self, place: int) -> Explanation:
        """Explain a trade by its first fill and its last, or by the bar at which it is valued."""
        trade = self.trades[place]
        values: dict[str, Scalar] = {"container": self._container, "number": place + 1}
        values |= {**self._chain.named(trade.symbol), **trade.values}
        if trade.exit < 0:
            last_bar = self._last_bars[trade.symbol]
            last = self._chain.bar(trade.symbol, last_bar, "open, valued at bar")
        else:
            last = self._chain.fill(*self._fills[trade.exit])
        side = "long" if trade.side > 0 else "short"
        title = f"{'open' if trade.exit < 0 else 'closed'} {side} trade"
        return Explanation("", title, values, (self._chain.fill(*self._fills[trade.entry]), last))

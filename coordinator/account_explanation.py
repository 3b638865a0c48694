"""Walking a metric back to its trades, and a trade to its fills."""

from collections.abc import Mapping

import numpy as np

from ..domain.bars import iso_time
from ..domain.errors import NotFoundError, UnknownNameError
from ..domain.events import OrdersFilled, Scalar, TrialsCompleted
from ..domain.portfolio import Trades, round_trips, settle
from ..eventstore.store import EventStore
from .explanation import CausalChain, Explanation
from .trace_query import TraceQuery


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
    if not 1 <= number <= account.count:
        raise NotFoundError(
            f"there is no trade {number} of container {container} in {stream}; it has {account.count}, "
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
    pnl = account.trades.pnl[: account.count]
    profile = chain.started.metric_profile
    values: dict[str, Scalar] = {
        "value": account.metrics[metric],
        "formula": formulas.get(profile, ""),
        "profile": profile,
        **account.window,
        "trades": account.count,
    }
    if account.count:
        values |= {"best pnl": float(pnl.max()), "best trade": int(pnl.argmax()) + 1}
        values |= {"worst pnl": float(pnl.min()), "worst trade": int(pnl.argmin()) + 1}
        values["total pnl"] = float(pnl.sum())
    causes = tuple(account.trade(place) for place in range(min(trades, account.count)))
    return Explanation(account.address, f"metric {metric}", values, causes)


def _chosen(store: EventStore, stream: str, phase: str) -> int:
    best = TraceQuery(store).get_phase_output(stream.rpartition("/")[0], phase).best
    if best is None:
        raise NotFoundError(f"the phase {phase!r} chose no container: name one by --container.")
    return best.container


class _Account:
    """The fills and trades of one container."""

    def __init__(self, chain: CausalChain, container: int) -> None:
        trial = next(chain.rows(TrialsCompleted, container), None)
        if trial is None:
            raise NotFoundError(f"there is no container {container} in {chain.stream} that ran to its end.")
        number, trials, row = trial
        self._chain = chain
        self._container = container
        self._last_bar = int(trials.stop_bar[row]) - 1
        self.address = f"{chain.stream}#{number}"
        self.metrics = {name: float(column[row]) for name, column in trials.metrics.items()}
        self._fills = list(chain.rows(OrdersFilled, container))
        self._symbol = int(self._fills[0][1].symbol[self._fills[0][2]]) if self._fills else 0
        self.window = self._window(int(trials.first_bar[row]))
        self.trades, self.count = self._round_trips()

    def _window(self, first_bar: int) -> dict[str, Scalar]:
        time = self._chain.bars(self._symbol).time
        first, last = iso_time(time[first_bar]), iso_time(time[self._last_bar])
        return {"container": self._container, "from": first, "to": last}

    def _round_trips(self) -> tuple[Trades, int]:
        quantity, price, fee = (
            np.array([getattr(event, name)[row] for _, event, row in self._fills], np.float64)
            for name in ("quantity", "price", "fee")
        )
        position, cash = np.empty(quantity.size), np.empty(quantity.size)
        settle(quantity, price, fee, self._chain.started.capital, position, cash)
        room = Trades.empty(quantity.size)
        mark = float(self._chain.bars(self._symbol).close[self._last_bar])
        return room, int(round_trips(quantity, price, fee, position, mark, room))

    def trade(self, place: int) -> Explanation:
        """Explain a trade by its first fill and its last, or by the bar at which it is valued."""
        trades = self.trades
        entry, exit_ = int(trades.entry_fill[place]), int(trades.exit_fill[place])
        side = "long" if trades.side[place] > 0 else "short"
        values: dict[str, Scalar] = {"container": self._container, "number": place + 1}
        for name in ("quantity", "entry_price", "exit_price", "fee", "pnl"):
            values[name] = float(getattr(trades, name)[place])
        if exit_ < 0:
            del values["exit_price"]
            last = self._chain.bar(self._symbol, self._last_bar, "open, valued at bar")
        else:
            last = self._chain.fill(*self._fills[exit_])
        title = f"{'open' if exit_ < 0 else 'closed'} {side} trade"
        return Explanation("", title, values, (self._chain.fill(*self._fills[entry]), last))

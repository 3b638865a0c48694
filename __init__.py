"""ADMF-PC: multi-phase trading research in which every backtest is a ledger."""

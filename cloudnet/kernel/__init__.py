"""The door to this Linux host: promises in ``api``, rtnetlink behind them, a twin in ``memory``."""

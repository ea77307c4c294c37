"""The door to the datastore: promises in ``api``, ``memory`` and ``sqlite`` behind them, an informer before them."""

"""The door to a cloud: promises in ``api``, plugins by entry point, a twin in ``memory``. It imports no SDK."""

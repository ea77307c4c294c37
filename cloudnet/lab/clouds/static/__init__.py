"""The lab's plain network: switches and routers without an API."""

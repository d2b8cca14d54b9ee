"""The web process: the page, the API, health and metrics. `python -m web`."""

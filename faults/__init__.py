"""What breaks, and what is lost then (nothing): real daemons, a real PostgreSQL, real kills. `python -m faults`."""

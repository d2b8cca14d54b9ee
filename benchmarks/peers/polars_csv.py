"""polars with connectorx: the result in memory as Arrow, read by two connections, then written as CSV."""

from urllib.parse import quote

import polars
import psycopg2.extensions

from benchmarks.peers import timed


def export(conninfo: str, query: str, path: str) -> None:
    parts = psycopg2.extensions.parse_dsn(conninfo)
    host = quote(parts["host"], safe="")
    uri = f"postgresql://{parts['user']}@{host}:{parts['port']}/{parts['dbname']}"
    frame = polars.read_database_uri(query, uri, engine="connectorx")
    frame.write_csv(path, separator=";", include_bom=True)


if __name__ == "__main__":
    timed(export)

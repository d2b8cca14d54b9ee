"""Alembic's entry: one connection, one transaction, the version table in the queue's own schema."""

import psycopg2
from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

conninfo = context.config.attributes["conninfo"]
engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(conninfo), poolclass=NullPool)

try:
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS tksva_q"))
        context.configure(
            connection=connection,
            version_table=context.config.attributes["version_table"],
            version_table_schema="tksva_q",
        )
        context.run_migrations()
except DBAPIError as error:  # the driver's own error is what the queue understands
    raise (error.orig or error) from None

"""How a connection to a PostgreSQL source is opened: it may only read."""

from functools import partial

from syncd.config import PostgresSource
from syncd.pg.connect import Open, open_connection


def opener(config: PostgresSource) -> Open:
    """Opens one; raises as ``open_connection``."""
    return partial(
        open_connection,
        config.dsn,
        connect_timeout_s=config.connect_timeout_s,
        statement_timeout_s=config.statement_timeout_s,
        read_only=True,
        prepared_statements=config.prepared_statements,
    )

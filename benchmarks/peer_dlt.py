"""The same job with dlt, as its documentation writes it; run by dlt's own interpreter.

    python peer_dlt.py SOURCE_URL TARGET_URL STATE_DIR

Its fastest way is chosen: connectorx reads, and the merge is an upsert.
"""

import sys

import dlt  # type: ignore[import-not-found]
from dlt.sources.sql_database import sql_table  # type: ignore[import-not-found]

source, target, state_dir = sys.argv[1:4]
pipeline = dlt.pipeline(
    "bench",
    destination=dlt.destinations.postgres(target),
    dataset_name="peer",
    pipelines_dir=state_dir,
)
table = sql_table(credentials=source, table="item", schema="public", backend="connectorx")
table.apply_hints(
    primary_key="id", write_disposition={"disposition": "merge", "strategy": "upsert"}
)
pipeline.run(table)

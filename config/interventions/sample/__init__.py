"""A synthetic Interventions Manager: the public shape of the secret schema, and nothing real in it.

``python -m config.interventions.sample --help`` makes it of any size, as T-SQL for a SQL Server or
straight into PostgreSQL, and lets nights pass. The same seed gives the same rows everywhere.
"""

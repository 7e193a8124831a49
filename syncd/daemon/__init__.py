"""The daemon: pipelines that are kept in step for months, in one process and one tree of tasks.

It knows nothing of rows. ``parts`` says what lives in the tree, ``pipeline`` how one pipeline is
led, ``daemon`` how all of it starts, reads its configuration again, and stops.
"""

"""AWS: how a client is opened, and what its errors mean. Imported late, because it costs 0.8 s."""

"""Interventions Manager to Manage and Deliver, as it ships."""

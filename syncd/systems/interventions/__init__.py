"""Interventions Manager (IM) to Manage and Deliver (M&D); see docs/interventions.md."""

"""Measurements. Nothing here passes or fails."""

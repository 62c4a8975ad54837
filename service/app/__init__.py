"""The backend. Its import settles the environment, before a library's import reads it."""

from app.environment import settle

__version__ = "0.1.0"
"""The one place: the package's and the telemetry's `service.version`."""

settle()
